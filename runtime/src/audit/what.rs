//! What an event speaks of, in words.

use ebpf_common::Rights;
use ebpf_common::abi::{device_class, split_dev, type_hash_of};
use ebpf_common::decide::process::PTRACE_MODE_ATTACH;
use ebpf_common::event::{Action, Event};
use policy::Denied;
use policy::names::bpf::BpfCommand;
use policy::names::capability::Capability;
use policy::names::signal::Signal;
use policy::names::syscall::Syscall;

use super::place::{Mounts, Place};
use super::registry::Registered;

/// The action and object of an event, in words and as the policy language asks.
pub(super) struct What {
    pub(super) action: String,
    pub(super) object: String,
    /// What to ask for; nothing where no policy could allow it.
    pub(super) denied: Option<Denied>,
}

/// Action, object, and what to ask for.
type Parts = (String, String, Option<Denied>);

impl What {
    /// Puts names to an event while the processes and mounts that it speaks of are still there.
    pub(super) fn of(event: &Event, known: Option<&Registered>, mounts: &Mounts) -> Self {
        let place = mounts.name(event);
        let shown = place
            .as_ref()
            .map_or_else(|| identity(event), |place| place.text().to_owned());
        let path = place.as_ref().and_then(Place::host);
        let (action, object, denied) = match Action::from_number(event.action) {
            Some(Action::File) => file(event, known, shown, path),
            Some(Action::Device) => device(event, &shown),
            Some(Action::Mount | Action::MoveMount) => mount(event, place.as_ref()),
            Some(Action::Umount) => ("umount".into(), identity(event), None),
            Some(Action::Capability) => capability(event),
            Some(Action::Signal) => signal(event),
            Some(Action::Ptrace) => ptrace(event),
            Some(Action::Bpf) => bpf(event),
            Some(Action::KernelRead) => {
                let name = path.and_then(module_name);
                let denied = name.map(|name| Denied::Module { name });
                ("load into kernel".into(), shown, denied)
            }
            Some(Action::KernelLoad) => ("load into kernel".into(), "from memory".into(), None),
            Some(Action::Clock) => (
                "set clock".into(),
                "system clock".into(),
                Some(Denied::Clock),
            ),
            Some(Action::SignalOwner) => signal_owner(event),
            Some(Action::Limits) => {
                let exe = executable(event.target_pid);
                let object = format!("{} {}", event.target_pid, shown_exe(&exe));
                ("limits".into(), object, None)
            }
            Some(Action::Birth) => ("clone".into(), "into another cgroup".into(), None),
            None => ("?".into(), identity(event), None),
        };
        Self {
            action,
            object,
            denied,
        }
    }
}

fn file(event: &Event, known: Option<&Registered>, shown: String, path: Option<&str>) -> Parts {
    let rights = Rights(event.rights);
    let held = known.map_or(Rights::NONE, |known| known.compiled.file_rights(event.rule));
    let denied = path.map(|path| Denied::File {
        path: path.to_owned(),
        rights,
        held,
    });
    (rights.names().collect::<Vec<_>>().join("+"), shown, denied)
}

fn signal(event: &Event) -> Parts {
    let signal = event.detail as u32;
    let name = Signal::from_number(signal).map_or("?".into(), Signal::name);
    let exe = executable(event.target_pid);
    let object = format!("{name} to {} {}", event.target_pid, shown_exe(&exe));
    (
        "signal".into(),
        object,
        exe.map(|exe| Denied::Signal { exe, signal }),
    )
}

fn signal_owner(event: &Event) -> Parts {
    let object = match event.detail as u32 as i32 {
        0 => "another process".to_owned(),
        named if named < 0 => format!("process group {}", named.unsigned_abs()),
        named => format!("process {named}"),
    };
    ("signals of a file to".into(), object, None)
}

fn ptrace(event: &Event) -> Parts {
    let attach = event.detail as u32 & PTRACE_MODE_ATTACH != 0;
    let exe = executable(event.target_pid);
    let object = format!("{} {}", event.target_pid, shown_exe(&exe));
    let action = if attach {
        "ptrace attach"
    } else {
        "ptrace read"
    };
    (
        action.into(),
        object,
        exe.map(|exe| Denied::Ptrace { exe, attach }),
    )
}

fn bpf(event: &Event) -> Parts {
    let command = event.detail as u32;
    let name = BpfCommand::from_number(command).map_or("?", BpfCommand::name);
    ("bpf".into(), name.to_owned(), Some(Denied::Bpf { command }))
}

fn device(event: &Event, shown: &str) -> Parts {
    let class = (event.detail >> 32) as u32;
    let (major, minor) = split_dev(event.detail as u32);
    let rights = Rights(event.rights);
    let kind = if class == device_class::BLOCK {
        "block"
    } else {
        "char"
    };
    let action = format!(
        "open device for {}",
        rights.names().collect::<Vec<_>>().join("+")
    );
    let denied = Denied::Device {
        class,
        major,
        minor,
        rights,
    };
    (
        action,
        format!("{kind} {major}:{minor} {shown}"),
        Some(denied),
    )
}

fn mount(event: &Event, place: Option<&Place>) -> Parts {
    let fs_type = type_name(event.ino);
    let at = place.map_or(String::new(), |place| format!(" at {}", place.text()));
    let shown = fs_type.as_deref().unwrap_or("file system");
    let denied = fs_type.clone().map(|fs_type| Denied::Mount { fs_type });
    ("mount".into(), format!("{shown}{at}"), denied)
}

fn capability(event: &Event) -> Parts {
    let capability = (event.detail >> 32) as u32;
    let syscall = Some(event.detail as u32).filter(|number| *number != u32::MAX);
    let name = Capability::from_number(capability).map_or("?", Capability::name);
    let call = syscall
        .and_then(Syscall::from_number)
        .map_or("?", Syscall::name);
    let denied = Denied::Capability {
        capability,
        syscall,
    };
    (
        "capability".into(),
        format!("{name} in {call}"),
        Some(denied),
    )
}

/// Name of the file system type with this hash, among those that the kernel knows.
fn type_name(hash: u64) -> Option<String> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let names = known
        .lines()
        .filter_map(|line| line.split('\t').next_back());
    names
        .chain(["bind"])
        .find(|name| type_hash_of(name) == hash)
        .map(str::to_owned)
}

fn executable(pid: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.to_string_lossy().into_owned())
}

fn shown_exe(exe: &Option<String>) -> &str {
    exe.as_deref().unwrap_or("(gone or a kernel thread)")
}

/// `nbd` for `…/nbd.ko.xz`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, _) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn identity(event: &Event) -> String {
    let (major, minor) = split_dev(event.dev);
    format!("inode {} of {major}:{minor}", event.ino)
}
