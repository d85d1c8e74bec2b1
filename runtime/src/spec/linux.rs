//! Namespaces, devices, kernel parameters, propagation and cgroup path.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType as RawKind,
};
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

/// How mounts made later travel between the host and the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Not at all.
    Private,
    /// From the host to the container.
    Slave,
}

impl Propagation {
    pub(super) fn check(word: Option<&str>) -> Result<Self, Error> {
        let key = "linux.rootfsPropagation";
        match word.unwrap_or_default() {
            "" | "slave" | "rslave" => Ok(Self::Slave),
            "private" | "rprivate" => Ok(Self::Private),
            word @ ("shared" | "rshared" | "unbindable" | "runbindable") => {
                Err(Error::unsupported(format!("{key}: {word}")))
            }
            word => Err(Error::invalid(key, Problem::UnknownWord(word.to_owned()))),
        }
    }
}

/// Kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Block device.
    Block,
    /// Character device.
    Char,
    /// Named pipe.
    Fifo,
}

/// A device node to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Path in the container.
    pub path: PathBuf,
    /// Kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

pub(super) fn check_devices(raw: &[LinuxDevice]) -> Result<Vec<Device>, Error> {
    let mut devices = Vec::with_capacity(raw.len());
    for (at, device) in raw.iter().enumerate() {
        let key = |name: &str| format!("linux.devices[{at}].{name}");
        let number = |name: &str, value: i64, bits: u32| {
            let value = u32::try_from(value).ok().filter(|value| value >> bits == 0);
            value.ok_or_else(|| match name {
                "major" => Error::invalid(key(name), Problem::OutOfRange(device.major())),
                _ => Error::invalid(key(name), Problem::OutOfRange(device.minor())),
            })
        };
        let kind = match device.typ() {
            LinuxDeviceType::B => DeviceKind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
            LinuxDeviceType::P => DeviceKind::Fifo,
            LinuxDeviceType::A => return Err(Error::invalid(key("type"), Problem::DeviceType)),
        };
        devices.push(Device {
            path: rooted(&key("path"), device.path())?,
            kind,
            major: number("major", device.major(), 12)?,
            minor: number("minor", device.minor(), 20)?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    Ok(devices)
}

/// Kernel parameters of the IPC namespace (`ipc/ipc_sysctl.c`).
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn check_sysctl(
    raw: Option<&HashMap<String, String>>,
    namespaces: &Namespaces,
) -> Result<BTreeMap<String, String>, Error> {
    let mut checked = BTreeMap::new();
    for (name, value) in raw.into_iter().flatten() {
        let key = format!("linux.sysctl[{name}]");
        let name = name.replace('/', ".");
        if name.split('.').any(|part| part.is_empty()) || name.contains('\0') {
            return Err(Error::invalid(key, Problem::UnknownWord(name)));
        }
        let needs = if IPC_SYSCTLS.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
            NamespaceKind::Ipc
        } else if name.starts_with("net.") {
            NamespaceKind::Network
        } else if name == "kernel.domainname" {
            NamespaceKind::Uts
        } else {
            return Err(Error::invalid(key, Problem::GlobalSysctl));
        };
        if !namespaces.private(needs) {
            return Err(Error::invalid(key, Problem::NeedsNamespace(needs)));
        }
        checked.insert(name, value.clone());
    }
    Ok(checked)
}
