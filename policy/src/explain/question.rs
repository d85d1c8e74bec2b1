//! Questions such as `write /etc/shadow` or `capability SYS_ADMIN mount`.

use std::fmt;

use ebpf_common::Rights;
use ebpf_common::decide::mount::MountAction;
use ebpf_common::rights::ipc;
use ebpf_common::socket::Asked;

use super::sockets::{self, UnixPeer};
use crate::model::{DeviceClass, DeviceNumber, HostPath, IoctlCommand, ModuleName, SysctlName};
use crate::names::bpf::BpfCommand;
use crate::names::capability::Capability;
use crate::names::kernel;
use crate::names::mount;
use crate::names::signal::Signal;
use crate::names::syscall::Syscall;

mod parse;

pub(super) use parse::{known, path};

/// The forms that a question may have, for help texts. A word in single quotes may hold spaces.
pub const FORMS: &[&str] = &[
    "RIGHT PATH (read, write, append, create, delete, truncate, chmod, chown, execute, mknod, \
     xattr, times, flags)",
    "rename OLD NEW",
    "link OLD NEW",
    "open-device block|char MAJOR:MINOR read|write",
    "mount TYPE [FLAG,…]",
    "capability NAME [SYSTEM-CALL]",
    "signal NAME EXECUTABLE",
    "ptrace read|attach|process_vm_readv|process_vm_writev|pidfd_getfd|kcmp EXECUTABLE",
    "bpf COMMAND",
    "load-module NAME",
    "set-clock",
    "bind|listen|connect|send KIND ADDRESS:PORT, or unix PATH, or abstract NAME",
    "create-socket KIND [NETLINK-PROTOCOL|FAMILY]",
    "setns TYPE EXECUTABLE (cgroup, ipc, mnt, net, pid, time, uts)",
    "limits nice|io-priority|scheduler|resources EXECUTABLE",
    "remount|move|propagation|umount|pivot_root|chroot|open_tree|mount_setattr [MOUNT-POINT]",
    "ipc shm|sem|msg|mqueue|keys RIGHT",
    "sysctl read|write NAME",
    "kernel PART (syslog, perf, kexec, hostname, reboot, swap, quota, acct, userns, \
     io_uring.sqpoll, io_uring.personality, io_uring.command)",
    "lockdown REASON",
    "ioctl COMMAND PATH",
    "device-ioctl COMMAND block|char MAJOR:MINOR",
    "make-device block|char MAJOR:MINOR",
];

const VERBS: &[&str] = &[
    "read",
    "write",
    "append",
    "create",
    "delete",
    "rename",
    "link",
    "truncate",
    "chmod",
    "chown",
    "execute",
    "mknod",
    "xattr",
    "times",
    "flags",
    "ioctl",
    "device-ioctl",
    "make-device",
    "open-device",
    "mount",
    "capability",
    "signal",
    "ptrace",
    "bpf",
    "load-module",
    "set-clock",
    "bind",
    "listen",
    "connect",
    "send",
    "create-socket",
    "setns",
    "limits",
    "remount",
    "move",
    "propagation",
    "umount",
    "pivot_root",
    "chroot",
    "open_tree",
    "mount_setattr",
    "ipc",
    "sysctl",
    "kernel",
    "lockdown",
];

