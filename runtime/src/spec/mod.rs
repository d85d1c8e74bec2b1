//! The OCI configuration: parsed (`RawSpec`, the `oci-spec` crate) and then checked into [`Spec`],
//! whose values cannot be wrong any more.
//!
//! A key that Reeve does not carry out is an error that names it, never ignored: a container that
//! silently lacks a part of its confinement is worse than one that does not start.

mod cgroup_path;
mod id;
mod linux;
mod mount;
mod process;
mod resources;
mod unsupported;

pub use cgroup_path::{CgroupPath, ScopePath};
pub use id::ContainerId;
pub use linux::{Device, DeviceKind, IdMapping, Namespace, NamespaceKind, Namespaces, Propagation};
pub use mount::{Mount, MountAttrs, MountKind, attr};
pub use process::{Capabilities, CapabilityNames, Process, Resource, Rlimit, UserIds};
pub use resources::{
    Access, BlockDevice, BlockIo, Cpu, DeviceClass, DeviceRate, DeviceRule, DeviceWeight,
    HugepageLimit, Memory, NetworkClass, RdmaLimit, Resources,
};

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec as RawSpec;

/// A checked OCI configuration.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// Whether the root file system is read-only in the container.
    pub readonly_rootfs: bool,
    /// Propagation of mounts between the host and the container.
    pub propagation: Propagation,
    /// The entry process.
    pub process: Process,
    /// Host name in a UTS namespace of its own.
    pub hostname: Option<String>,
    /// NIS domain name in a UTS namespace of its own.
    pub domainname: Option<String>,
    /// Which namespaces are new, joined or shared with the host.
    pub namespaces: Namespaces,
    /// Mounts, in their order.
    pub mounts: Vec<Mount>,
    /// Device nodes besides the default ones.
    pub devices: Vec<Device>,
    /// Paths hidden from the container.
    pub masked_paths: Vec<PathBuf>,
    /// Paths that are read-only in the container.
    pub readonly_paths: Vec<PathBuf>,
    /// Kernel parameters of namespaces of the container's own.
    pub sysctl: BTreeMap<String, String>,
    /// Where the container's cgroups lie; `None` is the default, `/reeve/ID`.
    pub cgroup: Option<CgroupPath>,
    /// Limits.
    pub resources: Resources,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not an OCI configuration.
    #[error("`{path}` is not an OCI configuration")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A key has a value that cannot be carried out.
    #[error("config.json: `{key}`")]
    Invalid {
        /// The key, such as `mounts[2].destination`.
        key: String,
        /// What is wrong.
        #[source]
        problem: Problem,
    },
    /// A key that Reeve does not carry out yet.
    #[error("config.json: `{key}` is not supported yet")]
    Unsupported {
        /// The key.
        key: String,
    },
    /// A container id outside the accepted alphabet.
    #[error("container id `{id}` is not valid")]
    Id {
        /// What was given.
        id: String,
    },
}

/// What is wrong with the value of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing there.
    #[error("missing")]
    Missing,
    /// A path that must start at the root.
    #[error("`{0}` is not an absolute path")]
    NotAbsolute(PathBuf),
    /// A path with `..` in it.
    #[error("`{0}` contains `..`")]
    ParentComponent(PathBuf),
    /// A NUL byte in a string that the kernel takes.
    #[error("contains a NUL byte")]
    Nul,
    /// An environment entry without `=`.
    #[error("`{0}` is not of the form NAME=value")]
    NotAnAssignment(String),
    /// The same thing twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// An option that this kind of mount does not take.
    #[error("a bind mount takes no file system option `{0}`")]
    BindOption(String),
    /// A soft limit above the hard one.
    #[error("the soft limit {soft} is above the hard limit {hard}")]
    SoftAboveHard {
        /// Soft.
        soft: u64,
        /// Hard.
        hard: u64,
    },
    /// Needs a namespace that the container does not have of its own.
    #[error("needs a new {0} namespace")]
    NeedsNamespace(NamespaceKind),
    /// A capability that is effective or ambient without being permitted.
    #[error("{0} is not in `permitted`")]
    NotPermitted(String),
    /// A capability that `reeve` itself lacks.
    #[error("{0} cannot be given: reeve does not have it itself")]
    NotHeld(String),
    /// A number outside the range of its key.
    #[error("{0} is out of range")]
    OutOfRange(i64),
    /// A device type that is no device type.
    #[error("not a device type that can be made")]
    DeviceType,
    /// The systemd form of a cgroup path, without systemd.
    #[error("`{0}` is of systemd's form, which goes with `--systemd-cgroup`")]
    SystemdCgroup(String),
    /// Another form of a cgroup path, with systemd.
    #[error("`{0}` is not of the form slice:prefix:name, which goes with `--systemd-cgroup`")]
    NotSystemdCgroup(String),
    /// A kernel parameter that is not confined to a namespace.
    #[error("not a parameter of a namespace")]
    GlobalSysctl,
    /// A word that is none of the accepted ones.
    #[error("`{0}` is none of the accepted values")]
    UnknownWord(String),
    /// The path does not lead to a directory.
    #[error("`{0}` is not a directory")]
    NotADirectory(PathBuf),
    /// Mappings are needed by a user namespace, or useless without one.
    #[error("id mappings and a new user namespace need each other")]
    Mappings,
}

