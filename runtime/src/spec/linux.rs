//! Devices, kernel parameters, propagation and cgroup path.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use serde::Serialize;

use super::{Error, NamespaceKind, Namespaces, Problem, rooted};

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
