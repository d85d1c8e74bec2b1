//! Mounts and their options.

mod idmap;
mod options;
#[cfg(test)]
mod tests;

pub use idmap::{Idmap, IdmapFrom};
pub use options::known_mount_options;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as RawMount;
use serde::Serialize;

use super::{Error, Namespaces, Problem, rooted};
use options::Options;

/// `MOUNT_ATTR_*` (`include/uapi/linux/mount.h`).
#[allow(
    missing_docs,
    reason = "each is the `MOUNT_ATTR_*` constant of its name"
)]
pub mod attr {
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    /// The field that the four access-time choices share; cleared before one is set.
    pub const ATIME: u64 = 0x70;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Option of a file system type: `key=value`, or a flag.
pub type FsOption = (String, Option<String>);

/// A mount of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Its place in `mounts`, from 0.
    pub number: usize,
    /// Where, in the container.
    pub target: PathBuf,
    /// Whether a symbolic link at the end of the target is not followed but mounted on.
    pub target_nofollow: bool,
    /// What.
    pub kind: MountKind,
    /// Attributes of this mount.
    pub attrs: MountAttrs,
    /// Attributes of this mount and of those below it.
    pub recursive_attrs: MountAttrs,
    /// `MS_PRIVATE` and its kin, with `true` for the mounts below too.
    pub propagation: Vec<(u64, bool)>,
    /// Other ids for the files in it.
    pub idmap: Option<Idmap>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A directory or file of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// What a symbolic link at the end of the source means.
        link: SourceLink,
    },
    /// The container's own cgroups.
    Cgroup,
    /// A new file system.
    New {
        /// Type, as in `/proc/filesystems`.
        fs_type: String,
        /// Source, where the type takes one.
        source: Option<String>,
        /// Options of the type.
        options: Vec<FsOption>,
        /// Starts with what the directory below has in it.
        copy_up: bool,
    },
    /// A mount that is there already gets other attributes, and with options its file system too.
    Remount {
        /// Options of the type; only for a file system that the container mounted itself.
        options: Vec<FsOption>,
    },
}

/// What becomes of a symbolic link that is the source of a bind mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceLink {
    /// What it leads to is bound.
    Follow,
    /// It is bound itself.
    Bind,
    /// A link that says the same is made in the container.
    Copy,
}

/// Bits of [`attr`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MountAttrs {
    /// To set.
    pub set: u64,
    /// To clear.
    pub clear: u64,
}

