//! Questions such as `write /etc/shadow` or `capability SYS_ADMIN mount`.

use std::fmt;
use std::str::FromStr;

use ebpf_common::Rights;
use ebpf_common::decide::mount::MountAction;
use ebpf_common::rights::ipc;

use crate::model::{DeviceClass, DeviceNumber, HostPath, IoctlCommand, ModuleName, SysctlName};
use crate::names::bpf::{self, BpfCommand};
use crate::names::capability::{self, Capability};
use crate::names::did_you_mean;
use crate::names::kernel;
use crate::names::signal::{self, Signal};
use crate::names::syscall::Syscall;
use crate::names::{mount, process};

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

impl FromStr for Question {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let words = split(text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (&verb, rest) = words.split_first().unwrap_or((&"", &[]));
        match (verb, rest) {
            ("open-device", [class, number, rights]) => device(class, number, rights),
            ("open-device", _) => form("open-device"),
            ("make-device" | "ioctl" | "device-ioctl", rest) => on_open(verb, rest),
            ("rename" | "link", [from, to]) => Ok(Self::Move {
                needed: Rights::from_name(verb).unwrap_or(Rights::NONE),
                from: path(from)?,
                to: path(to)?,
            }),
            ("rename", _) => form("rename"),
            ("link", _) => form("link"),
            ("mount", [fs_type]) => mounting(fs_type, ""),
            ("mount", [fs_type, flags]) => mounting(fs_type, flags),
            ("mount", _) => form("mount"),
            ("capability", [name]) => capability(name, None),
            ("capability", [name, call]) => capability(name, Some(call)),
            ("capability", _) => form("capability"),
            ("signal", [name, exe]) => Ok(Self::Signal {
                signal: known(name, "signals", &signal::NAMES, Signal::from_word)?,
                exe: path(exe)?,
            }),
            ("signal", _) => form("signal"),
            ("ptrace", [way, exe]) => Ok(Self::Ptrace {
                way: one_of(way, "ways to trace", &process::TRACE)?,
                exe: path(exe)?,
            }),
            ("ptrace", _) => form("ptrace"),
            ("bpf", [name]) => {
                let command = known(
                    name,
                    "commands of bpf(2)",
                    &bpf::NAMES,
                    BpfCommand::from_name,
                );
                Ok(Self::Bpf(command?))
            }
            ("bpf", _) => form("bpf"),
            ("load-module", [name]) => {
                let name = known(name, "module names", &[], ModuleName::parse);
                Ok(Self::LoadModule(name?))
            }
            ("load-module", _) => form("load-module"),
            ("set-clock", []) => Ok(Self::SetClock),
            ("set-clock", _) => form("set-clock"),
            ("setns" | "limits", rest) => on_process(verb, rest),
            (verb, rest) if on_mount(verb).is_some() => match (on_mount(verb), rest) {
                (Some(action), []) => Ok(Self::OnMount { action, at: None }),
                (Some(action), [at]) => Ok(Self::OnMount {
                    action,
                    at: Some(path(at)?),
                }),
                _ => form("remount"),
            },
            ("ipc" | "sysctl" | "kernel" | "lockdown", rest) => of_kernel(verb, rest),
            (verb, rest) => match (Rights::from_name(verb), rest) {
                (Some(rights), [at]) => {
                    let path = path(at)?;
                    Ok(Self::File { rights, path })
                }
                (Some(_), _) => form("a file action"),
                (None, _) => Err(QuestionError::Verb {
                    verb: verb.to_owned(),
                    help: did_you_mean(verb, VERBS.iter().copied())
                        .unwrap_or_else(|| format!("known: {}", VERBS.join(", "))),
                }),
            },
        }
    }
}

/// `setns` or `limits`.
fn on_process(verb: &str, rest: &[&str]) -> Result<Question, QuestionError> {
    match (verb, rest) {
        ("setns", [kind, exe]) => Ok(Question::Setns {
            kind: one_of(kind, "types of namespaces", &process::NAMESPACES)?,
            exe: path(exe)?,
        }),
        ("setns", _) => form("setns"),
        (_, [what, exe]) => Ok(Question::Limits {
            what: one_of(what, "limits", &process::LIMITS)?,
            exe: path(exe)?,
        }),
        _ => form("limits"),
    }
}

