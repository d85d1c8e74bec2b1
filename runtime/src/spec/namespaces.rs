//! Namespaces: which are new, which are joined, and how ids and clocks are mapped in them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType as RawKind};
use serde::Serialize;

use super::{Error, Problem, rooted};

/// `CLONE_NEWTIME` (`include/uapi/linux/sched.h`), which libc does not have for every target.
const CLONE_NEWTIME: libc::c_int = 0x80;

/// Lines that a mapping file takes (user_namespaces(7)).
const MAPPINGS_MAX: usize = 340;

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
    /// Boot-time and monotonic clocks.
    Time,
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
            Self::Time => CLONE_NEWTIME,
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
            Self::Time => "time",
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
    /// Of a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
}

/// How far a clock of a time namespace is ahead of the host's (time_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: &'static str,
    /// Seconds, which may be negative.
    pub secs: i64,
    /// Nanoseconds, added to the seconds.
    pub nanosecs: u32,
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
                RawKind::Time => NamespaceKind::Time,
            };
            let from = match namespace.path().as_deref() {
                None => Namespace::New,
                Some(path) if path.as_os_str().is_empty() => Namespace::New,
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
        let mut namespaces = Self {
            uid_mappings: mappings(linux.uid_mappings()),
            gid_mappings: mappings(linux.gid_mappings()),
            time_offsets: Vec::new(),
            all,
        };
        namespaces.check_mappings()?;
        namespaces.check_offsets(linux)?;
        Ok(namespaces)
    }

    fn check_mappings(&mut self) -> Result<(), Error> {
        if self.path(NamespaceKind::User).is_some() {
            // Engines repeat the mappings of the namespace that is joined; it has them already.
            self.uid_mappings.clear();
            self.gid_mappings.clear();
            return Ok(());
        }
        let user = self.own(NamespaceKind::User);
        for (key, mappings) in [
            ("linux.uidMappings", &self.uid_mappings),
            ("linux.gidMappings", &self.gid_mappings),
        ] {
            if mappings.is_empty() == user {
                return Err(Error::invalid(key, Problem::Mappings));
            }
            if mappings.len() > MAPPINGS_MAX {
                return Err(Error::invalid(key, Problem::TooMany(MAPPINGS_MAX)));
            }
        }
        Ok(())
    }

    fn check_offsets(&mut self, linux: &Linux) -> Result<(), Error> {
        for (clock, offset) in linux.time_offsets().iter().flatten() {
            let key = format!("linux.timeOffsets[{clock}]");
            let known = ["boottime", "monotonic"];
            let Some(clock) = known.into_iter().find(|known| known == clock) else {
                let problem = Problem::UnknownWord(clock.clone());
                return Err(Error::invalid(key, problem));
            };
            if !self.own(NamespaceKind::Time) {
                let problem = Problem::NeedsNamespace(NamespaceKind::Time);
                return Err(Error::invalid(key, problem));
            }
            let nanosecs = offset.nanosecs().unwrap_or(0);
            if nanosecs >= 1_000_000_000 {
                let problem = Problem::OutOfRange(i64::from(nanosecs));
                return Err(Error::invalid(format!("{key}.nanosecs"), problem));
            }
            self.time_offsets.push(TimeOffset {
                clock,
                secs: offset.secs().unwrap_or(0),
                nanosecs,
            });
        }
        self.time_offsets.sort_by_key(|offset| offset.clock);
        Ok(())
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

    /// The file of the namespace of this kind that is joined, if one is.
    pub fn path(&self, kind: NamespaceKind) -> Option<&Path> {
        match self.all.get(&kind)? {
            Namespace::Path(path) => Some(path),
            Namespace::New => None,
        }
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
