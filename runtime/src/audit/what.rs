//! What an event speaks of, in words.

use ebpf_common::Rights;
use ebpf_common::abi::{device_class, split_dev, switch, type_hash_of};
use ebpf_common::decide::Reason;
use ebpf_common::decide::mount::MountAction;
use ebpf_common::event::{Action, Event};
use ebpf_common::rights::ipc;
use policy::Denied;
use policy::model::IoctlCommand;
use policy::names::bpf::BpfCommand;
use policy::names::capability::Capability;
use policy::names::kernel;
use policy::names::process;
use policy::names::signal::Signal;
use policy::names::syscall::Syscall;

use super::place::{Mounts, Place};
use super::registry::Registered;

/// `LOADING_KEXEC_IMAGE` (`enum kernel_load_data_id`).
const LOADING_KEXEC_IMAGE: u32 = 3;

mod sockets;

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
            Some(Action::Device) => device(event, known, &shown),
            Some(Action::Mount | Action::MoveMount) => mount(event, place.as_ref()),
            Some(Action::Umount) => on_mount(MountAction::Umount, shown, path),
            Some(Action::MountAction) => {
                let number = event.detail as usize;
                let action = MountAction::NAMES.get(number).map(|(_, action)| *action);
                let action = action.unwrap_or(MountAction::Remount);
                on_mount(action, shown, path)
            }
            Some(Action::MountParameter) => mount_parameter(event),
            Some(Action::Namespace) => namespace(event),
            Some(Action::Exec) => {
                let denied = path.map(|path| Denied::Exec {
                    path: path.to_owned(),
                });
                ("execute what is not listed".into(), shown, denied)
            }
            Some(Action::Capability) => capability(event),
            Some(Action::Signal) => signal(event),
            Some(Action::Ptrace) => ptrace(event),
            Some(Action::Bpf) => bpf(event),
            Some(Action::KernelRead) => {
                let name = path.and_then(module_name);
                let denied = name.map(|name| Denied::Module { name });
                ("load into kernel".into(), shown, denied)
            }
            Some(Action::KernelLoad) => {
                let kexec = event.detail as u32 == LOADING_KEXEC_IMAGE;
                let which = switch::KEXEC;
                let denied = kexec.then_some(Denied::Switch { which });
                ("load into kernel".into(), "from memory".into(), denied)
            }
            Some(Action::Clock) => clock(),
            Some(Action::SignalOwner) => signal_owner(event),
            Some(Action::Limits) => limits(event),
            Some(Action::Ioctl) => ioctl(event, known, shown, path),
            Some(Action::BlockIoctl) => device_ioctl(event, known, device_class::BLOCK, &shown),
            Some(Action::CharIoctl) => device_ioctl(event, known, device_class::CHAR, &shown),
            Some(Action::MakeDevice) => {
                let (_, object, denied) = device(event, known, &shown);
                ("make device in".into(), object, denied)
            }
            Some(Action::Ipc) => ipc_object(event),
            Some(Action::Sysctl) => sysctl(event),
            Some(Action::Switch) => part(event.detail as u32),
            Some(Action::Lockdown) => lockdown(event.detail as u32),
            Some(Action::Socket) => sockets::by_address(event),
            Some(Action::UnixPath) => sockets::unix_path(event, shown, path),
            Some(Action::UnixName) => sockets::unix_name(event),
            Some(Action::Route) => sockets::route(event),
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

fn clock() -> Parts {
    let denied = Some(Denied::Clock);
    ("set clock".into(), "system clock".into(), denied)
}

fn file(event: &Event, known: Option<&Registered>, shown: String, path: Option<&str>) -> Parts {
    let rights = Rights(event.rights);
    let held = known.map_or(Rights::NONE, |known| known.compiled.file_rights(event.rule));
    let denied = path.map(|path| Denied::File {
        path: path.to_owned(),
        rights,
        held,
    });
    (words(rights.names()), shown, denied)
}

/// Rights in words; `?` where none of them has a name here, as from a later Reeve.
fn words(names: impl IntoIterator<Item = &'static str>) -> String {
    match names.into_iter().collect::<Vec<_>>().join("+") {
        none if none.is_empty() => "?".to_owned(),
        words => words,
    }
}

fn ipc_object(event: &Event) -> Parts {
    let (class, rights) = (event.detail as u32, Rights(event.rights));
    let name = kernel::word(&kernel::IPC, class).unwrap_or("?");
    let words = ipc::names(rights).collect::<Vec<_>>().join("+");
    let queue = names_of(event).join("/");
    let object = match queue.is_empty() {
        true => name.to_owned(),
        false => format!("{name} {queue}"),
    };
    let action = match words.is_empty() {
        true => "find".to_owned(),
        false => words,
    };
    (action, object, Some(Denied::Ipc { class, rights }))
}

/// A setting by its name: the components below `sys`.
fn sysctl(event: &Event) -> Parts {
    let rights = Rights(event.rights);
    let parts = names_of(event);
    let parts = parts.get(1..).unwrap_or_default();
    let dotted = parts.iter().any(|part| part.contains('.'));
    let name = parts.join(if dotted { "/" } else { "." });
    let object = format!("sysctl {name}");
    (
        words(rights.names()),
        object,
        Some(Denied::Sysctl { name, rights }),
    )
}

