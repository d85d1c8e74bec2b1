//! Questions as they are written.

use std::fmt;

use ebpf_common::Rights;
use ebpf_common::rights::ipc;

use super::Question;
use crate::names::syscall::Syscall;
use crate::names::{kernel, mount};

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
