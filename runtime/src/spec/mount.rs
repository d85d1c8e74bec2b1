//! Mounts and their options.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as RawMount;
use serde::Serialize;

use super::{Error, Problem, rooted};

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

/// A mount of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where, in the container.
    pub target: PathBuf,
    /// What.
    pub kind: MountKind,
    /// Attributes of this mount.
    pub attrs: MountAttrs,
    /// Attributes of this mount and of those below it.
    pub recursive_attrs: MountAttrs,
    /// `MS_PRIVATE` and its kin, with `true` for the mounts below too.
    pub propagation: Vec<(u64, bool)>,
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
    },
    /// The container's own cgroups.
    Cgroup,
    /// A new file system.
    New {
        /// Type, as in `/proc/filesystems`.
        fs_type: String,
        /// Source, where the type takes one.
        source: Option<String>,
        /// Options of the type: `key=value`, or a flag.
        options: Vec<(String, Option<String>)>,
    },
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
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn apply(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = self.clear & !set | clear;
    }
}

/// Options that change attributes: name, bits to set, bits to clear. With an `r` before the name
/// they hold for the mounts below too (`rro`).
const ATTR_OPTIONS: &[(&str, u64, u64)] = &[
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("noatime", attr::NOATIME, attr::ATIME),
    ("atime", 0, attr::ATIME),
    ("relatime", 0, attr::ATIME),
    ("norelatime", attr::STRICTATIME, attr::ATIME),
    ("strictatime", attr::STRICTATIME, attr::ATIME),
    ("nostrictatime", 0, attr::ATIME),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW),
];

const PROPAGATION: &[(&str, u64)] = &[
    ("private", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// Options of the super block that every type takes.
const SUPER_FLAGS: &[&str] = &[
    "sync",
    "async",
    "dirsync",
    "lazytime",
    "nolazytime",
    "mand",
    "nomand",
    "silent",
];

/// Options that other runtimes know and this one does not.
const UNSUPPORTED: &[&str] = &["remount", "tmpcopyup", "idmap", "ridmap", "copy-symlink"];

/// Names of all options in the tables above, those with an `r` before them too.
pub fn known_mount_options() -> impl Iterator<Item = String> {
    let both = |name: &str| [name.to_owned(), format!("r{name}")];
    let attrs = ATTR_OPTIONS.iter().flat_map(move |(name, ..)| both(name));
    let propagation = PROPAGATION.iter().flat_map(move |(name, _)| both(name));
    let flags = SUPER_FLAGS.iter().map(|name| (*name).to_owned());
    attrs.chain(propagation).chain(flags)
}

pub(super) fn check_all(raw: &[RawMount], bundle: &Path) -> Result<Vec<Mount>, Error> {
    raw.iter()
        .enumerate()
        .map(|(at, raw)| check(&format!("mounts[{at}]"), raw, bundle))
        .collect()
}

fn check(key: &str, raw: &RawMount, bundle: &Path) -> Result<Mount, Error> {
    if raw.uid_mappings().is_some() || raw.gid_mappings().is_some() {
        return Err(Error::unsupported(format!("{key}.uidMappings")));
    }
    let target = rooted(&format!("{key}.destination"), raw.destination())?;
    let mut options = Options::default();
    for (at, option) in raw.options().iter().flatten().enumerate() {
        options.take(&format!("{key}.options[{at}]"), option)?;
    }
    let fs_type = raw.typ().as_deref().unwrap_or_default();
    let bind = options.bind.or((fs_type == "bind").then_some(false));
    let source = raw.source().as_deref();
    let kind = match (bind, fs_type) {
        (Some(recursive), _) => {
            let missing = || Error::invalid(format!("{key}.source"), Problem::Missing);
            if let Some(option) = options.data.first() {
                // With such an option the mount call would change the super block that the host
                // uses too.
                let problem = Problem::BindOption(option.0.clone());
                return Err(Error::invalid(format!("{key}.options"), problem));
            }
            MountKind::Bind {
                source: bundle.join(source.ok_or_else(missing)?),
                recursive,
            }
        }
        (None, "") => {
            return Err(Error::invalid(format!("{key}.type"), Problem::Missing));
        }
        (None, "cgroup" | "cgroup2") => MountKind::Cgroup,
        (None, fs_type) => MountKind::New {
            fs_type: fs_type.to_owned(),
            source: source.map(|source| source.to_string_lossy().into_owned()),
            options: options.data,
        },
    };
    Ok(Mount {
        target,
        kind,
        attrs: options.attrs,
        recursive_attrs: options.recursive_attrs,
        propagation: options.propagation,
    })
}

#[derive(Default)]
struct Options {
    attrs: MountAttrs,
    recursive_attrs: MountAttrs,
    propagation: Vec<(u64, bool)>,
    bind: Option<bool>,
    data: Vec<(String, Option<String>)>,
}

impl Options {
    fn take(&mut self, key: &str, option: &str) -> Result<(), Error> {
        if option.contains('\0') {
            return Err(Error::invalid(key, Problem::Nul));
        }
        if UNSUPPORTED.contains(&option) {
            return Err(Error::unsupported(format!("{key}: {option}")));
        }
        let find_attr = |name: &str| ATTR_OPTIONS.iter().find(|(known, ..)| *known == name);
        let find_propagation = |name: &str| PROPAGATION.iter().find(|(known, _)| *known == name);
        let inner = option.strip_prefix('r');
        match option {
            "defaults" | "" => {}
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            _ if SUPER_FLAGS.contains(&option) => self.data.push((option.to_owned(), None)),
            _ => {
                if let Some((_, set, clear)) = find_attr(option) {
                    self.attrs.apply(*set, *clear);
                } else if let Some((_, set, clear)) = inner.and_then(find_attr) {
                    self.recursive_attrs.apply(*set, *clear);
                } else if let Some((_, flag)) = find_propagation(option) {
                    self.propagation.push((*flag, false));
                } else if let Some((_, flag)) = inner.and_then(find_propagation) {
                    self.propagation.push((*flag, true));
                } else {
                    self.data.push(match option.split_once('=') {
                        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                        None => (option.to_owned(), None),
                    });
                }
            }
        }
        Ok(())
    }
}
