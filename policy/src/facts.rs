//! What must be known of the host to compile a policy, and how it is handed over. Looking it up is
//! the caller's: this crate does no I/O.

use std::collections::BTreeMap;

use ebpf_common::abi::device_class;
use serde::{Deserialize, Serialize};

use crate::model::Policy;
use crate::source::Span;

/// A file or directory by identity.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Inode {
    /// Device of the super block, in the kernel's encoding ([`ebpf_common::abi::kernel_dev`]).
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
}

/// What a policy needs something looked up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// A grant of `files`.
    Files,
    /// An executable of `processes`.
    Exe,
    /// A module of `kernel.modules`; `path` is its name.
    Module,
    /// A node of a block device in `mounts`.
    BlockDevice,
    /// A mount point in `mounts`.
    MountPoint,
}

/// Something that the caller must look up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathRequest {
    /// An absolute host path, or a module's name.
    pub path: String,
    /// What for.
    pub why: Why,
    /// Whether the policy puts up with its being missing.
    pub optional: bool,
    /// Where the policy names it.
    pub span: Span,
}

impl PathRequest {
    /// The key of the answer in [`Facts::paths`].
    pub fn key(&self) -> PathKey {
        match self.why {
            Why::Files | Why::Exe | Why::BlockDevice | Why::MountPoint => {
                PathKey::Path(self.path.clone())
            }
            Why::Module => PathKey::Module(self.path.clone()),
        }
    }
}

/// Key of [`Facts::paths`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PathKey {
    /// An absolute host path.
    Path(String),
    /// A kernel module by name.
    Module(String),
}

/// What a look-up found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing there.
    Missing,
    /// A file or directory.
    At(Object),
    /// A module: its file and those of the modules that it depends on.
    Module(Vec<Object>),
    /// A module that is part of the kernel's image: there is nothing to load.
    BuiltIn,
}

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    /// A directory.
    Directory,
    /// A device node.
    Device {
        /// One of [`ebpf_common::abi::device_class`].
        class: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Anything else.
    File,
}

/// A file or directory of the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its path without symbolic links.
    pub real: String,
    /// Its identity.
    pub inode: Inode,
    /// `i_generation`, or 0 where it cannot be learnt.
    pub generation: u32,
    /// `f_type` of its file system, as in [`ebpf_common::magic`].
    pub magic: u32,
    /// What it is.
    pub kind: ObjectKind,
    /// The directories above it, from its parent to `/`, across mounts.
    pub ancestors: Vec<Inode>,
    /// For a directory: the mounts below it.
    pub submounts: Vec<Submount>,
}

/// A mount below a granted directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submount {
    /// Its mount point.
    pub path: String,
    /// Its root.
    pub inode: Inode,
    /// `i_generation` of the root, or 0 where it cannot be learnt.
    pub generation: u32,
    /// `f_type` of its file system.
    pub magic: u32,
}

/// An object that no policy may open: Reeve's own state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreObject {
    /// Its path without symbolic links.
    pub path: String,
    /// Its identity.
    pub inode: Inode,
    /// The directories above it, from its parent to `/`, across mounts.
    pub above: Vec<Inode>,
}

/// A block device that a file system of the host is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Where the file system is mounted.
    pub mounted_at: String,
}

/// `EXT4_SUPER_MAGIC`: an ordinary file system.
const LEXICAL_MAGIC: u32 = 0xef53;

fn number(numbers: &mut BTreeMap<String, u64>, path: &str) -> Inode {
    let next = numbers.len() as u64 + 2;
    let ino = *numbers.entry(path.to_owned()).or_insert(next);
    Inode { dev: 1, ino }
}

/// The directories above a path, from its parent to `/`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rsplit_once('/') {
        Some(("", "")) | None => None,
        Some(("", _)) => Some("/"),
        Some((parent, _)) => Some(parent),
    })
    .skip(1)
}

/// What the caller found out about the host and the container to be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Answers to [`crate::Policy::paths`].
    pub paths: BTreeMap<PathKey, Found>,
    /// The container's own directories on host file systems: its root file system if that is no
    /// mount of its own.
    pub own: Vec<Inode>,
    /// Super blocks mounted by the runtime for the container: (device in the kernel's encoding,
    /// magic).
    pub own_supers: Vec<(u32, u32)>,
    /// Upper and work directories of the overlay that is the container's own root.
    pub upper: Vec<Inode>,
    /// Its lower directories: what it shares with other containers is never written through it.
    pub lower: Vec<Inode>,
    /// Reeve's own state.
    pub core: Vec<CoreObject>,
    /// Block devices below the host's file systems, for warnings.
    pub disks: Vec<Disk>,
    /// The container has a pid namespace of its own.
    pub private_pid: bool,
    /// The container has an IPC namespace of its own.
    pub private_ipc: bool,
    /// The container has a network namespace that is not the host's.
    pub private_net: bool,
}

impl Facts {
    /// Facts without a host: every path that `policy` names, and every one in `more`, exists, on
    /// one file system, without links and mounts. What is named as an executable is a file,
    /// everything else a directory.
    pub fn lexical<'a>(policy: &Policy, more: impl IntoIterator<Item = &'a str>) -> Self {
        let mut facts = Self::default();
        let mut numbers = BTreeMap::new();
        let mut object = |path: &str, kind| {
            let above = ancestors(path).map(|path| number(&mut numbers, path));
            let ancestors = above.collect();
            Object {
                real: path.to_owned(),
                inode: number(&mut numbers, path),
                generation: 0,
                magic: LEXICAL_MAGIC,
                kind,
                ancestors,
                submounts: Vec::new(),
            }
        };
        for request in policy.paths() {
            let found = match request.why {
                Why::Files | Why::MountPoint => {
                    Found::At(object(&request.path, ObjectKind::Directory))
                }
                Why::BlockDevice => {
                    let kind = ObjectKind::Device {
                        class: device_class::BLOCK,
                        major: 8,
                        minor: 1,
                    };
                    Found::At(object(&request.path, kind))
                }
                Why::Exe => Found::At(object(&request.path, ObjectKind::File)),
                Why::Module => {
                    let path = format!("/lib/modules/{}.ko", request.path);
                    Found::Module(vec![object(&path, ObjectKind::File)])
                }
            };
            facts.paths.insert(request.key(), found);
        }
        for path in more {
            let found = || Found::At(object(path, ObjectKind::File));
            let key = PathKey::Path(path.to_owned());
            facts.paths.entry(key).or_insert_with(found);
        }
        facts
    }

    /// What was found at a path.
    pub fn object(&self, path: &str) -> Option<&Object> {
        match self.paths.get(&PathKey::Path(path.to_owned())) {
            Some(Found::At(object)) => Some(object),
            _ => None,
        }
    }
}