impl Error {
    pub(crate) fn invalid(key: impl Into<String>, problem: Problem) -> Self {
        Self::Invalid {
            key: key.into(),
            problem,
        }
    }

    pub(crate) fn unsupported(key: impl Into<String>) -> Self {
        Self::Unsupported { key: key.into() }
    }

    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } => Some("`--bundle` names the directory that holds `config.json`"),
            Self::Unsupported { .. } => Some("remove the key, or use another runtime for it"),
            Self::Id { .. } => Some("an id has the form [A-Za-z0-9_+-][A-Za-z0-9_+.-]*, up to 255"),
            Self::Invalid {
                problem: Problem::NotHeld(_),
                ..
            } => Some("remove the capability, or run reeve with it (`grep Cap /proc/self/status`)"),
            _ => None,
        }
    }
}

impl Spec {
    /// Reads and checks `config.json` of the bundle directory.
    pub fn load(bundle: &Path) -> Result<Self, Error> {
        let path = bundle.join("config.json");
        let read = |source| Error::Read {
            path: path.clone(),
            source,
        };
        let text = fs::read_to_string(&path).map_err(read)?;
        let bundle = fs::canonicalize(bundle).map_err(read)?;
        let raw: RawSpec =
            serde_json::from_str(&text).map_err(|source| Error::Parse { path, source })?;
        let spec = Self::check(&raw, &bundle)?;
        if !spec.rootfs.is_dir() {
            let problem = Problem::NotADirectory(spec.rootfs);
            return Err(Error::invalid("root.path", problem));
        }
        Ok(spec)
    }

    /// Checks a parsed configuration; `bundle` is absolute. Pure.
    pub fn check(raw: &RawSpec, bundle: &Path) -> Result<Self, Error> {
        unsupported::refuse(raw)?;
        let missing = |key: &str| Error::invalid(key, Problem::Missing);
        let root = raw.root().as_ref().ok_or_else(|| missing("root"))?;
        let linux = raw.linux().as_ref().ok_or_else(|| missing("linux"))?;
        let process = raw.process().as_ref().ok_or_else(|| missing("process"))?;
        let namespaces = Namespaces::check(linux)?;
        let hostname = raw.hostname().clone().filter(|name| !name.is_empty());
        let domainname = raw.domainname().clone().filter(|name| !name.is_empty());
        for (key, value) in [("hostname", &hostname), ("domainname", &domainname)] {
            if value.is_some() && !namespaces.own(NamespaceKind::Uts) {
                let problem = Problem::NeedsNamespace(NamespaceKind::Uts);
                return Err(Error::invalid(key, problem));
            }
        }
        let paths = |key: &str, paths: &Option<Vec<String>>| -> Result<Vec<PathBuf>, Error> {
            let paths = paths.iter().flatten().enumerate();
            paths
                .map(|(at, path)| rooted(&format!("{key}[{at}]"), Path::new(path)))
                .collect()
        };
        Ok(Self {
            bundle: bundle.to_owned(),
            rootfs: bundle.join(root.path()),
            readonly_rootfs: root.readonly().unwrap_or(false),
            propagation: Propagation::check(linux.rootfs_propagation().as_deref())?,
            process: Process::check(process)?,
            hostname,
            domainname,
            mounts: mount::check_all(raw.mounts().as_deref().unwrap_or_default(), bundle)?,
            devices: linux::check_devices(linux.devices().as_deref().unwrap_or_default())?,
            masked_paths: paths("linux.maskedPaths", linux.masked_paths())?,
            readonly_paths: paths("linux.readonlyPaths", linux.readonly_paths())?,
            sysctl: linux::check_sysctl(linux.sysctl().as_ref(), &namespaces)?,
            cgroup: CgroupPath::check(linux.cgroups_path().as_deref())?,
            resources: Resources::check(linux.resources().as_ref())?,
            namespaces,
        })
    }
}

/// A path inside the container: absolute, without `..`, without empty or `.` components.
pub(crate) fn rooted(key: &str, path: &Path) -> Result<PathBuf, Error> {
    if !path.is_absolute() {
        let problem = Problem::NotAbsolute(path.to_owned());
        return Err(Error::invalid(key, problem));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::invalid(key, Problem::Nul));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        let problem = Problem::ParentComponent(path.to_owned());
        return Err(Error::invalid(key, problem));
    }
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests;
