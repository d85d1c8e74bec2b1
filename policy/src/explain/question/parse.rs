//! Reading a question.

use std::str::FromStr;

use ebpf_common::Rights;
use ebpf_common::decide::mount::MountAction;

use super::super::sockets;
use super::{FORMS, Question, QuestionError, VERBS, help_line};
use crate::model::{DeviceClass, DeviceNumber, HostPath, IoctlCommand, ModuleName, SysctlName};
use crate::names::bpf::{self, BpfCommand};
use crate::names::capability::{self, Capability};
use crate::names::did_you_mean;
use crate::names::kernel;
use crate::names::signal::{self, Signal};
use crate::names::syscall::Syscall;
use crate::names::{mount, process};

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
            (verb, rest) if on_mount(verb).is_some() => act_on_mount(on_mount(verb), rest),
            ("ipc" | "sysctl" | "kernel" | "lockdown", rest) => of_kernel(verb, rest),
            ("bind" | "listen" | "connect" | "send" | "create-socket", rest) => {
                on_socket(verb, rest)
            }
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

/// What is done to a socket.
fn on_socket(verb: &str, rest: &[&str]) -> Result<Question, QuestionError> {
    match (verb, rest) {
        ("create-socket", [kind]) => sockets::parse_create(kind, None),
        ("create-socket", [kind, what]) => sockets::parse_create(kind, Some(what)),
        ("create-socket", _) => form("create-socket"),
        (_, [kind, at]) => sockets::parse(verb, kind, at),
        _ => form("bind"),
    }
}

/// An action on a mount.
fn act_on_mount(action: Option<MountAction>, rest: &[&str]) -> Result<Question, QuestionError> {
    match (action, rest) {
        (Some(action), []) => Ok(Question::OnMount { action, at: None }),
        (Some(action), [at]) => Ok(Question::OnMount {
            action,
            at: Some(path(at)?),
        }),
        _ => form("remount"),
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
    let is_its = |form: &&&str| {
        let verbs = form.split(' ').next().unwrap_or_default();
        verbs.split('|').any(|one| one == verb)
    };
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

pub(in super::super) fn path(text: &str) -> Result<HostPath, QuestionError> {
    HostPath::parse(text)
        .map_err(|(message, help)| QuestionError::Path(format!("{message}{}", help_line(&help))))
}

pub(in super::super) fn known<T>(
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
