//! The questions that can tell two policies apart: what either of them names, and everything that
//! could be done with it.

mod sockets;

use ebpf_common::Rights;
use ebpf_common::abi::ANY_MINOR;
use ebpf_common::decide::mount::MountAction;
use ebpf_common::rights::ipc;

use crate::explain::Question;
use crate::model::{DeviceNumber, HostPath, IoctlCommand, ModuleName, Policy};
use crate::names::bpf::{BpfCommand, NAMES};
use crate::names::capability::Capability;
use crate::names::signal::{self, Signal};
use crate::names::syscall::Syscall;
use crate::names::{kernel, mount, process};

/// Stands for any entry of a directory that no line names.
const ANY_ENTRY: &str = "…";

/// Stands for any command of `ioctl(2)` that no line names, and that no driver has.
const ANY_COMMAND: IoctlCommand = IoctlCommand(0xffff_ffff);

/// Every question that a policy may answer in another way than one that grants nothing. Without
/// repetition.
pub fn universe(policies: &[&Policy]) -> Vec<Question> {
    let mut all = Vec::new();
    for policy in policies {
        files(policy, &mut all);
        devices(policy, &mut all);
        processes(policy, &mut all);
        on_mounts(policy, &mut all);
        settings(policy, &mut all);
        sockets::ask(policy, &mut all);
        let modules = policy.kernel.modules.iter();
        all.extend(modules.map(|module| Question::LoadModule(module.value.clone())));
    }
    numbered(&mut all);
    mounts(&mut all);
    capabilities(&mut all);
    let commands = NAMES.iter().filter_map(|name| BpfCommand::from_name(name));
    all.extend(commands.map(Question::Bpf));
    all.push(Question::SetClock);
    let mut texts = std::collections::BTreeSet::new();
    all.retain(|question| texts.insert(question.to_string()));
    all
}

fn files(policy: &Policy, all: &mut Vec<Question>) {
    for grant in &policy.files {
        let path = &grant.path.value;
        for (_, rights) in Rights::NAMES {
            let makes = rights.minus(Rights::CREATE | Rights::MKNOD).is_empty();
            let path = match makes {
                true => entry(path),
                false => path.clone(),
            };
            all.push(Question::File { rights, path });
        }
        all.extend(grant.ioctl.iter().map(|command| Question::Ioctl {
            command: *command,
            path: path.clone(),
        }));
        // Stands for those that no line names.
        all.push(Question::Ioctl {
            command: ANY_COMMAND,
            path: path.clone(),
        });
    }
    for exe in policy.processes.exec.iter().flat_map(|exec| &exec.value) {
        let (rights, path) = (Rights::EXECUTE, exe.value.clone());
        all.push(Question::File { rights, path });
    }
}

fn entry(directory: &HostPath) -> HostPath {
    let text = format!("{}/{ANY_ENTRY}", directory.as_str().trim_end_matches('/'));
    HostPath::parse(&text).unwrap_or_else(|_| directory.clone())
}

fn devices(policy: &Policy, all: &mut Vec<Question>) {
    for grant in &policy.devices {
        let DeviceNumber { major, minor } = grant.number.value;
        // A number that no line of either policy names stands for the rest of the major.
        let minors = match minor {
            ANY_MINOR => vec![0, 0xf_ffff],
            minor => vec![minor],
        };
        for minor in minors {
            let (class, number) = (grant.class, DeviceNumber { major, minor });
            for rights in [Rights::READ, Rights::WRITE, Rights::MKNOD] {
                all.push(Question::Device {
                    class,
                    number,
                    rights,
                });
            }
            let commands = grant.ioctl.iter().copied().chain([ANY_COMMAND]);
            all.extend(commands.map(|command| Question::DeviceIoctl {
                command,
                class,
                number,
            }));
        }
    }
}

fn processes(policy: &Policy, all: &mut Vec<Question>) {
    for grant in &policy.processes.signal {
        let numbers = (0..=signal::MAX).filter_map(Signal::from_number);
        all.extend(numbers.map(|signal| Question::Signal {
            signal,
            exe: grant.exe.value.clone(),
        }));
    }
    for grant in &policy.processes.ptrace {
        all.extend(process::TRACE.map(|(way, _)| Question::Ptrace {
            way,
            exe: grant.exe.value.clone(),
        }));
    }
    for grant in &policy.processes.setns {
        all.extend(process::NAMESPACES.map(|(kind, _)| Question::Setns {
            kind,
            exe: grant.exe.value.clone(),
        }));
    }
    for grant in &policy.processes.limits {
        all.extend(process::LIMITS.map(|(what, _)| Question::Limits {
            what,
            exe: grant.exe.value.clone(),
        }));
    }
}