fn on_mount(verb: &str) -> Option<MountAction> {
    let mut known = MountAction::NAMES.into_iter();
    known
        .find(|(name, _)| *name == verb)
        .map(|(_, action)| action)
}

/// The known word that was written.
fn one_of(
    word: &str,
    what: &'static str,
    words: &[(&'static str, u32)],
) -> Result<&'static str, QuestionError> {
    let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
    known(word, what, &names, |word| {
        names.iter().copied().find(|name| *name == word)
    })
}

/// The forms about IPC, settings and parts of the kernel.
fn of_kernel(verb: &str, rest: &[&str]) -> Result<Question, QuestionError> {
    match (verb, rest) {
        ("ipc", [class, right]) => ipc_object(class, right),
        ("ipc", _) => form("ipc"),
        ("sysctl", [how @ ("read" | "write"), name]) => Ok(Question::Sysctl {
            write: *how == "write",
            name: known(name, "names of settings", &[], SysctlName::parse)?,
        }),
        ("sysctl", _) => form("sysctl"),
        ("kernel", [name]) => {
            let names = kernel::SWITCHES.map(|(name, _)| name);
            let part = known(name, "parts of the kernel", &names, kernel::part);
            Ok(Question::Kernel(part?))
        }
        ("kernel", _) => form("kernel"),
        ("lockdown", [name]) => {
            let names = kernel::LOCKDOWN.map(|(name, _)| name);
            let number = |word: &str| kernel::number(&kernel::LOCKDOWN, word);
            Ok(Question::Lockdown(known(
                name,
                "reasons of lockdown",
                &names,
                number,
            )?))
        }
        _ => form("lockdown"),
    }
}

fn ipc_object(class: &str, right: &str) -> Result<Question, QuestionError> {
    let names = kernel::IPC.map(|(name, _)| name);
    let number = |word: &str| kernel::number(&kernel::IPC, word);
    let class = known(class, "classes of IPC", &names, number)?;
    let words = kernel::ipc_words(class);
    let parse = |word: &str| kernel::ipc_right(class, word);
    let right = known(right, "rights over them", &words, parse)?;
    Ok(Question::Ipc { class, right })
}

/// Questions about device nodes and what is open.
fn on_open(verb: &str, rest: &[&str]) -> Result<Question, QuestionError> {
    match (verb, rest) {
        ("make-device", [kind, number]) => {
            let (class, number) = device_number(kind, number)?;
            let rights = Rights::MKNOD;
            Ok(Question::Device {
                class,
                number,
                rights,
            })
        }
        ("make-device", _) => form("make-device"),
        ("ioctl", [command, at]) => Ok(Question::Ioctl {
            command: ioctl(command)?,
            path: path(at)?,
        }),
        ("ioctl", _) => form("ioctl"),
        ("device-ioctl", [command, kind, number]) => {
            let (class, number) = device_number(kind, number)?;
            Ok(Question::DeviceIoctl {
                command: ioctl(command)?,
                class,
                number,
            })
        }
        _ => form("device-ioctl"),
    }
}

fn form(verb: &'static str) -> Result<Question, QuestionError> {
    let is_its = |form: &&&str| form.split(' ').next() == Some(verb);
    // File actions have one form together, the first.
    let form = FORMS.iter().find(is_its).or(FORMS.first());
    let form = form.copied().unwrap_or_default();
    Err(QuestionError::Form { verb, form })
}

/// Words, of which one in single quotes may hold spaces.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

fn path(text: &str) -> Result<HostPath, QuestionError> {
    HostPath::parse(text)
        .map_err(|(message, help)| QuestionError::Path(format!("{message}{}", help_line(&help))))
}

fn known<T>(
    word: &str,
    what: &'static str,
    names: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, QuestionError> {
    parse(word).ok_or_else(|| QuestionError::Word {
        word: word.to_owned(),
        what,
        help: did_you_mean(word, names.iter().copied()),
    })
}

fn ioctl(word: &str) -> Result<IoctlCommand, QuestionError> {
    let names: Vec<&str> = ebpf_common::ioctl::NAMES
        .iter()
        .map(|(name, _)| *name)
        .collect();
    known(word, "ioctl commands", &names, IoctlCommand::parse)
}

fn device_number(class: &str, number: &str) -> Result<(DeviceClass, DeviceNumber), QuestionError> {
    let class = known(
        class,
        "classes of devices",
        &["block", "char"],
        |word| match word {
            "block" => Some(DeviceClass::Block),
            "char" => Some(DeviceClass::Char),
            _ => None,
        },
    )?;
    let number = known(number, "device numbers (`MAJOR:MINOR`)", &[], |word| {
        DeviceNumber::parse(word).filter(|number| number.minor != ebpf_common::abi::ANY_MINOR)
    })?;
    Ok((class, number))
}

fn device(class: &str, number: &str, rights: &str) -> Result<Question, QuestionError> {
    let (class, number) = device_number(class, number)?;
    let names = ["read", "write"];
    let rights = known(rights, "rights over a device", &names, |word| {
        names
            .contains(&word)
            .then(|| Rights::from_name(word))
            .flatten()
    })?;
    Ok(Question::Device {
        class,
        number,
        rights,
    })
}

fn mounting(fs_type: &str, flags: &str) -> Result<Question, QuestionError> {
    let names = mount::FLAGS.map(|(name, ..)| name);
    let mut bits = 0;
    for word in flags.split(',').filter(|word| !word.is_empty()) {
        bits |= known(word, "mount flags", &names, mount::flag)?;
    }
    Ok(Question::Mount {
        fs_type: fs_type.to_owned(),
        flags: bits,
    })
}

fn capability(name: &str, call: Option<&str>) -> Result<Question, QuestionError> {
    let names = &capability::NAMES;
    let capability = known(name, "capabilities", names, Capability::from_name)?;
    let calls: Vec<_> = Syscall::all().map(Syscall::name).collect();
    let syscall = call.map(|call| known(call, "system calls", &calls, Syscall::from_name));
    Ok(Question::Capability {
        capability,
        syscall: syscall.transpose()?,
    })
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
mod tests {
    use super::*;

    #[test]
    fn questions_read_back_as_they_print() {
        for text in [
            "read /etc/shadow",
            "create /srv/new",
            "rename /a /b",
            "link /a /b/c",
            "open-device block 8:0 read",
            "make-device char 10:200",
            "append /var/log/agent",
            "ioctl FICLONE /srv/new",
            "device-ioctl 0x1234 block 7:0",
            "mount tmpfs",
            "mount tmpfs nosuid,nodev",
            "capability SYS_ADMIN mount",
            "signal TERM /usr/bin/foo",
            "ptrace attach /usr/bin/foo",
            "bpf prog_load",
            "load-module nbd",
            "set-clock",
            "setns net /usr/bin/foo",
            "limits nice /usr/bin/foo",
            "umount /mnt/a",
            "chroot",
            "ipc shm read",
            "ipc keys setattr",
            "sysctl write net.ipv4.ip_forward",
            "kernel syslog",
            "kernel io_uring.sqpoll",
            "lockdown ioport",
        ] {
            let question: Question = text.parse().expect(text);
            assert_eq!(question.to_string(), text);
        }
        let spaces: Question = "read '/a b'".parse().expect("quoted");
        assert_eq!(spaces.to_string(), "read /a b");
    }

    #[test]
    fn what_is_no_question_says_what_is() {
        for (text, message) in [
            (
                "raed /x",
                "`raed` is not an action\nhelp: did you mean `read`?",
            ),
            (
                "signal TERN /x",
                "`TERN` is not among the signals\nhelp: did you mean `TERM`?",
            ),
            ("rename /a", "`rename` is asked as `rename OLD NEW`"),
            ("set-clock now", "`set-clock` is asked as `set-clock`"),
        ] {
            let error = text.parse::<Question>().expect_err(text);
            assert_eq!(error.to_string(), message);
        }
        for text in [
            "",
            "read",
            "read x",
            "open-device block 8:* read",
            "'",
            "mount tmpfs x",
            "ipc shm search",
            "sysctl write *",
            "kernel io_uring",
            "lockdown none",
        ] {
            assert!(text.parse::<Question>().is_err(), "{text}");
        }
    }
}
