//! The questions that can tell two policies apart: what either of them names, and everything that
//! could be done with it.

use ebpf_common::Rights;
use ebpf_common::abi::ANY_MINOR;

use crate::explain::Question;
use crate::model::{DeviceNumber, HostPath, ModuleName, Policy};
use crate::names::bpf::{BpfCommand, NAMES};
use crate::names::capability::Capability;
use crate::names::mount;
use crate::names::signal::{self, Signal};
use crate::names::syscall::Syscall;

/// Stands for any entry of a directory that no line names.
const ANY_ENTRY: &str = "…";

/// Every question that a policy may answer in another way than one that grants nothing. Without
/// repetition.
pub fn universe(policies: &[&Policy]) -> Vec<Question> {
    let mut all = Vec::new();
    for policy in policies {
        files(policy, &mut all);
        devices(policy, &mut all);
        processes(policy, &mut all);
        let modules = policy.kernel.modules.iter();
        all.extend(modules.map(|module| Question::LoadModule(module.value.clone())));
    }
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
            for rights in [Rights::READ, Rights::WRITE] {
                let (class, number) = (grant.class, DeviceNumber { major, minor });
                all.push(Question::Device {
                    class,
                    number,
                    rights,
                });
            }
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
        all.extend([false, true].map(|attach| Question::Ptrace {
            attach,
            exe: grant.exe.value.clone(),
        }));
    }
}

fn mounts(all: &mut Vec<Question>) {
    let every = mount::FLAGS.iter().fold(0, |bits, (name, _)| {
        bits | mount::flag(name).unwrap_or_default()
    });
    for fs_type in mount::TYPES {
        let single = mount::FLAGS
            .iter()
            .filter_map(|(name, _)| mount::flag(name));
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
            Self::Ptrace { attach, exe } => {
                let how = if *attach { "attach" } else { "read" };
                (format!("ptrace {exe}"), how.to_owned())
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