fn on_mounts(policy: &Policy, all: &mut Vec<Question>) {
    let targets = policy.mount_actions.iter().flat_map(|line| &line.targets);
    let targets = targets.map(|at| Some(at.value.clone()));
    for at in targets.chain([None]) {
        let actions = MountAction::NAMES.iter().map(|(_, action)| *action);
        let actions = actions.filter(|action| at.is_none() || action.has_target());
        all.extend(actions.map(|action| Question::OnMount {
            action,
            at: at.clone(),
        }));
    }
}

fn settings(policy: &Policy, all: &mut Vec<Question>) {
    for (_, name, _) in policy.kernel.sysctl.grants() {
        all.extend([false, true].map(|write| Question::Sysctl {
            write,
            name: name.value.clone(),
        }));
    }
}

/// What has a number, and is few.
fn numbered(all: &mut Vec<Question>) {
    let parts = kernel::SWITCHES.iter().chain(&kernel::URING);
    all.extend(parts.map(|(_, which)| Question::Kernel(*which)));
    let reasons = kernel::LOCKDOWN.iter();
    all.extend(reasons.map(|(_, reason)| Question::Lockdown(*reason)));
    for (_, class) in kernel::IPC {
        let words = kernel::ipc_words(class).into_iter();
        let rights = words.filter_map(|word| kernel::ipc_right(class, word));
        all.extend(rights.map(|right| Question::Ipc { class, right }));
    }
}

fn mounts(all: &mut Vec<Question>) {
    let every = mount::FLAGS
        .iter()
        .fold(0, |bits, (_, flag, _)| bits | flag);
    for fs_type in mount::TYPES {
        let single = mount::FLAGS.iter().map(|(_, flag, _)| *flag);
        // Without a flag, and with all but one: what a line requires shows in one of them.
        let without = single.map(|flag| every & !flag);
        for flags in std::iter::once(0).chain(without).chain([every]) {
            let fs_type = fs_type.to_owned();
            all.push(Question::Mount { fs_type, flags });
        }
    }
}

fn capabilities(all: &mut Vec<Question>) {
    for number in 0..64 {
        let Some(capability) = Capability::from_number(number) else {
            continue;
        };
        let calls = Syscall::all().map(Some).chain([None]);
        all.extend(calls.map(|syscall| Question::Capability {
            capability,
            syscall,
        }));
    }
}

impl Question {
    /// What is asked about, and what is to be done with it: answers about one object are read
    /// together.
    pub fn parts(&self) -> (String, String) {
        let text = self.to_string();
        match self {
            Self::File { rights, path } => (path.to_string(), names(*rights)),
            Self::Device {
                class,
                number,
                rights,
            } => (format!("{} device {number}", class.name()), names(*rights)),
            Self::Capability {
                capability,
                syscall,
            } => {
                let call = syscall.map_or("calls that are not known", Syscall::name);
                (format!("capability {}", capability.name()), call.to_owned())
            }
            Self::Signal { signal, exe } => (format!("signal {exe}"), signal.name()),
            Self::Ptrace { way, exe } => (format!("ptrace {exe}"), (*way).to_owned()),
            Self::Setns { kind, exe } => (format!("setns {exe}"), (*kind).to_owned()),
            Self::Limits { what, exe } => (format!("limits {exe}"), (*what).to_owned()),
            Self::Ioctl { command, path } => (path.to_string(), format!("ioctl {command}")),
            Self::DeviceIoctl {
                command,
                class,
                number,
            } => (
                format!("{} device {number}", class.name()),
                format!("ioctl {command}"),
            ),
            Self::OnMount {
                action,
                at: Some(at),
            } => (format!("mounts at {at}"), action.name().to_owned()),
            Self::OnMount { action, at: None } => ("mounts".to_owned(), action.name().to_owned()),
            Self::Ipc { class, right } => {
                let class = kernel::word(&kernel::IPC, *class).unwrap_or("?");
                let right = ipc::names(*right).collect::<Vec<_>>().join(",");
                (format!("ipc {class}"), right)
            }
            Self::Sysctl { write, name } => {
                let how = if *write { "write" } else { "read" };
                (format!("sysctl {name}"), how.to_owned())
            }
            Self::Bpf(command) => ("bpf".to_owned(), command.name().to_owned()),
            Self::LoadModule(name) => (
                "load-module".to_owned(),
                ModuleName::as_str(name).to_owned(),
            ),
            _ => match text.split_once(' ') {
                Some((verb, rest)) => (verb.to_owned(), rest.to_owned()),
                None => (text, String::new()),
            },
        }
    }
}

fn names(rights: Rights) -> String {
    rights.names().collect::<Vec<_>>().join(",")
}