/// The names of an event's object, from the root of its file system.
fn names_of(event: &Event) -> Vec<String> {
    let kept = event.components.iter().take(event.depth as usize);
    let mut names: Vec<String> = kept
        .map(|name| {
            let end = name.iter().position(|byte| *byte == 0);
            let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        })
        .collect();
    names.reverse();
    names
}

fn part(which: u32) -> Parts {
    let denied = Some(Denied::Switch { which });
    ("use".into(), kernel::part_text(which), denied)
}

fn lockdown(reason: u32) -> Parts {
    let name = kernel::word(&kernel::LOCKDOWN, reason).unwrap_or("?");
    let denied = Some(Denied::Lockdown { reason });
    ("use".into(), format!("{name} (lockdown)"), denied)
}

fn ioctl(event: &Event, known: Option<&Registered>, shown: String, path: Option<&str>) -> Parts {
    let command = event.detail as u32;
    let denied = path.map(|path| Denied::Ioctl {
        path: path.to_owned(),
        command,
        held: known.map_or(Rights::NONE, |known| known.compiled.file_rights(event.rule)),
    });
    (command_name(command), shown, denied)
}

fn device_ioctl(event: &Event, known: Option<&Registered>, class: u32, shown: &str) -> Parts {
    let command = event.detail as u32;
    let (major, minor) = split_dev((event.detail >> 32) as u32);
    let kind = if class == device_class::BLOCK {
        "block"
    } else {
        "char"
    };
    let denied = Denied::DeviceIoctl {
        class,
        major,
        minor,
        command,
        held: device_held(known, class, (major, minor)),
    };
    let object = format!("{kind} {major}:{minor} {shown}");
    (command_name(command), object, Some(denied))
}

/// What the policy gives over a device already.
fn device_held(known: Option<&Registered>, class: u32, number: (u32, u32)) -> Rights {
    known.map_or(Rights::NONE, |known| {
        known.compiled.device_rights(class, number)
    })
}

/// `ioctl FICLONE`, `ioctl 0x1234`.
fn command_name(command: u32) -> String {
    format!("ioctl {}", IoctlCommand(command))
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
    let want = event.detail as u32;
    let exe = executable(event.target_pid);
    let object = format!("{} {}", event.target_pid, shown_exe(&exe));
    let action = match process::trace_names(want).as_slice() {
        [] => "ptrace read".to_owned(),
        names => format!("ptrace {}", names.join("+")),
    };
    (action, object, exe.map(|exe| Denied::Ptrace { exe, want }))
}

fn limits(event: &Event) -> Parts {
    let what = event.detail as u32;
    let names = words(process::names(&process::LIMITS, what));
    let exe = executable(event.target_pid);
    let object = format!("{names} of {} {}", event.target_pid, shown_exe(&exe));
    let denied = exe.map(|exe| Denied::Limits { exe, what });
    ("limits".into(), object, denied)
}

fn namespace(event: &Event) -> Parts {
    let types = event.detail as u32;
    let names = match process::names(&process::NAMESPACES, types).as_slice() {
        [] => "a namespace of no named type".to_owned(),
        names => names.join("+"),
    };
    if event.target_pid == 0 {
        return ("setns".into(), names, None);
    }
    let exe = executable(event.target_pid);
    let object = format!("{names} of {} {}", event.target_pid, shown_exe(&exe));
    let denied = exe.map(|exe| Denied::Setns { exe, types });
    ("setns".into(), object, denied)
}

/// An action on a mount, named by its root.
fn on_mount(action: MountAction, shown: String, path: Option<&str>) -> Parts {
    let target = path.map(str::to_owned);
    let denied = Denied::MountAction { action, target };
    (action.name().into(), shown, Some(denied))
}

fn mount_parameter(event: &Event) -> Parts {
    let names = ["source", "journal_dev", "journal_path", "logdev", "rtdev"];
    let mut names = names.into_iter();
    let name = names.find(|name| type_hash_of(name) == event.detail);
    let fs_type = type_name(event.ino).unwrap_or("file system".to_owned());
    let object = format!("{fs_type} with this {}", name.unwrap_or("parameter"));
    // Where no line has the type, one without a source allows it; else the source is what is not
    // known here.
    let of_type = event.reason == Reason::NoGrant as u32 && name == Some("source");
    let denied = of_type.then_some(Denied::Mount {
        fs_type,
        device: None,
    });
    ("mount".into(), object, denied)
}

fn bpf(event: &Event) -> Parts {
    let command = event.detail as u32;
    let name = BpfCommand::from_number(command).map_or("?", BpfCommand::name);
    ("bpf".into(), name.to_owned(), Some(Denied::Bpf { command }))
}

fn device(event: &Event, known: Option<&Registered>, shown: &str) -> Parts {
    let class = (event.detail >> 32) as u32;
    let (major, minor) = split_dev(event.detail as u32);
    let rights = Rights(event.rights);
    let kind = if class == device_class::BLOCK {
        "block"
    } else {
        "char"
    };
    let action = format!("open device for {}", words(rights.names()));
    let denied = Denied::Device {
        class,
        major,
        minor,
        rights,
        held: device_held(known, class, (major, minor)),
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
    let device = Some(event.dev).filter(|dev| *dev >> 20 != 0);
    // Where the type has a line, only another device is something to add: whether a flag was
    // missing or the mount point another is not known here.
    let adds = event.reason == Reason::NoGrant as u32 || device.is_some();
    let denied = fs_type.clone().filter(|_| adds);
    let denied = denied.map(|fs_type| Denied::Mount { fs_type, device });
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

#[cfg(test)]
mod tests;