/// An action that a policy allows or refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// A file action on a path.
    File {
        /// What is wanted; for `create` and `mknod` the path is the new entry.
        rights: Rights,
        /// The host path.
        path: HostPath,
    },
    /// Renaming, moving or linking.
    Move {
        /// [`Rights::RENAME`] or [`Rights::LINK`].
        needed: Rights,
        /// The old place.
        from: HostPath,
        /// The new place.
        to: HostPath,
    },
    /// Opening a device by number.
    Device {
        /// Block or character.
        class: DeviceClass,
        /// Which, never every minor.
        number: DeviceNumber,
        /// What is wanted.
        rights: Rights,
    },
    /// A command of `ioctl(2)` on a file.
    Ioctl {
        /// The command.
        command: IoctlCommand,
        /// The host path.
        path: HostPath,
    },
    /// A command of `ioctl(2)` on a device.
    DeviceIoctl {
        /// The command.
        command: IoctlCommand,
        /// Block or character.
        class: DeviceClass,
        /// Which, never every minor.
        number: DeviceNumber,
    },
    /// Mounting on a mount point of the container's own.
    Mount {
        /// Type, or `bind`.
        fs_type: String,
        /// `MS_*` flags.
        flags: u64,
    },
    /// A capability over the host.
    Capability {
        /// Which.
        capability: Capability,
        /// In which system call; `None`: in one that is not known.
        syscall: Option<Syscall>,
    },
    /// A signal to a host process.
    Signal {
        /// Which.
        signal: Signal,
        /// What the process executes.
        exe: HostPath,
    },
    /// Tracing a host process.
    Ptrace {
        /// How, among [`process::TRACE`].
        way: &'static str,
        /// What the process executes.
        exe: HostPath,
    },
    /// A command of `bpf(2)`.
    Bpf(BpfCommand),
    /// Loading a module from its installed file.
    LoadModule(ModuleName),
    /// Setting the clock.
    SetClock,
    /// Anything about a socket that is no unix socket.
    Socket(Asked),
    /// Reaching a unix socket.
    Unix {
        /// One bit of [`ebpf_common::socket::right`].
        right: u32,
        /// Which.
        peer: UnixPeer,
    },
    /// Entering a namespace of a host process.
    Setns {
        /// Its type, among [`process::NAMESPACES`].
        kind: &'static str,
        /// What the process executes.
        exe: HostPath,
    },
    /// Changing limits, priority or placement of a host process.
    Limits {
        /// Which, among [`process::LIMITS`].
        what: &'static str,
        /// What the process executes.
        exe: HostPath,
    },
    /// An action on mounts.
    OnMount {
        /// Which.
        action: MountAction,
        /// The root of the mount; `None`: one that the container made.
        at: Option<HostPath>,
    },
    /// Using an object of IPC, or a key, that is not the container's own.
    Ipc {
        /// One of [`ebpf_common::abi::ipc_class`].
        class: u32,
        /// What is wanted.
        right: Rights,
    },
    /// Access to a kernel setting, through a procfs that is not the container's own.
    Sysctl {
        /// More than reading.
        write: bool,
        /// Which.
        name: SysctlName,
    },
    /// A part of the kernel, by its [`ebpf_common::abi::switch`].
    Kernel(u32),
    /// A use that lockdown knows, by its number.
    Lockdown(u32),
}

/// Why a text is no question.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuestionError {
    /// The first word is not known.
    #[error("`{verb}` is not an action\nhelp: {help}")]
    Verb {
        /// The word.
        verb: String,
        /// What to write.
        help: String,
    },
    /// The number of words does not fit the action.
    #[error("`{verb}` is asked as `{form}`")]
    Form {
        /// The action.
        verb: &'static str,
        /// How it is asked.
        form: &'static str,
    },
    /// A path is not one.
    #[error("{0}")]
    Path(String),
    /// A word is not known.
    #[error("`{word}` is not among the {what}{}", help_line(.help))]
    Word {
        /// The word.
        word: String,
        /// What it should be.
        what: &'static str,
        /// What was meant.
        help: Option<String>,
    },
}

fn help_line(help: &Option<String>) -> String {
    help.as_ref()
        .map_or(String::new(), |help| format!("\nhelp: {help}"))
}

