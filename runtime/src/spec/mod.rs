//! The OCI configuration: parsed (`RawSpec`, the `oci-spec` crate) and then checked into [`Spec`],
//! whose values cannot be wrong any more.
//!
//! A key that Reeve does not carry out is an error that names it, never ignored: a container that
//! silently lacks a part of its confinement is worse than one that does not start.

mod attributes;
mod cgroup_path;
mod device;
mod hooks;
mod id;
mod labels;
mod mount;
mod namespaces;
mod net_device;
mod parse;
mod process;
mod propagation;
mod rdt;
mod resources;
mod seccomp;
mod sysctl;
mod unsupported;

pub use attributes::{
    ExecAffinity, IoClass, IoPriority, MemoryMode, MemoryPolicy, NumberSet, Personality, Scheduler,
    SchedulerPolicy,
};
pub use cgroup_path::{CgroupPath, ScopePath};
pub use device::{Device, DeviceKind};
pub use hooks::{Hook, Hooks};
pub use id::ContainerId;
pub use labels::Labels;
pub use mount::{
    FsOption, Idmap, IdmapFrom, Mount, MountAttrs, MountKind, SourceLink, attr, known_mount_options,
};
pub use namespaces::{IdMapping, Namespace, NamespaceKind, Namespaces, TimeOffset};
pub use net_device::NetDevice;
pub use process::{Capabilities, CapabilityNames, Process, Resource, Rlimit, UserIds};
pub use propagation::{Propagation, PropagationKind};
pub use rdt::Rdt;
pub use resources::{
    Access, BlockDevice, BlockIo, Cpu, DeviceClass, DeviceRate, DeviceRule, DeviceWeight,
    HugepageLimit, Memory, NetworkClass, RdmaLimit, Resources,
};
pub use seccomp::{Listener, Seccomp};

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec as RawSpec;

