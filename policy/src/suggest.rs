//! From an audited refusal to the line of policy that would allow it.

use ebpf_common::Rights;
use ebpf_common::abi::{ANY_MINOR, device_class, ptrace, split_dev, switch};
use ebpf_common::decide::mount::MountAction;
use ebpf_common::ioctl::sets_flags;
use ebpf_common::socket::Address;

use crate::compile::Compiled;
use crate::compile::rules::{CallSet, Cause, DERIVED};
use crate::model::value::{IoctlCommand, quoted};
use crate::model::{
    DeviceNumber, FileRights, HostPath, ModuleName, Policy, SysctlName, ipc, parse,
};
use crate::names::bpf::BpfCommand;
use crate::names::capability::Capability;
use crate::names::kernel::{IPC, LOCKDOWN, SWITCHES, URING, ipc_rights, word};
use crate::names::mount::{self, TypeKind};
use crate::names::process;
use crate::names::signal::Signal;
use crate::names::syscall::Syscall;
use crate::tables::Device;

mod sockets;

/// A refused action, as far as an audit event tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denied {
    /// A file action.
    File {
        /// The object's path on the host; for an entry to be made, its directory's.
        path: String,
        /// What was wanted.
        rights: Rights,
        /// What the deciding grant gives ([`Compiled::file_rights`]): a nearer line must repeat it.
        held: Rights,
    },
    /// A command of `ioctl(2)` on a file.
    Ioctl {
        /// The object's path on the host.
        path: String,
        /// The command.
        command: u32,
        /// What the deciding grant gives: a nearer line must repeat it.
        held: Rights,
    },
    /// A command of `ioctl(2)` on a device.
    DeviceIoctl {
        /// One of [`device_class`].
        class: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
        /// The command.
        command: u32,
        /// What the device has already ([`Compiled::device_rights`]).
        held: Rights,
    },
    /// Opening a device node.
    Device {
        /// One of [`device_class`].
        class: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
        /// What was wanted.
        rights: Rights,
        /// What the device has already ([`Compiled::device_rights`]).
        held: Rights,
    },
    /// A mount.
    Mount {
        /// File system type, or `bind`.
        fs_type: String,
        /// The block device below, in the kernel's encoding, if it is known.
        device: Option<u32>,
    },
    /// An action on mounts.
    MountAction {
        /// Which.
        action: MountAction,
        /// The root of the mount on the host; `None`: not known, or one that the container made.
        target: Option<String>,
    },
    /// Entering namespaces of a process.
    Setns {
        /// What the target executes.
        exe: String,
        /// `CLONE_NEW*`.
        types: u32,
    },
    /// Changing limits, priority or placement of a process.
    Limits {
        /// What the target executes.
        exe: String,
        /// A bit of [`ebpf_common::abi::limits`].
        what: u32,
    },
    /// Executing what no `exec` line names.
    Exec {
        /// The file.
        path: String,
    },
    /// A capability over the host.
    Capability {
        /// Its number.
        capability: u32,
        /// The native system call, if it is known.
        syscall: Option<u32>,
    },
    /// A signal.
    Signal {
        /// What the target executes.
        exe: String,
        /// Its number.
        signal: u32,
    },
    /// Tracing.
    Ptrace {
        /// What the target executes.
        exe: String,
        /// A bit of [`ebpf_common::abi::ptrace`].
        want: u32,
    },
    /// `bpf(2)`.
    Bpf {
        /// The command.
        command: u32,
    },
    /// Loading a module.
    Module {
        /// Its name.
        name: String,
    },
    /// Setting the clock.
    Clock,
    /// A socket.
    Socket {
        /// One of [`ebpf_common::socket::kind`].
        kind: u32,
        /// One bit of [`ebpf_common::socket::right`].
        right: u32,
        /// Netlink protocol or address family, for the kinds that have one.
        detail: u32,
        /// With which address.
        address: Address,
    },
    /// A unix socket of a file system.
    UnixPath {
        /// Its path on the host.
        path: String,
        /// One bit of [`ebpf_common::socket::right`].
        right: u32,
    },
    /// An abstract unix socket.
    UnixName {
        /// Its name.
        name: String,
        /// One bit of [`ebpf_common::socket::right`].
        right: u32,
    },
    /// An object of IPC, or a key.
    Ipc {
        /// One of [`ebpf_common::abi::ipc_class`].
        class: u32,
        /// What was wanted.
        rights: Rights,
    },
    /// A kernel setting.
    Sysctl {
        /// Its name.
        name: String,
        /// What was wanted.
        rights: Rights,
    },
    /// A part of the kernel.
    Switch {
        /// One of [`switch`].
        which: u32,
    },
    /// A use that lockdown knows.
    Lockdown {
        /// The kernel's number for it.
        reason: u32,
    },
}

impl Compiled {
    /// The rights that the grant of this index gives over files; none if it is no grant of files.
    pub fn file_rights(&self, rule: u32) -> Rights {
        let rules = self.tables.files.values();
        rules
            .filter(|found| found.rule == rule)
            .map(|found| found.rights)
            .next()
            .unwrap_or(Rights::NONE)
    }
}