impl Question {
    /// The host paths that must be looked up to answer: each path and what lies above it, as it may
    /// not exist.
    pub fn paths(&self) -> Vec<String> {
        let named: Vec<&HostPath> = match self {
            Self::File { path, .. } | Self::Ioctl { path, .. } => vec![path],
            Self::Move { from, .. } => vec![from],
            Self::Signal { exe, .. }
            | Self::Ptrace { exe, .. }
            | Self::Setns { exe, .. }
            | Self::Limits { exe, .. } => vec![exe],
            Self::OnMount { at: Some(at), .. } => vec![at],
            Self::Unix {
                peer: UnixPeer::Path(path),
                ..
            } => vec![path],
            _ => Vec::new(),
        };
        let mut paths = Vec::new();
        for path in named {
            let above = std::iter::successors(Some(path.clone()), HostPath::parent);
            paths.extend(above.map(|path| path.as_str().to_owned()));
        }
        if let Self::Move { to, .. } = self {
            let above = std::iter::successors(to.parent(), HostPath::parent);
            paths.extend(above.map(|path| path.as_str().to_owned()));
        }
        paths
    }

    /// A path that is replaced if it exists, and that is best not looked up where existence cannot
    /// be told.
    pub fn replaces(&self) -> Option<&str> {
        match self {
            Self::Move { to, .. } => Some(to.as_str()),
            _ => None,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { rights, path } => write!(f, "{} {path}", names(*rights)),
            Self::Move { needed, from, to } => write!(f, "{} {from} {to}", names(*needed)),
            Self::Ioctl { command, path } => write!(f, "ioctl {command} {path}"),
            Self::DeviceIoctl {
                command,
                class,
                number,
            } => write!(f, "device-ioctl {command} {} {number}", class.name()),
            Self::Device {
                class,
                number,
                rights: Rights::MKNOD,
            } => write!(f, "make-device {} {number}", class.name()),
            Self::Device {
                class,
                number,
                rights,
            } => write!(
                f,
                "open-device {} {number} {}",
                class.name(),
                names(*rights)
            ),
            Self::Mount { fs_type, flags: 0 } => write!(f, "mount {fs_type}"),
            Self::Mount { fs_type, flags } => {
                write!(f, "mount {fs_type} {}", mount::flag_names(*flags).join(","))
            }
            Self::Capability {
                capability,
                syscall,
            } => {
                let call = syscall.map_or("(system call not known)", Syscall::name);
                write!(f, "capability {} {call}", capability.name())
            }
            Self::Signal { signal, exe } => write!(f, "signal {} {exe}", signal.name()),
            Self::Ptrace { way, exe } => write!(f, "ptrace {way} {exe}"),
            Self::Setns { kind, exe } => write!(f, "setns {kind} {exe}"),
            Self::Limits { what, exe } => write!(f, "limits {what} {exe}"),
            Self::OnMount { action, at: None } => f.write_str(action.name()),
            Self::OnMount {
                action,
                at: Some(at),
            } => write!(f, "{} {at}", action.name()),
            Self::Bpf(command) => write!(f, "bpf {}", command.name()),
            Self::LoadModule(name) => write!(f, "load-module {}", name.as_str()),
            Self::SetClock => f.write_str("set-clock"),
            Self::Socket(asked) => f.write_str(&sockets::text(asked)),
            Self::Unix { right, peer } => sockets::write_unix(f, *right, peer),
            Self::Ipc { class, right } => {
                let class = kernel::word(&kernel::IPC, *class).unwrap_or("?");
                let right = ipc::names(*right).collect::<Vec<_>>().join(",");
                write!(f, "ipc {class} {right}")
            }
            Self::Sysctl { write, name } => {
                write!(f, "sysctl {} {name}", if *write { "write" } else { "read" })
            }
            Self::Kernel(which) => write!(f, "kernel {}", kernel::part_text(*which)),
            Self::Lockdown(reason) => {
                let name = kernel::word(&kernel::LOCKDOWN, *reason).unwrap_or("?");
                write!(f, "lockdown {name}")
            }
        }
    }
}

fn names(rights: Rights) -> String {
    rights.names().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
