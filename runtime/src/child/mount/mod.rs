//! Mounts, by the file-descriptor-based calls: what is mounted is a descriptor, and so is where.
//!
//! - `tree`: detached trees, which everything is made of
//! - `place`: what a mount goes on
//! - `root`: the root file system, and the way into it
//! - `cgroups`, `cover` (masked and read-only paths), `copy_up` (`tmpcopyup`)

mod cgroups;
mod copy_up;
mod cover;
mod place;
mod root;
#[cfg(test)]
mod tests;
mod tree;

pub(super) use cgroups::cgroups;
pub(super) use cover::readonly;
#[allow(unused_imports, reason = "for `--no-pivot`")]
pub(super) use root::move_root;
pub(super) use root::{pivot, propagate, readonly_root};
pub(super) use tree::attach;
pub(super) use tree::clone_tree;
pub(crate) use tree::{clone_path, set_propagation};

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat, readlinkat, symlinkat};
use rustix::io::Errno;

use super::rooted::{Entry, Root};
use crate::failure::{Called, Failure};
use crate::outside::Outside;
use crate::spec::{
    FsOption, Mount, MountAttrs, MountKind, Propagation, PropagationKind, SourceLink, attr,
};
use crate::sys::{MountAttr, mount_setattr};
use tree::{change, new_mount, reconfigure, set_attrs};

/// `MOUNT_ATTR_IDMAP`.
const IDMAP: u64 = 0x10_0000;

/// The mounts of a container while they are made.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// What was opened before this process existed.
    outside: Outside,
    /// Whether mounts of the host are shared with it still.
    shared: bool,
    /// New file systems that become read-only when all is in place.
    late: Vec<OwnedFd>,
    covers: cover::Covers,
}

impl Mounts {
    pub(super) fn new(outside: Outside) -> Self {
        Self {
            outside,
            ..Self::default()
        }
    }

    /// Keeps what is mounted from the host.
    pub(super) fn stop_propagation(&mut self, propagation: Propagation) -> Result<(), Failure> {
        self.shared = propagation.kind == PropagationKind::Shared;
        root::stop_propagation(propagation)
    }

    /// Makes the root file system a mount of its own; with `at_path` over its own directory.
    pub(super) fn rootfs(
        &mut self,
        path: &Path,
        identity: (u64, u64),
        at_path: bool,
    ) -> Result<Root, Failure> {
        let outside = self.outside.rootfs.take();
        root::rootfs(path, identity, outside, self.shared, at_path)
    }

    /// Carries out one entry of `mounts`.
    pub(super) fn mount(&mut self, root: &Root, mount: &Mount) -> Result<(), Failure> {
        match &mount.kind {
            MountKind::Bind {
                source,
                recursive,
                link,
            } => self.bind(root, mount, (source, *link), *recursive),
            MountKind::New { .. } => self.new_file_system(root, mount),
            MountKind::Remount { options } => remount(root, mount, options),
            // Planned as a step of its own.
            MountKind::Cgroup => Err(Failure::new("mount(cgroup)", Errno::OPNOTSUPP)),
        }
    }

    fn bind(
        &mut self,
        root: &Root,
        mount: &Mount,
        (source, link): (&Path, SourceLink),
        recursive: bool,
    ) -> Result<(), Failure> {
        let outside = self.outside.trees.remove(&mount.number);
        let tree = match outside {
            Some(tree) if mount.idmap.is_some() || self.outside.peers => tree,
            outside => {
                let follow = link == SourceLink::Follow;
                match (clone_path(source, recursive, follow), outside) {
                    // The container's root may not go where the host's root may.
                    (Err(failure), Some(tree)) if failure.is(Errno::ACCESS) => tree,
                    (tree, _) => tree?,
                }
            }
        };
        let found = fstat(&tree).called(|| format!("fstat(\"{}\")", source.display()))?;
        let file_type = FileType::from_raw_mode(found.st_mode);
        if link == SourceLink::Copy && file_type == FileType::Symlink {
            return copy_link(root, mount, &tree);
        }
        place::refuse_fake_proc(mount, &tree)?;
        let entry = match file_type {
            FileType::Directory => Entry::Directory,
            _ => Entry::File,
        };
        let (target, _) = place::target(root, mount, entry)?;
        finish_tree(&tree, mount, mount.attrs)?;
        attach_at(&tree, &target, mount)
    }

    fn new_file_system(&mut self, root: &Root, mount: &Mount) -> Result<(), Failure> {
        let MountKind::New {
            fs_type, copy_up, ..
        } = &mount.kind
        else {
            return Err(Failure::new("fsopen()", Errno::INVAL));
        };
        if mount.target == Path::new("/proc") && fs_type != "proc" {
            return Err(Failure::new(
                "mount on \"/proc\", not a procfs",
                Errno::PERM,
            ));
        }
        let (target, existed) = place::target(root, mount, Entry::Directory)?;
        let mut attrs = mount.attrs;
        if mount.is_readonly_late() {
            attrs.set &= !attr::RDONLY;
        }
        let tree = open_file_system(mount, attrs, existed.then_some(&target))?;
        if *copy_up && existed {
            copy_up::copy(&target, &tree)?;
        }
        if let Some(namespace) = self.outside.namespaces.get(&mount.number) {
            let recursive = mount.idmap.as_ref().is_some_and(|idmap| idmap.recursive);
            map_ids(&tree, namespace, recursive)?;
        }
        finish_tree(&tree, mount, MountAttrs::default())?;
        attach_at(&tree, &target, mount)?;
        if mount.is_readonly_late() {
            self.late.push(tree);
        }
        Ok(())
    }

