//! What the tests ask, and what a learned policy should answer.

use ebpf_common::Rights;
use ebpf_common::abi::{ptrace, switch};

use crate::explain::Question;
use crate::model::{DeviceClass, DeviceNumber, HostPath, IoctlCommand};
use crate::names::{kernel, process};

/// Actions that a line can allow, but those on paths.
const OTHERS: &str = "open-device block 8:0 read;open-device block 8:0 write;\
    make-device block 8:0;device-ioctl BLKDISCARD block 8:0;device-ioctl 0x1234 block 8:0;\
    open-device char 10:1 read;make-device char 1:3;open-device char 1:3 read;\
    mount tmpfs;mount bind;remount;move;propagation;pivot_root;chroot;open_tree;mount_setattr;\
    remount /d2;umount /d0;umount /d0/d1;propagation /d0;\
    capability NET_ADMIN ioctl;capability NET_ADMIN bind;capability SYS_NICE setpriority;\
    capability SYS_ADMIN sethostname;capability SYS_ADMIN setdomainname;\
    signal TERM /bin/a;signal HUP /bin/a;signal HUP /bin/b;bpf map_create;bpf map_freeze;\
    load-module nbd;load-module loop;set-clock;\
    sysctl read net.ipv4;sysctl read net.ipv4.ip_forward;sysctl write net.ipv4.ip_forward;\
    sysctl write vm.dirty_ratio;sysctl read vm.dirty_ratio;sysctl write net";