/// Longest `config.json` that is read, in bytes. Real ones have some thousand.
pub const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// A checked OCI configuration.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Version of the specification that the configuration follows.
    pub oci_version: String,
    /// Free-form words, shown in the state.
    pub annotations: BTreeMap<String, String>,
    /// Programs that the runtime runs at moments of the container's life.
    pub hooks: Hooks,
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
    /// Kernel parameters of namespaces of the container's own: path below `/proc/sys`, and text.
    pub sysctl: BTreeMap<PathBuf, String>,
    /// Network devices of the host that become the container's.
    pub net_devices: Vec<NetDevice>,
    /// Its share of caches and memory bandwidth.
    pub rdt: Option<Rdt>,
    /// Where the container's cgroups lie; `None` is the default, `/reeve/ID`.
    pub cgroup: Option<CgroupPath>,
    /// Limits.
    pub resources: Resources,
    /// Filter of system calls.
    pub seccomp: Option<Seccomp>,
    /// Labels of security modules.
    pub labels: Labels,
    /// Execution domain.
    pub personality: Option<Personality>,
    /// NUMA memory policy.
    pub memory_policy: Option<MemoryPolicy>,
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
    /// Lists in lists in lists.
    #[error("`{path}`, line {line}: nested deeper than {}", parse::DEPTH_MAX)]
    TooDeep {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
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
    /// More of them than the kernel takes.
    #[error("more than {0}")]
    TooMany(usize),
    /// A key without a name.
    #[error("a key is empty")]
    EmptyName,
    /// A version of the specification that this runtime does not know.
    #[error("`{0}` is no version 1 of the specification")]
    Version(String),
    /// The same thing twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// An option for a file system, where there is none that may be changed.
    #[error("{0} takes no file system option `{1}`")]
    FsOption(&'static str, String),
    /// An option that this kind of mount does not take.
    #[error("`{0}` has no meaning for a mount of this type")]
    MountOption(&'static str),
    /// A mount in place of the root file system.
    #[error("the root file system cannot be mounted over")]
    RootTarget,
    /// The root file system of the host.
    #[error("`{0}` is the root of the host")]
    RootOfHost(PathBuf),
    /// Two keys that want different things at the same place.
    #[error("`{0}` is another device in `{1}`")]
    OtherDevice(PathBuf, String),
    /// A kernel parameter with a key of its own.
    #[error("set `{0}` instead")]
    HasOwnKey(&'static str),
    /// A namespace that is named by its file and turns out to be the host's.
    #[error("the {0} namespace of the container is that of the host")]
    HostsNamespace(NamespaceKind),
    /// A name that no network device can have.
    #[error("`{0}` is not a name for a network device")]
    DeviceName(String),
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
    /// A list of numbers that is none.
    #[error("`{0}` is not a list of numbers such as `0-3,7`")]
    NotAList(String),
    /// A key that has a meaning with one choice only.
    #[error("means nothing without {0}")]
    OnlyWith(&'static str),
    /// A label of a security module that is not in force.
    #[error("{0} is not in force on this host")]
    InactiveLsm(&'static str),
    /// An errno for an action that has none.
    #[error("`{0}` has no errno")]
    NoErrno(String),
    /// A filter of more instructions than the kernel takes.
    #[error("the filter has {0} instructions, and the kernel takes 4096")]
    FilterTooLong(usize),
    /// A filter with an agent that gets in the way of handing over the listener.
    #[error("with SCMP_ACT_NOTIFY, `{0}` must be allowed: the listener is handed over by it")]
    MustAllow(&'static str),
    /// An action for an agent, and no agent.
    #[error("missing, and there is SCMP_ACT_NOTIFY")]
    NoListener,
    /// Something for an agent, and no agent.
    #[error("needs `linux.seccomp.listenerPath`")]
    NeedsListener,
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
    /// Reads and checks `config.json` of the bundle directory; with the text that it was read from.
    pub fn load(bundle: &Path) -> Result<(Self, Vec<u8>), Error> {
        let path = bundle.join("config.json");
        let read = |source| Error::Read {
            path: path.clone(),
            source,
        };
        let text = read_bounded(&path).map_err(read)?;
        let bundle = fs::canonicalize(bundle).map_err(read)?;
        let spec = Self::parse(&text, &path, &bundle)?;
        if !spec.rootfs.is_dir() {
            let problem = Problem::NotADirectory(spec.rootfs);
            return Err(Error::invalid("root.path", problem));
        }
        if fs::canonicalize(&spec.rootfs).is_ok_and(|path| path == Path::new("/")) {
            // Its directories would get the container's mounts, and its files the container's
            // device nodes.
            let problem = Problem::RootOfHost(spec.rootfs);
            return Err(Error::invalid("root.path", problem));
        }
        sysctl::refuse_of_host(&spec.sysctl, &spec.namespaces)?;
        Ok((spec, text))
    }

    /// Parses and checks the text of `path`; `bundle` is absolute.
    pub fn parse(text: &[u8], path: &Path, bundle: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        if let Some(line) = parse::too_deep(text) {
            return Err(Error::TooDeep { path, line });
        }
        let raw: RawSpec =
            parse::parse(text, "/process").map_err(|source| Error::Parse { path, source })?;
        let mut spec = Self::check(&raw, bundle)?;
        if let Some(rdt) = &mut spec.rdt {
            rdt.monitor |= parse::monitors(text);
        }
        Ok(spec)
    }

    /// The configuration with another process, read from the text of `path`: a process as
    /// `config.json` has one.
    ///
    /// # Errors
    /// It is no process, or a key is wrong.
    pub fn with_process(self, text: &[u8], path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let raw = parse::parse(text, "").map_err(|source| Error::Parse { path, source })?;
        unsupported::refuse_process(&raw)?;
        Ok(Self {
            labels: self.labels.with_process(&raw)?,
            process: Process::check(&raw)?,
            ..self
        })
    }

    /// Checks a parsed configuration; `bundle` is absolute. Pure.
    pub fn check(raw: &RawSpec, bundle: &Path) -> Result<Self, Error> {
        unsupported::refuse(raw)?;
        let missing = |key: &str| Error::invalid(key, Problem::Missing);
        let root = raw.root().as_ref().ok_or_else(|| missing("root"))?;
        let linux = raw.linux().as_ref().ok_or_else(|| missing("linux"))?;
        let process = raw.process().as_ref().ok_or_else(|| missing("process"))?;
        check_root(root.path())?;
        let namespaces = Namespaces::check(linux)?;
        let hostname = raw.hostname().clone().filter(|name| !name.is_empty());
        let domainname = raw.domainname().clone().filter(|name| !name.is_empty());
        for (key, value) in [("hostname", &hostname), ("domainname", &domainname)] {
            if value.as_ref().is_some_and(|name| name.contains('\0')) {
                return Err(Error::invalid(key, Problem::Nul));
            }
            if value.is_some() && !namespaces.private(NamespaceKind::Uts) {
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
        let labels = Labels::check(process, linux)?;
        let mut mounts = mount::check_all(
            raw.mounts().as_deref().unwrap_or_default(),
            bundle,
            &namespaces,
        )?;
        labels.apply(&mut mounts);
        let personality = linux.personality().as_ref().map(Personality::check);
        let memory_policy = linux.memory_policy().as_ref().map(MemoryPolicy::check);
        check_version(raw.version())?;
        if raw
            .annotations()
            .iter()
            .flatten()
            .any(|(key, _)| key.is_empty())
        {
            return Err(Error::invalid("annotations", Problem::EmptyName));
        }
        Ok(Self {
            oci_version: raw.version().clone(),
            annotations: raw.annotations().iter().flatten().map(own).collect(),
            hooks: Hooks::check(raw.hooks().as_ref())?,
            bundle: bundle.to_owned(),
            rootfs: bundle.join(root.path()),
            readonly_rootfs: root.readonly().unwrap_or(false),
            propagation: Propagation::check(linux.rootfs_propagation().as_deref())?,
            process: Process::check(process)?,
            hostname,
            domainname,
            mounts,
            devices: device::check(linux.devices().as_deref().unwrap_or_default())?,
            net_devices: net_device::check(linux.net_devices().as_ref(), &namespaces)?,
            rdt: Rdt::check(linux.intel_rdt().as_ref())?,
            masked_paths: paths("linux.maskedPaths", linux.masked_paths())?,
            readonly_paths: paths("linux.readonlyPaths", linux.readonly_paths())?,
            sysctl: sysctl::check(linux.sysctl().as_ref(), &namespaces)?,
            cgroup: CgroupPath::check(linux.cgroups_path().as_deref())?,
            resources: Resources::check(linux.resources().as_ref())?,
            seccomp: Seccomp::check(linux.seccomp().as_ref())?,
            labels,
            personality: personality.transpose()?,
            memory_policy: memory_policy.transpose()?,
            namespaces,
        })
    }
}

/// The specification promises that 1.x stays compatible, and says nothing of other versions.
fn check_version(version: &str) -> Result<(), Error> {
    let mut numbers = version.split(['.', '-', '+']);
    let known = numbers.next() == Some("1")
        && (0..2).all(|_| {
            numbers
                .next()
                .is_some_and(|part| part.parse::<u32>().is_ok())
        });
    match known {
        true => Ok(()),
        false => {
            let problem = Problem::Version(version.to_owned());
            Err(Error::invalid("ociVersion", problem))
        }
    }
}

/// An empty path would make the bundle the root, with its configuration in it.
fn check_root(path: &Path) -> Result<(), Error> {
    let problem = match path.as_os_str().as_encoded_bytes() {
        [] => Problem::Missing,
        path if path.contains(&0) => Problem::Nul,
        _ => return Ok(()),
    };
    Err(Error::invalid("root.path", problem))
}

fn own((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

/// Reads a file of at most [`CONFIG_BYTES_MAX`].
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(path)?;
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(text)
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