    /// Makes read-only what had to be filled first.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        let mut late = self.late.drain(..);
        late.try_for_each(|tree| set_attrs(tree, MountAttrs::set(attr::RDONLY), false))
    }
}

/// A new file system as the mount asks for it, with what a user namespace, or one that lacks a
/// namespace that belongs to the type, gets instead.
fn open_file_system(
    mount: &Mount,
    mut attrs: MountAttrs,
    below: Option<&OwnedFd>,
) -> Result<OwnedFd, Failure> {
    let MountKind::New {
        fs_type,
        source,
        options,
        ..
    } = &mount.kind
    else {
        return Err(Failure::new("fsopen()", Errno::INVAL));
    };
    let source = source.as_deref();
    let mut options = options.clone();
    let has = |options: &[FsOption], name: &str| options.iter().any(|(known, _)| known == name);
    if let Some(below) = below
        && fs_type == "tmpfs"
        && !has(&options, "mode")
    {
        // As accessible as the directory that it covers.
        let found = fstat(below).called(|| format!("fstat(\"{}\")", mount.target.display()))?;
        let mode = format!("{:o}", found.st_mode & 0o7777);
        options.push(("mode".to_owned(), Some(mode)));
    }
    if source.is_some_and(|source| source.starts_with('/')) && attrs.set & attr::RDONLY != 0 {
        // A device that is write-protected can be mounted in no other way. The kernel's own file
        // systems have no device, and share their super block with the host.
        options.push(("ro".to_owned(), None));
    }
    let failure = match new_mount(fs_type, source, &options, attrs) {
        Err(failure) => failure,
        tree => return tree,
    };
    match (fs_type.as_str(), Errno::from_raw_os_error(failure.errno)) {
        // The group of terminals is often not mapped into a user namespace.
        ("devpts", Errno::INVAL) if has(&options, "gid") => {
            options.retain(|(name, _)| name != "gid");
            new_mount(fs_type, source, &options, attrs)
        }
        // A user namespace may mount them only along with the namespace that they show.
        ("sysfs", Errno::PERM) => {
            // Writable for nobody: the host's cgroups lie below it (CVE-2023-25809).
            attrs.set |= attr::RDONLY;
            host_tree("/sys", attrs, failure)
        }
        ("proc", Errno::PERM) => host_tree("/proc", attrs, failure),
        ("mqueue", Errno::PERM) => host_tree("/dev/mqueue", attrs, failure),
        _ => Err(failure),
    }
}

/// The host's own mount of a type, with all that is mounted in it, since a user namespace may not
/// look below those; or the failure that led here if the host has none.
fn host_tree(path: &str, attrs: MountAttrs, failure: Failure) -> Result<OwnedFd, Failure> {
    let tree = clone_path(Path::new(path), true, false).map_err(|_| failure)?;
    set_attrs(&tree, MountAttrs::set(attrs.set), true)?;
    Ok(tree)
}

/// Gives a tree its attributes and propagation, in as few calls as that takes.
fn finish_tree(tree: impl AsFd, mount: &Mount, attrs: MountAttrs) -> Result<(), Failure> {
    let tree = tree.as_fd();
    let mut propagation = mount.propagation.as_slice();
    let mut next = |recursive: bool| match propagation {
        [(flag, deep), rest @ ..] if *deep == recursive => {
            propagation = rest;
            Some(*flag)
        }
        _ => None,
    };
    let flag = next(false);
    change(tree, attrs, flag, false)?;
    let flag = next(true);
    change(tree, mount.recursive_attrs, flag, true)?;
    for (flag, recursive) in propagation {
        change(tree, MountAttrs::default(), Some(*flag), *recursive)?;
    }
    Ok(())
}

fn attach_at(tree: &OwnedFd, target: &OwnedFd, mount: &Mount) -> Result<(), Failure> {
    attach(tree, target).map_err(|failure| Failure {
        call: format!("move_mount(root, \"{}\")", mount.target.display()),
        ..failure
    })
}

/// A procfs that is mounted nowhere.
pub(super) fn private_procfs() -> Result<OwnedFd, Failure> {
    new_mount("proc", None, &[], MountAttrs::default())
}

/// Shows the files of a tree with other ids.
pub(crate) fn map_ids(
    tree: &OwnedFd,
    namespace: impl AsFd,
    recursive: bool,
) -> Result<(), Failure> {
    let raw = MountAttr {
        attr_set: IDMAP,
        userns_fd: namespace.as_fd().as_raw_fd() as u64,
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), &raw, recursive).called(|| "mount_setattr(MOUNT_ATTR_IDMAP)")
}

/// Changes what is mounted there already. Attributes are those of the mount and never of the super
/// block, which others may use too.
fn remount(root: &Root, mount: &Mount, options: &[FsOption]) -> Result<(), Failure> {
    let target = root.open_plain(&mount.target, OFlags::PATH)?;
    finish_tree(&target, mount, mount.attrs)?;
    match options {
        [] => Ok(()),
        options => reconfigure(target.as_fd(), options),
    }
}

/// Makes a link in the container that says what the one of the host says; it is resolved in the
/// container only. One that says the same may be there.
fn copy_link(root: &Root, mount: &Mount, from: &OwnedFd) -> Result<(), Failure> {
    let says = readlinkat(from, "", Vec::new()).called(|| "readlinkat(source)")?;
    let (dir, name) = root.parent(&mount.target)?;
    let call = |call: &str| format!("{call}(root, \"{}\")", mount.target.display());
    match symlinkat(&says, &dir, name) {
        Err(Errno::EXIST) => match readlinkat(&dir, name, Vec::new()) {
            Ok(found) if found == says => Ok(()),
            _ => Err(Failure::new(call("symlinkat"), Errno::EXIST)),
        },
        result => result.called(|| call("symlinkat")),
    }
}