/// Every question that the tests ask.
pub(super) fn all_questions() -> Vec<Question> {
    let mut texts: Vec<String> = OTHERS.split(';').map(str::to_owned).collect();
    on_paths(&mut texts);
    for exe in ["/bin/a", "/bin/b"] {
        let kinds = process::NAMESPACES.iter();
        texts.extend(kinds.map(|(kind, _)| format!("setns {kind} {exe}")));
        let limits = process::LIMITS.iter();
        texts.extend(limits.map(|(what, _)| format!("limits {what} {exe}")));
        let ways = process::TRACE.iter();
        texts.extend(ways.map(|(way, _)| format!("ptrace {way} {exe}")));
    }
    for (name, class) in kernel::IPC {
        let words = kernel::ipc_words(class).into_iter();
        texts.extend(words.map(|word| format!("ipc {name} {word}")));
    }
    let parts = kernel::SWITCHES.iter().chain(&kernel::URING);
    let parts = parts.filter(|(_, which)| *which != switch::USERNS);
    texts.extend(parts.map(|(_, which)| format!("kernel {}", kernel::part_text(*which))));
    let reasons = kernel::LOCKDOWN.iter();
    texts.extend(reasons.map(|(name, _)| format!("lockdown {name}")));
    let questions = texts.iter().map(|text| text.parse());
    questions
        .map(|found| found.unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

fn on_paths(texts: &mut Vec<String>) {
    for directory in ["/d0", "/d0/d1", "/d0/d1/e", "/d2/g h"] {
        for path in [
            directory.to_owned(),
            format!("{directory}/f0"),
            format!("{directory}/f1"),
        ] {
            let rights = Rights::NAMES.iter();
            let rights = rights.filter(|(right, _)| !["rename", "link", "ioctl"].contains(right));
            texts.extend(rights.map(|(right, _)| format!("{right} '{path}'")));
            texts.push(format!("ioctl FICLONE '{path}'"));
            texts.push(format!("ioctl 0x1234 '{path}'"));
        }
    }
}

/// Whether what was seen says that this is allowed.
pub(super) fn meant(seen: &[Question], asked: &Question) -> bool {
    match asked {
        Question::File { .. } | Question::Ioctl { .. } => on_path(seen, asked),
        Question::Device { .. } | Question::DeviceIoctl { .. } => on_device(seen, asked),
        Question::Ptrace { way, exe } => {
            let wanted = match *way {
                "read" => ptrace::READ,
                "attach" => ptrace::ATTACH,
                way => process::trace(way).unwrap_or(u32::MAX),
            };
            traced(seen, exe) & wanted == wanted
        }
        // A line for a directory holds for all below it.
        Question::Sysctl { write, name } => seen.iter().any(|one| {
            matches!(one, Question::Sysctl { write: known, name: above }
                if known == write && above.covers(name))
        }),
        Question::Capability { .. } => {
            seen.contains(asked) || seen.iter().any(|one| brings(one, asked))
        }
        Question::Kernel(switch::HOSTNAME) => {
            seen.contains(asked)
                || seen
                    .iter()
                    .any(|one| part_of(one) == Some(switch::HOSTNAME))
        }
        _ => seen.contains(asked),
    }
}

/// What was seen of tracing processes of an executable.
fn traced(seen: &[Question], exe: &HostPath) -> u32 {
    let ways = seen.iter().filter_map(|one| match one {
        Question::Ptrace { way, exe: known } if known == exe => process::trace(way),
        _ => None,
    });
    ways.fold(0, |all, bits| all | bits)
}

/// The part of the kernel whose line allows a capability.
fn part_of(question: &Question) -> Option<u32> {
    match question.to_string().as_str() {
        "capability SYS_ADMIN sethostname" | "capability SYS_ADMIN setdomainname" => {
            Some(switch::HOSTNAME)
        }
        _ => None,
    }
}

/// Whether the line for one brings the capability along.
fn brings(one: &Question, asked: &Question) -> bool {
    match one {
        Question::Kernel(which) => part_of(asked) == Some(*which),
        Question::Limits { .. } => asked.to_string() == "capability SYS_NICE setpriority",
        _ => part_of(one).is_some() && part_of(one) == part_of(asked),
    }
}

/// Rights and a command on an object.
type Held = (Rights, Option<IoctlCommand>);

fn holds(held: &[Held], wanted: Held) -> bool {
    let mut rights = Rights::NONE;
    for (more, command) in held {
        rights = rights | *more;
        if command.is_some() {
            // Without any right there is nothing that commands could be used on.
            rights = rights | Rights::READ;
        }
    }
    if rights.contains(Rights::WRITE) {
        rights = rights | Rights::TRUNCATE | Rights::APPEND;
    }
    match wanted.1 {
        Some(command) => held.iter().any(|(_, known)| *known == Some(command)),
        None => rights.contains(wanted.0),
    }
}

/// The path that decides, and what is wanted of it.
fn decided_at(question: &Question) -> Option<(HostPath, Held)> {
    match question {
        Question::File { rights, path } => {
            let makes = rights.minus(Rights::CREATE | Rights::MKNOD).is_empty();
            let path = if makes { path.parent()? } else { path.clone() };
            Some((path, (*rights, None)))
        }
        Question::Ioctl { command, path } => Some((path.clone(), (Rights::NONE, Some(*command)))),
        _ => None,
    }
}

/// The nearest path that was seen decides.
fn on_path(seen: &[Question], asked: &Question) -> bool {
    let Some((path, wanted)) = decided_at(asked) else {
        return false;
    };
    let seen: Vec<_> = seen.iter().filter_map(decided_at).collect();
    let mut above = std::iter::successors(Some(path), HostPath::parent);
    let nearest = above.find(|at| seen.iter().any(|(path, _)| path == at));
    let Some(nearest) = nearest else {
        return false;
    };
    let held = seen.iter().filter(|(path, _)| *path == nearest);
    let held: Vec<Held> = held.map(|(_, held)| *held).collect();
    holds(&held, wanted)
}

fn device(question: &Question) -> Option<((DeviceClass, DeviceNumber), Held)> {
    match question {
        Question::Device {
            class,
            number,
            rights,
        } => Some(((*class, *number), (*rights, None))),
        Question::DeviceIoctl {
            command,
            class,
            number,
        } => Some(((*class, *number), (Rights::NONE, Some(*command)))),
        _ => None,
    }
}

fn on_device(seen: &[Question], asked: &Question) -> bool {
    let Some((device_asked, wanted)) = device(asked) else {
        return false;
    };
    let seen = seen.iter().filter_map(device);
    let seen = seen.filter(|(known, _)| *known == device_asked);
    let mut held: Vec<Held> = seen.map(|(_, held)| held).collect();
    if device_asked.1.major == 1 {
        // Built in, and repeated by the line that is learned.
        held.push((Rights::READ | Rights::WRITE, None));
    }
    holds(&held, wanted)
}
