//! The steps of a container's first process.

use std::ffi::CString;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::seccomp::Filter;
use crate::spec::{
    Capabilities, Device, FsOption, Hook, IoPriority, MemoryPolicy, Mount, NamespaceKind,
    NumberSet, Personality, Propagation, Rlimit, Scheduler, UserIds,
};

/// One step, carried out by `crate::child`. Paths are those of the container unless they say
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `setns` to a namespace of another process.
    JoinNamespace {
        /// Which kind.
        kind: NamespaceKind,
        /// File on the host.
        path: PathBuf,
    },
    /// Opens the root of the running container, whose namespaces it was born into.
    EnterContainer,
    /// User and group 0 of the container's user namespace.
    BecomeRoot,
    /// Joins its groups of version 1.
    JoinCgroups,
    /// A cgroup namespace whose root is the container's cgroup.
    NewCgroupNamespace,
    /// Keeps the mounts below from reaching the host.
    StopPropagation(Propagation),
    /// Makes the root file system a mount of its own and opens it.
    MountRootfs,
    /// A file system or a part of the host's tree.
    Mount(Mount),
    /// The container's cgroups.
    MountCgroups {
        /// Where and how.
        mount: Mount,
        /// One a hierarchy; a single one without a name is the target itself.
        hierarchies: Vec<CgroupMount>,
    },
    /// Labels the root of a mount that took no label as it was mounted.
    LabelMount {
        /// Where it is mounted.
        target: PathBuf,
        /// SELinux context.
        label: String,
    },
    /// Device nodes.
    MakeDevices {
        /// Which.
        devices: Vec<Device>,
        /// Whether the host's nodes are bound rather than new ones made.
        bind: bool,
    },
    /// Symbolic links.
    MakeLinks(Vec<Link>),
    /// A terminal in the container's devpts, its other end sent to `reeve`.
    OpenTerminal {
        /// Its owner.
        uid: u32,
        /// Whether `/dev/console` leads to it.
        console: bool,
    },
    /// Waits while `reeve` runs the hooks `prestart`, `createRuntime` and `createContainer`.
    RuntimeHooks,
    /// Hides a path: `/dev/null` over a file, an empty read-only tmpfs over a directory. Nothing if
    /// it does not exist.
    Mask(PathBuf),
    /// Makes a path and what is below it read-only. Nothing if it does not exist.
    Readonly(PathBuf),
    /// Writes a kernel parameter through a procfs of our own.
    Sysctl {
        /// Path below `/proc/sys`.
        path: PathBuf,
        /// Text.
        value: String,
    },
    /// Makes the working directory if it is missing.
    MakeWorkingDirectory(PathBuf),
    /// Makes the new file systems read-only that had to be filled first.
    ReadonlyMounts,
    /// Makes the root file system read-only.
    ReadonlyRootfs,
    /// Opens a procfs of our own for what is written after the pivot.
    OpenProcfs,
    /// Makes the root file system the root and lets go of the host's.
    PivotRoot,
    /// As `PivotRoot`, for a host whose own root cannot be pivoted away from.
    MoveRoot,
    /// A session keyring of its own, by this name.
    SessionKeyring(String),
    /// Looks whether there is a program to execute, so that it is missed when the container is
    /// made and not when it is started.
    FindProgram,
    /// Everything is made. Waits for `reeve start`.
    AwaitStart,
    /// A `startContainer` hook.
    StartHook(Hook),
    /// Propagation of the mounts of the new root.
    RootPropagation(Propagation),
    /// `sethostname`.
    Hostname(String),
    /// `setdomainname`.
    Domainname(String),
    /// Brings the loopback interface up.
    LoopbackUp,
    /// `setsid`, with the terminal as controlling terminal and standard streams if there is one.
    NewSession,
    /// `setrlimit`.
    Rlimit(Rlimit),
    /// Enters the working directory and checks that it is inside the root.
    WorkingDirectory(PathBuf),
    /// `sched_setattr`.
    Scheduler(Scheduler),
    /// `sched_setaffinity`: of a process that is executed in a running container.
    CpuAffinity(NumberSet),
    /// `ioprio_set`.
    IoPriority(IoPriority),
    /// `set_mempolicy`.
    MemoryPolicy(MemoryPolicy),
    /// `personality`.
    Personality(Personality),
    /// AppArmor profile from the next `execve` on.
    AppArmor(#[serde(serialize_with = "as_text")] CString),
    /// SELinux context from the next `execve` on.
    SeLinux(#[serde(serialize_with = "as_text")] CString),
    /// File mode creation mask; that of the caller if the configuration gives none.
    Umask(Option<u32>),
    /// Groups, ids and the five capability sets.
    Identity {
        /// User and groups.
        user: UserIds,
        /// Capabilities.
        capabilities: Capabilities,
    },
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivileges,
    /// Closes every descriptor from this one on, but the one that failures are told by.
    CloseDescriptors(u32),
    /// Default action for every signal, none blocked.
    ResetSignals,
    /// Installs a filter of system calls.
    Seccomp(Filter),
    /// `execve` of the entry process.
    Execute,
}

fn as_text<S: Serializer>(text: &CString, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&text.to_string_lossy())
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub target: PathBuf,
    /// Whether it takes the place of what the image has there.
    pub replace: bool,
}

/// One cgroup hierarchy of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CgroupMount {
    /// Directory below the target; empty if the hierarchy is mounted on the target.
    pub name: String,
    /// `cgroup` or `cgroup2`.
    pub fs_type: &'static str,
    /// Options of a version 1 hierarchy.
    pub options: Vec<FsOption>,
    /// The container's directory on the host.
    pub dir: PathBuf,
    /// Without a cgroup namespace: that directory is bound, since a new mount would show the groups
    /// of the host.
    pub bind: bool,
}