impl MountAttrs {
    /// Bits to set, none to clear.
    pub const fn set(set: u64) -> Self {
        Self { set, clear: 0 }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn apply(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = self.clear & !set | clear;
    }
}

impl Mount {
    /// Whether it becomes read-only only when everything is mounted: places for other mounts and
    /// device nodes are made in it first.
    pub fn is_readonly_late(&self) -> bool {
        let MountKind::New { fs_type, .. } = &self.kind else {
            return false;
        };
        self.attrs.set & attr::RDONLY != 0
            && (fs_type == "tmpfs" || self.target == Path::new("/dev"))
    }
}

pub(super) fn check_all(
    raw: &[RawMount],
    bundle: &Path,
    namespaces: &Namespaces,
) -> Result<Vec<Mount>, Error> {
    let mut mounts: Vec<Mount> = Vec::with_capacity(raw.len());
    // Where a file system lies on top that is the container's own.
    let mut own: HashSet<PathBuf> = HashSet::new();
    for (number, raw) in raw.iter().enumerate() {
        let key = format!("mounts[{number}]");
        let mount = check(number, &key, raw, bundle, namespaces)?;
        match &mount.kind {
            // The super block may be one that the host uses too, unless it was made for the
            // container.
            MountKind::Remount { options } => {
                if let [(name, _), ..] = options.as_slice()
                    && !own.contains(&mount.target)
                {
                    let what = "a remount of what is not a new file system of this configuration";
                    let problem = Problem::FsOption(what, name.clone());
                    return Err(Error::invalid(format!("{key}.options"), problem));
                }
            }
            MountKind::New { fs_type, .. } if OWN_TYPES.contains(&fs_type.as_str()) => {
                own.insert(mount.target.clone());
            }
            _ => {
                own.remove(&mount.target);
            }
        }
        mounts.push(mount);
    }
    Ok(mounts)
}

/// Types whose super block is the container's alone whenever one is mounted.
const OWN_TYPES: [&str; 3] = ["tmpfs", "ramfs", "devpts"];

fn check(
    number: usize,
    key: &str,
    raw: &RawMount,
    bundle: &Path,
    namespaces: &Namespaces,
) -> Result<Mount, Error> {
    let target = rooted(&format!("{key}.destination"), raw.destination())?;
    if target == Path::new("/") {
        let problem = Problem::RootTarget;
        return Err(Error::invalid(format!("{key}.destination"), problem));
    }
    let mut options = Options::default();
    for (at, option) in raw.options().iter().flatten().enumerate() {
        options.take(&format!("{key}.options[{at}]"), option)?;
    }
    let kind = check_kind(key, raw, bundle, &mut options)?;
    refuse_out_of_place(key, &kind, &options)?;
    let idmap = idmap::check(key, raw, options.idmap.as_ref(), namespaces)?;
    if idmap.is_some() && matches!(kind, MountKind::Cgroup | MountKind::Remount { .. }) {
        let problem = Problem::MountOption("idmap");
        return Err(Error::invalid(format!("{key}.options"), problem));
    }
    Ok(Mount {
        number,
        target,
        target_nofollow: options.target_nofollow,
        kind,
        attrs: options.attrs,
        recursive_attrs: options.recursive_attrs,
        propagation: options.propagation,
        idmap,
    })
}

fn check_kind(
    key: &str,
    raw: &RawMount,
    bundle: &Path,
    options: &mut Options,
) -> Result<MountKind, Error> {
    let fs_type = raw.typ().as_deref().unwrap_or_default();
    let source = raw.source().as_deref();
    if fs_type.contains('\0') {
        return Err(Error::invalid(format!("{key}.type"), Problem::Nul));
    }
    if source.is_some_and(|source| source.as_os_str().as_encoded_bytes().contains(&0)) {
        return Err(Error::invalid(format!("{key}.source"), Problem::Nul));
    }
    let missing = |name: &str| Error::invalid(format!("{key}.{name}"), Problem::Missing);
    let bind = options.bind.or((fs_type == "bind").then_some(false));
    match (bind, fs_type) {
        _ if options.remount => {
            if bind.is_some() {
                options.refuse_data(key, "a bind mount")?;
            }
            let options = std::mem::take(&mut options.data);
            Ok(MountKind::Remount { options })
        }
        (Some(recursive), _) => {
            // With such an option the mount call would change the super block that the host uses
            // too.
            options.refuse_data(key, "a bind mount")?;
            Ok(MountKind::Bind {
                source: bundle.join(source.ok_or_else(|| missing("source"))?),
                recursive,
                link: match (options.copy_symlink, options.source_nofollow) {
                    (true, _) => SourceLink::Copy,
                    (false, true) => SourceLink::Bind,
                    (false, false) => SourceLink::Follow,
                },
            })
        }
        (None, "" | "none") => Err(missing("type")),
        (None, "cgroup" | "cgroup2") => {
            options.refuse_data(key, "a cgroup mount")?;
            Ok(MountKind::Cgroup)
        }
        (None, fs_type) => Ok(MountKind::New {
            fs_type: fs_type.to_owned(),
            source: source.map(|source| source.to_string_lossy().into_owned()),
            options: std::mem::take(&mut options.data),
            copy_up: options.copy_up,
        }),
    }
}

/// Refuses options that this kind of mount would not carry out.
fn refuse_out_of_place(key: &str, kind: &MountKind, options: &Options) -> Result<(), Error> {
    let is_bind = matches!(kind, MountKind::Bind { .. });
    let is_tmpfs = matches!(kind, MountKind::New { fs_type, .. } if fs_type == "tmpfs");
    let wrong = [
        (options.copy_up && !is_tmpfs, "tmpcopyup"),
        (options.copy_symlink && !is_bind, "copy-symlink"),
        (options.source_nofollow && !is_bind, "src-nofollow"),
        (options.target_nofollow && !is_bind, "dest-nofollow"),
    ];
    match wrong.iter().find(|(wrong, _)| *wrong) {
        Some((_, name)) => {
            let problem = Problem::MountOption(name);
            Err(Error::invalid(format!("{key}.options"), problem))
        }
        None => Ok(()),
    }
}
