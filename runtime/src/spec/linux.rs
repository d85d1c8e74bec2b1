//! Namespaces and cgroup path.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType as RawKind};
use serde::Serialize;

use super::{Error, Problem, rooted};

/// Kinds of namespaces, in the order in which they are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Users and capabilities.
    User,
    /// Processes.
    Pid,
    /// Network.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Mounts.
    Mount,
    /// Root of the cgroup hierarchy as seen.
    Cgroup,
}

impl NamespaceKind {
    /// `CLONE_NEW*`.
    pub fn clone_flag(self) -> u64 {
        let flag = match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Network => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
        };
        flag as u64
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Mount => "mount",
            Self::Cgroup => "cgroup",
        })
    }
}

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// Made for the container.
    New,
    /// That of another process.
    Path(PathBuf),
}

/// The namespaces of a container; a kind that is absent is shared with the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    all: BTreeMap<NamespaceKind, Namespace>,
    /// Of a new user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// Of a new user namespace.
    pub gid_mappings: Vec<IdMapping>,
}

/// A range of ids of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IdMapping {
    /// First id in the container.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

impl Namespaces {
    pub(super) fn check(linux: &Linux) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        let raw = linux.namespaces().as_deref().unwrap_or_default();
        for (at, namespace) in raw.iter().enumerate() {
            let key = format!("linux.namespaces[{at}]");
            let kind = match namespace.typ() {
                RawKind::User => NamespaceKind::User,
                RawKind::Pid => NamespaceKind::Pid,
                RawKind::Network => NamespaceKind::Network,
                RawKind::Ipc => NamespaceKind::Ipc,
                RawKind::Uts => NamespaceKind::Uts,
                RawKind::Mount => NamespaceKind::Mount,
                RawKind::Cgroup => NamespaceKind::Cgroup,
                RawKind::Time => return Err(Error::unsupported(format!("{key}.type: time"))),
            };
            let from = match namespace.path().as_deref() {
                None => Namespace::New,
                Some(path) if path.as_os_str().is_empty() => Namespace::New,
                // These decide what a process is from its birth, so that joining them needs a
                // second fork.
                Some(_)
                    if matches!(
                        kind,
                        NamespaceKind::User | NamespaceKind::Pid | NamespaceKind::Mount
                    ) =>
                {
                    return Err(Error::unsupported(format!("{key}.path ({kind})")));
                }
                Some(path) => Namespace::Path(rooted(&format!("{key}.path"), path)?),
            };
            if all.insert(kind, from).is_some() {
                return Err(Error::invalid(key, Problem::Twice(kind.to_string())));
            }
        }
        if !all.contains_key(&NamespaceKind::Mount) {
            let problem = Problem::NeedsNamespace(NamespaceKind::Mount);
            return Err(Error::invalid("linux.namespaces", problem));
        }
        let mappings = |raw: &Option<Vec<LinuxIdMapping>>| -> Vec<IdMapping> {
            let raw = raw.iter().flatten();
            raw.map(|raw| IdMapping {
                container: raw.container_id(),
                host: raw.host_id(),
                size: raw.size(),
            })
            .collect()
        };
        let namespaces = Self {
            uid_mappings: mappings(linux.uid_mappings()),
            gid_mappings: mappings(linux.gid_mappings()),
            all,
        };
        let user = namespaces.own(NamespaceKind::User);
        for (key, mappings) in [
            ("linux.uidMappings", &namespaces.uid_mappings),
            ("linux.gidMappings", &namespaces.gid_mappings),
        ] {
            if mappings.is_empty() == user {
                return Err(Error::invalid(key, Problem::Mappings));
            }
        }
        Ok(namespaces)
    }

    /// Whether the container has a new namespace of this kind.
    pub fn own(&self, kind: NamespaceKind) -> bool {
        self.all.get(&kind) == Some(&Namespace::New)
    }

    /// The kinds that are made new.
    pub fn made(&self) -> impl Iterator<Item = NamespaceKind> {
        let all = self.all.iter();
        all.filter(|(_, from)| **from == Namespace::New)
            .map(|(kind, _)| *kind)
    }

    /// Those that are joined.
    pub fn joined(&self) -> impl Iterator<Item = (NamespaceKind, &Path)> {
        self.all.iter().filter_map(|(kind, from)| match from {
            Namespace::Path(path) => Some((*kind, path.as_path())),
            Namespace::New => None,
        })
    }

    /// Whether the host's instance is not the container's.
    pub fn private(&self, kind: NamespaceKind) -> bool {
        self.all.contains_key(&kind)
    }
}

/// A path below the root of every cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CgroupPath(PathBuf);

impl CgroupPath {
    pub(super) fn check(raw: Option<&Path>) -> Result<Option<Self>, Error> {
        let key = "linux.cgroupsPath";
        let Some(path) = raw.filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let text = path.to_string_lossy();
        if text.matches(':').count() == 2 && !text.contains('/') {
            let problem = Problem::SystemdCgroup(text.into_owned());
            return Err(Error::invalid(key, problem));
        }
        let path = rooted(key, &Path::new("/").join(path))?;
        if path == Path::new("/") {
            // The container would own the host's root group, and every process in it.
            let problem = Problem::UnknownWord("/".to_owned());
            return Err(Error::invalid(key, problem));
        }
        Ok(Some(Self(path)))
    }

    /// The default for a container.
    pub fn default_for(id: &super::ContainerId) -> Self {
        Self(Path::new("/reeve").join(id))
    }

    /// Relative to the root of a hierarchy.
    pub fn relative(&self) -> &Path {
        self.0.strip_prefix("/").unwrap_or(&self.0)
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}