impl Compiled {
    /// Whether some line lets files be added to that may not be written.
    pub fn adds_without_writing(&self) -> bool {
        let mut rules = self.tables.files.values();
        rules.any(|rule| adds_only(rule.rights))
    }

    /// The rights that a device has, by a line of its own or by one that covers it: a line that is
    /// added takes the place of both.
    pub fn device_rights(&self, class: u32, (major, minor): (u32, u32)) -> Rights {
        let of = |minor| {
            let device = Device {
                class,
                major,
                minor,
            };
            self.tables.devices.get(&device)
        };
        let found = of(minor).or_else(|| of(ANY_MINOR));
        found.map_or(Rights::NONE, |found| found.rights)
    }
}

impl Policy {
    /// Whether some line lets files be added to that may not be written.
    pub fn adds_without_writing(&self) -> bool {
        self.files.iter().any(|grant| adds_only(grant.allow.0))
    }
}

fn adds_only(rights: Rights) -> bool {
    rights.contains(Rights::APPEND) && !rights.contains(Rights::WRITE)
}

/// The line of policy that would allow a refused action; `None` where no line can: the fixed core,
/// procfs, file systems that may not be mounted, rights that the language has no words for.
pub fn suggest(denied: &Denied) -> Option<String> {
    line_for(denied).filter(|line| is_readable(line))
}

/// Whether a policy can hold a line: an event may hold what has no word here.
fn is_readable(line: &str) -> bool {
    let whole = crate::edit::add_line("reeve: v1\nname: a\n", line, None);
    whole.is_ok_and(|text| parse("suggested", &text).is_ok())
}

/// [`suggest`] for what was asked in words, of which each has a name.
pub(crate) fn line_for(denied: &Denied) -> Option<String> {
    match denied {
        Denied::File { path, rights, held } => suggest_file(path, *rights, *held),
        Denied::Ioctl {
            path,
            command,
            held,
        } => suggest_ioctl(path, *command, *held),
        Denied::DeviceIoctl {
            class,
            major,
            minor,
            command,
            held,
        } => {
            let commands = [IoctlCommand(*command)];
            suggest_device(*class, (*major, *minor), or_read(*held), &commands)
        }
        Denied::Device {
            class,
            major,
            minor,
            rights,
            held,
        } => suggest_device(*class, (*major, *minor), *rights | *held, &[]),
        Denied::Mount { fs_type, device } => suggest_mount(fs_type, *device),
        Denied::MountAction { action, target } => suggest_action(*action, target.as_deref()),
        Denied::Capability {
            capability,
            syscall,
        } => suggest_capability(*capability, *syscall),
        Denied::Signal { .. }
        | Denied::Ptrace { .. }
        | Denied::Setns { .. }
        | Denied::Limits { .. }
        | Denied::Exec { .. } => suggest_process(denied),
        Denied::Bpf { command } => {
            let name = BpfCommand::from_number(*command)?.name();
            Some(format!("kernel: {{ bpf: [{name}] }}"))
        }
        Denied::Module { name } => {
            let name = ModuleName::parse(name)?;
            Some(format!("kernel: {{ modules: [{}] }}", name.as_str()))
        }
        Denied::Clock => Some("kernel: { clock: true }".to_owned()),
        Denied::Socket { .. } | Denied::UnixPath { .. } | Denied::UnixName { .. } => {
            sockets::suggest(denied)
        }
        Denied::Ipc { .. }
        | Denied::Sysctl { .. }
        | Denied::Switch { .. }
        | Denied::Lockdown { .. } => suggest_numbered(denied),
    }
}

fn suggest_capability(capability: u32, syscall: Option<u32>) -> Option<String> {
    let name = Capability::from_number(capability)?.name();
    if let Some(which) = part_of(name, syscall) {
        return suggest_numbered(&Denied::Switch { which });
    }
    let calls = match syscall {
        None => "all".to_owned(),
        Some(number) => format!("[{}]", Syscall::from_number(number)?.name()),
    };
    Some(format!("capabilities: {{ {name}: {calls} }}"))
}

/// The line for what is done to processes, or executed.
fn suggest_process(denied: &Denied) -> Option<String> {
    match denied {
        Denied::Signal { exe, signal } => {
            let signal = Signal::from_number(*signal)?.name();
            reaching("signal", exe, "signals", &[&signal])
        }
        Denied::Ptrace { exe, want } => {
            let want = match *want {
                // A line gives looking into a process and comparing with it together.
                ptrace::READ => ptrace::READ | ptrace::COMPARE,
                other => other,
            };
            reaching("ptrace", exe, "allow", &process::trace_names(want))
        }
        Denied::Setns { exe, types } => {
            let names = process::names(&process::NAMESPACES, *types);
            reaching("setns", exe, "types", &names)
        }
        Denied::Limits { exe, what } => {
            let names = process::names(&process::LIMITS, *what);
            reaching("limits", exe, "allow", &names)
        }
        Denied::Exec { path } => {
            let path = quoted(HostPath::parse(path).ok()?.as_str());
            Some(format!("processes: {{ exec: [{path}] }}"))
        }
        _ => None,
    }
}

/// A line of `processes` on an executable.
fn reaching(list: &str, exe: &str, key: &str, words: &[&str]) -> Option<String> {
    let exe = quoted(HostPath::parse(exe).ok()?.as_str());
    let words = (!words.is_empty()).then(|| words.join(", "))?;
    Some(format!(
        "processes: {{ {list}: [ {{ exe: {exe}, {key}: [{words}] }} ] }}"
    ))
}

fn suggest_mount(fs_type: &str, device: Option<u32>) -> Option<String> {
    if !mount::TYPES.contains(&fs_type) {
        return None;
    }
    match (mount::kind(fs_type), device) {
        (TypeKind::Device, Some(device)) => {
            let (major, minor) = split_dev(device);
            Some(format!(
                "mounts: - {{ type: {fs_type}, source: \"{major}:{minor}\" }}"
            ))
        }
        // What it is mounted from is not known.
        (TypeKind::Device | TypeKind::Network, _) => None,
        _ => Some(format!("mounts: - {{ type: {fs_type} }}")),
    }
}

fn suggest_action(action: MountAction, target: Option<&str>) -> Option<String> {
    let name = action.name();
    match target {
        Some(target) if action.has_target() => {
            let target = quoted(HostPath::parse(target).ok()?.as_str());
            Some(format!("mounts: - {{ allow: [{name}], target: {target} }}"))
        }
        _ if action == MountAction::Umount => None,
        _ => Some(format!("mounts: - {{ allow: [{name}] }}")),
    }
}

/// The line for what is named by a number.
fn suggest_numbered(denied: &Denied) -> Option<String> {
    match denied {
        Denied::Ipc { class, rights } => {
            let name = word(&IPC, *class)?;
            let known = Rights(rights.0 & ipc_rights(*class).0);
            (!known.is_empty()).then(|| format!("ipc: {{ {name}: {} }}", ipc::text(known)))
        }
        Denied::Sysctl { name, rights } => {
            let name = SysctlName::parse(name)?;
            let key = match rights.minus(Rights::READ).is_empty() {
                true => "read",
                false => "write",
            };
            Some(format!("kernel: {{ sysctl: {{ {key}: [{name}] }} }}"))
        }
        // What a line takes away comes back by removing it.
        Denied::Switch {
            which: switch::USERNS,
        } => None,
        Denied::Switch { which } => Some(match word(&URING, *which) {
            Some(use_) => format!("kernel: {{ io_uring: [{use_}] }}"),
            None => format!("kernel: {{ {}: true }}", word(&SWITCHES, *which)?),
        }),
        Denied::Lockdown { reason } => {
            let name = word(&LOCKDOWN, *reason)?;
            Some(format!("kernel: {{ lockdown: [{name}] }}"))
        }
        _ => None,
    }
}

/// The part of the kernel whose line brings a capability along in a system call.
fn part_of(capability: &str, syscall: Option<u32>) -> Option<u32> {
    let call = Syscall::from_number(syscall?)?.name();
    DERIVED
        .iter()
        .find_map(|(cause, name, calls)| match (cause, calls) {
            (Cause::Switch(which), CallSet::Only(names))
                if *name == capability && names.contains(&call) =>
            {
                Some(*which)
            }
            _ => None,
        })
}

fn suggest_device(
    class: u32,
    (major, minor): (u32, u32),
    rights: Rights,
    commands: &[IoctlCommand],
) -> Option<String> {
    let class = match class {
        device_class::BLOCK => "block",
        device_class::CHAR => "char",
        _ => return None,
    };
    let (number, allow) = (DeviceNumber { major, minor }, FileRights(rights).text());
    let ioctl = IoctlCommand::list_text(commands);
    Some(format!(
        "devices: - {{ {class}: \"{number}\", allow: {allow}{ioctl} }}"
    ))
}

fn suggest_ioctl(path: &str, command: u32, held: Rights) -> Option<String> {
    if sets_flags(command) {
        return suggest_file(path, Rights::FLAGS, held);
    }
    let line = suggest_file(path, or_read(held), Rights::NONE)?;
    let ioctl = IoctlCommand::list_text(&[IoctlCommand(command)]);
    Some(line.replace("] }", &format!("]{ioctl} }}")))
}

/// Without any right there is no descriptor that commands could be used on.
fn or_read(held: Rights) -> Rights {
    match held.is_empty() {
        true => Rights::READ,
        false => held,
    }
}

fn suggest_file(path: &str, wanted: Rights, held: Rights) -> Option<String> {
    let path = HostPath::parse(path).ok()?;
    if path.is_within("/proc") || path.is_within("/sys/fs/bpf") || wanted.is_empty() {
        return None;
    }
    let mut rights = wanted | held;
    if rights.contains(Rights::WRITE) {
        // `write` brings them along.
        rights = rights.minus(Rights::TRUNCATE | Rights::APPEND);
    }
    let allow = FileRights(rights).text();
    Some(format!(
        "files: - {{ path: {}, allow: {allow} }}",
        quoted(path.as_str())
    ))
}

#[cfg(test)]
mod tests;
