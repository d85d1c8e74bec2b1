//! "Would this be allowed, by which line, and which hooks decide it": answered by
//! `ebpf_common::decide` on the compiled tables, without a kernel.
//!
//! What is asked about is the host's: the container's own files, mounts and processes need no
//! grant.

mod answer;
mod kernel;
mod question;
mod reaching;
mod sockets;

use std::iter::Peekable;

pub use answer::{Answer, DecidedBy};
pub use question::{FORMS, Question, QuestionError};
pub use sockets::UnixPeer;

use ebpf_common::abi::{InodeKey, PolicyId, Section, file_flags, mount_scope, type_hash_of};
use ebpf_common::decide::Reason;
use ebpf_common::decide::capability::decide_capability;
use ebpf_common::decide::file::{Effective, decide_device, decide_node};
use ebpf_common::decide::ioctl::{decide_device_ioctl, decide_ioctl};
use ebpf_common::decide::kernel::{decide_bpf, decide_clock, decide_kernel_read};
use ebpf_common::decide::mount::{MountAction, MountRequest, Place, decide_action, decide_mount};
use ebpf_common::decide::process::{Target, decide_exec, decide_signal};
use ebpf_common::decide::rename::{Entry, decide_move, decide_rename};
use ebpf_common::decide::{FileObject, effective_rights};
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::{Chain, Step, Walked};
use ebpf_common::{Rights, Verdict, magic};

use crate::compile::Compiled;
use crate::facts::{Facts, Found, Inode, Object, ObjectKind, PathKey};
use crate::model::{HostPath, Policy};
use crate::suggest::Denied;
use crate::tables::Tables;

/// The tables are those of one policy; which number it has does not matter.
const ID: PolicyId = PolicyId(1);

/// A decision with what led to it.
struct Decided {
    section: Section,
    verdict: Verdict,
    hooks: &'static [Hook],
    denied: Option<Denied>,
    notes: Vec<String>,
}

impl Decided {
    fn new(section: Section, verdict: Verdict, hooks: &'static [Hook]) -> Self {
        let (denied, notes) = (None, Vec::new());
        Self {
            section,
            verdict,
            hooks,
            denied,
            notes,
        }
    }

    fn denied(mut self, denied: Denied) -> Self {
        self.denied = Some(denied);
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// Answers a question. `facts` are those that `compiled` was made with, and [`Question::paths`].
pub fn explain(policy: &Policy, compiled: &Compiled, facts: &Facts, asked: &Question) -> Answer {
    let decided = decide(compiled, facts, asked);
    answer::make(policy, compiled, asked, decided)
}

fn decide(compiled: &Compiled, facts: &Facts, asked: &Question) -> Decided {
    let tables = &compiled.tables;
    match asked {
        Question::File { rights, path } => file(compiled, facts, *rights, path),
        Question::Move { needed, from, to } => moving(compiled, facts, *needed, from, to),
        Question::Device {
            class,
            number,
            rights,
        } => device(
            compiled,
            class.number(),
            (number.major, number.minor),
            *rights,
        ),
        Question::Ioctl { command, path } => ioctl(compiled, facts, command.0, path),
        Question::DeviceIoctl {
            command,
            class,
            number,
        } => device_ioctl(
            compiled,
            command.0,
            class.number(),
            (number.major, number.minor),
        ),
        Question::Mount { fs_type, flags } => mounting(tables, fs_type, *flags),
        Question::Capability {
            capability,
            syscall,
        } => {
            let syscall = syscall.map(|call| call.number());
            let capability = capability.number();
            let verdict = decide_capability(tables, ID, capability, syscall, 0);
            Decided::new(Section::Capabilities, verdict, &[Hook::Capable]).denied(
                Denied::Capability {
                    capability,
                    syscall,
                },
            )
        }
        Question::Signal { signal, exe } => {
            let (target, note) = target(facts, exe);
            let verdict = decide_signal(tables, ID, &target, signal.number());
            let (exe, signal) = (exe.as_str().to_owned(), signal.number());
            let decided = Decided::new(Section::Processes, verdict, &[Hook::TaskKill]);
            with_note(decided.denied(Denied::Signal { exe, signal }), note)
        }
        Question::Ptrace { .. } | Question::Setns { .. } | Question::Limits { .. } => {
            reaching::decide(tables, facts, asked)
        }
        Question::OnMount { action, at } => on_mount(tables, facts, *action, at.as_ref()),
        Question::Bpf(command) => bpf(tables, command.number()),
        Question::LoadModule(name) => module(tables, facts, name.as_str()),
        Question::SetClock => {
            let verdict = decide_clock(&tables.header);
            let hooks = &[Hook::Capable, Hook::Settime];
            Decided::new(Section::Kernel, verdict, hooks).denied(Denied::Clock)
        }
        Question::Ipc { class, right } => kernel::ipc_object(tables, *class, *right),
        Question::Sysctl { write, name } => kernel::setting(tables, *write, name),
        Question::Kernel(which) => kernel::part(tables, *which),
        Question::Lockdown(reason) => kernel::lockdown(tables, *reason),
        Question::Socket(asked) => sockets::by_address(tables, asked),
        Question::Unix { right, peer } => sockets::unix(compiled, facts, *right, peer),
    }
}

fn bpf(tables: &Tables, command: u32) -> Decided {
    let verdict = decide_bpf(&tables.header, command);
    let hooks = &[Hook::Capable, Hook::Bpf];
    Decided::new(Section::Kernel, verdict, hooks).denied(Denied::Bpf { command })
}

fn with_note(decided: Decided, note: Option<String>) -> Decided {
    match note {
        Some(note) => decided.note(note),
        None => decided,
    }
}

/// What the container may do to an object of the host.
fn effective(tables: &Tables, path: &str, object: &Object) -> Effective {
    let seen = FileObject {
        dev: object.inode.dev,
        magic: object.magic,
        super_block: 0,
        super_flags: 0,
        of_process: object.magic == magic::PROC && of_process(path),
        passes_over: file_flags::BACKING,
    };
    let above = object.ancestors.iter();
    let above = above.take_while(|inode| inode.dev == object.inode.dev);
    let numbers = std::iter::once(object.inode.ino).chain(above.map(|inode| inode.ino));
    let mut chain = LookedUp {
        tables,
        dev: object.inode.dev,
        numbers: numbers.peekable(),
    };
    effective_rights(tables, ID, &seen, &mut chain)
}

/// A chain that was looked up together with what the rules name: an inode that has the number of
/// one is that one.
struct LookedUp<'a, I: Iterator<Item = u64>> {
    tables: &'a Tables,
    dev: u32,
    numbers: Peekable<I>,
}

impl<I: Iterator<Item = u64>> Chain for LookedUp<'_, I> {
    fn walk<V: FnMut(Step) -> bool>(&mut self, visit: &mut V) -> Walked {
        let (dev, files) = (self.dev, &self.tables.files);
        self.numbers.walk(&mut |step: Step| {
            let rule = files.get(&Inode { dev, ino: step.ino });
            let generation = rule.map_or(0, |rule| rule.generation);
            visit(Step { generation, ..step })
        })
    }
}

fn of_process(path: &str) -> bool {
    let first = path
        .strip_prefix("/proc/")
        .and_then(|rest| rest.split('/').next());
    first.is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The object at a path or, as it does not exist, at the nearest directory above it that does.
fn nearest<'a>(facts: &'a Facts, path: &HostPath) -> Option<(&'a Object, bool)> {
    let above = std::iter::successors(Some(path.clone()), HostPath::parent);
    above
        .enumerate()
        .find_map(|(steps, path)| Some((facts.object(path.as_str())?, steps == 0)))
}

fn unknown(section: Section, hooks: &'static [Hook], path: &HostPath) -> Decided {
    let verdict = Verdict::no_grant(ebpf_common::errno::EACCES);
    Decided::new(section, verdict, hooks).note(format!("`{path}` was not looked up"))
}

fn file(compiled: &Compiled, facts: &Facts, rights: Rights, path: &HostPath) -> Decided {
    let hooks = hooks_of(rights);
    let makes_entry = rights.minus(Rights::CREATE | Rights::MKNOD).is_empty();
    // A new entry is decided by the directory that will hold it.
    let decided_at = match makes_entry {
        true => path.parent().unwrap_or_else(|| path.clone()),
        false => path.clone(),
    };
    let Some((object, exists)) = nearest(facts, &decided_at) else {
        return unknown(Section::Files, hooks, path);
    };
    if let ObjectKind::Device {
        class,
        major,
        minor,
    } = object.kind
        && exists
        && rights.minus(Rights::READ | Rights::WRITE).is_empty()
    {
        let note = format!("`{path}` is a device node, decided by its number");
        return device(compiled, class, (major, minor), rights).note(note);
    }
    let found = effective(&compiled.tables, path.as_str(), object);
    let decided = Decided::new(Section::Files, found.decide(rights), hooks);
    if rights == Rights::EXECUTE && decided.verdict.allowed() {
        let Inode { dev, ino } = object.inode;
        let listed = decide_exec(&compiled.tables, ID, dev, ino);
        if !listed.allowed() {
            let path = path.as_str().to_owned();
            let decided = Decided::new(Section::Processes, listed, &[Hook::BprmCheck]);
            return decided.denied(Denied::Exec { path });
        }
    }
    // Making an entry is decided by its directory; a line cannot name what does not exist yet.
    let makes = rights.0 & (Rights::CREATE | Rights::MKNOD).0 != 0;
    let named = path.parent().filter(|_| makes);
    let decided = decided.denied(Denied::File {
        path: named.as_ref().unwrap_or(path).as_str().to_owned(),
        rights,
        held: found.rights,
    });
    if exists {
        decided
    } else {
        let note = format!(
            "`{decided_at}` does not exist: decided by `{}`",
            object.real
        );
        decided.note(note)
    }
}

fn moving(
    compiled: &Compiled,
    facts: &Facts,
    needed: Rights,
    from: &HostPath,
    to: &HostPath,
) -> Decided {
    let hooks: &[Hook] = match needed {
        Rights::LINK => &[Hook::PathLink],
        _ => &[Hook::PathRename],
    };
    let directory = to.parent().unwrap_or_else(|| to.clone());
    let (Some((old, _)), Some((new, _))) = (nearest(facts, from), nearest(facts, &directory))
    else {
        return unknown(Section::Files, hooks, from);
    };
    let tables = &compiled.tables;
    let moved = facts.object(from.as_str());
    let old = effective(tables, from.as_str(), old);
    let new = effective(tables, directory.as_str(), new);
    let verdict = match needed {
        Rights::LINK => decide_move(needed, old, new),
        _ => {
            let above = from.parent().unwrap_or_else(|| from.clone());
            let old_directory = nearest(facts, &above)
                .map_or(old, |(object, _)| effective(tables, above.as_str(), object));
            let replaced = facts.object(to.as_str());
            let entry = |object, directory, there: Option<&Object>| Entry {
                object,
                directory,
                mode: there.map_or(0, mode_of),
            };
            let at_new = replaced.map_or(new, |object| effective(tables, to.as_str(), object));
            let (old, new) = (
                entry(old, old_directory, moved),
                entry(at_new, new, replaced),
            );
            decide_rename(&old, &new, false).verdict
        }
    };
    let decided = Decided::new(Section::Files, verdict, hooks);
    if old.rights.contains(needed) {
        // What is missing is at the new place.
        return decided.denied(Denied::File {
            path: directory.as_str().to_owned(),
            rights: Rights::CREATE,
            held: new.rights,
        });
    }
    decided.denied(Denied::File {
        path: from.as_str().to_owned(),
        rights: needed,
        held: old.rights,
    })
}

/// The kind of an object as the kernel says it.
fn mode_of(object: &Object) -> u32 {
    match object.kind {
        ObjectKind::Directory => 0o040_000,
        _ => 0o100_000,
    }
}

fn hooks_of(rights: Rights) -> &'static [Hook] {
    match rights {
        Rights::READ => &[Hook::FileOpen, Hook::FileReceive],
        Rights::WRITE => &[
            Hook::FileOpen,
            Hook::FileReceive,
            Hook::MmapFile,
            Hook::FileMprotect,
            Hook::FileFcntl,
        ],
        Rights::APPEND => &[Hook::FileOpen, Hook::FileReceive],
        Rights::TIMES => &[Hook::InodeSetattr],
        Rights::FLAGS => &[Hook::FileIoctl, Hook::InodeFileSetattr],
        Rights::IOCTL => &[Hook::FileIoctl, Hook::FileIoctlCompat],
        Rights::CREATE => &[Hook::PathMknod, Hook::PathMkdir, Hook::PathSymlink],
        Rights::DELETE => &[Hook::PathUnlink, Hook::PathRmdir, Hook::PathRename],
        Rights::TRUNCATE => &[Hook::PathTruncate, Hook::FileTruncate],
        Rights::CHMOD => &[Hook::PathChmod],
        Rights::CHOWN => &[Hook::PathChown],
        Rights::EXECUTE => &[
            Hook::BprmCheck,
            Hook::FileOpen,
            Hook::MmapFile,
            Hook::FileMprotect,
        ],
        Rights::MKNOD => &[Hook::PathMknod],
        Rights::XATTR => &[
            Hook::InodeSetxattr,
            Hook::InodeRemovexattr,
            Hook::InodeSetAcl,
            Hook::InodeRemoveAcl,
        ],
        _ => &[],
    }
}

fn ioctl(compiled: &Compiled, facts: &Facts, command: u32, path: &HostPath) -> Decided {
    let hooks = &[Hook::FileIoctl, Hook::FileIoctlCompat];
    let Some((object, _)) = nearest(facts, path) else {
        return unknown(Section::Files, hooks, path);
    };
    if let ObjectKind::Device {
        class,
        major,
        minor,
    } = object.kind
    {
        return device_ioctl(compiled, command, class, (major, minor));
    }
    let found = effective(&compiled.tables, path.as_str(), object);
    let verdict = decide_ioctl(&compiled.tables, ID, found, command);
    Decided::new(Section::Files, verdict, hooks)
        .denied(Denied::Ioctl {
            path: path.as_str().to_owned(),
            command,
            held: found.rights,
        })
        .note("a descriptor must be open, which is decided first")
}

fn device_ioctl(compiled: &Compiled, command: u32, class: u32, number: (u32, u32)) -> Decided {
    let tables = &compiled.tables;
    let verdict = decide_device_ioctl(tables, ID, class, number, false, command);
    let (major, minor) = number;
    let hooks = &[Hook::FileIoctl, Hook::FileIoctlCompat];
    Decided::new(Section::Devices, verdict, hooks).denied(Denied::DeviceIoctl {
        class,
        major,
        minor,
        command,
        held: compiled.device_rights(class, number),
    })
}

fn device(compiled: &Compiled, class: u32, number: (u32, u32), rights: Rights) -> Decided {
    let tables = &compiled.tables;
    let makes = rights == Rights::MKNOD;
    let (verdict, hooks): (_, &'static [Hook]) = match makes {
        true => (decide_node(tables, ID, class, number), &[Hook::PathMknod]),
        false => {
            let hooks = &[Hook::FileOpen, Hook::FileReceive];
            (
                decide_device(tables, ID, class, number, false, rights),
                hooks,
            )
        }
    };
    let (major, minor) = number;
    let decided = Decided::new(Section::Devices, verdict, hooks).denied(Denied::Device {
        class,
        major,
        minor,
        rights,
        held: compiled.device_rights(class, number),
    });
    match makes {
        true => decided.note("its directory must give `mknod`, too"),
        false => decided,
    }
}

fn mounting(tables: &Tables, fs_type: &str, flags: u64) -> Decided {
    let hash = type_hash_of(fs_type);
    let of = |scope| {
        let mut keys = tables.mounts.keys();
        keys.find(move |key| key.scope == scope && key.fs_type == hash)
    };
    let named = of(mount_scope::TARGET);
    let request = MountRequest {
        fs_type: hash,
        flags,
        target: Place {
            dev: named.map_or(0, |key| key.dev),
            ino: named.map_or(0, |key| key.object),
            own: true,
        },
    };
    let verdict = decide_mount(tables, ID, &request);
    let hooks = &[
        Hook::Capable,
        Hook::SbMount,
        Hook::FsContextParseParam,
        Hook::SbKernMount,
        Hook::MoveMount,
    ];
    let (fs_type, device) = (fs_type.to_owned(), None);
    let decided = Decided::new(Section::Mounts, verdict, hooks);
    // Where the type has a line, that one has to be changed.
    let decided = match verdict.reason {
        Reason::NotInGrant => decided,
        _ => decided.denied(Denied::Mount { fs_type, device }),
    };
    let decided = decided.note(match named {
        Some(_) => "the mount point must be one of the line's `target`",
        None => "the mount point must be the container's own, and shared with nobody",
    });
    match of(mount_scope::DEVICE).or_else(|| of(mount_scope::SOURCE)) {
        Some(_) => decided.note("it must be mounted from the line's `source`"),
        None => decided,
    }
}

fn on_mount(tables: &Tables, facts: &Facts, action: MountAction, at: Option<&HostPath>) -> Decided {
    let object = at.and_then(|at| facts.object(at.as_str()));
    let inode = object.map(|object| object.inode).unwrap_or_default();
    let place = Place {
        dev: inode.dev,
        ino: inode.ino,
        own: at.is_none(),
    };
    let verdict = decide_action(tables, ID, action, place);
    let hooks: &[Hook] = match action {
        MountAction::Remount | MountAction::Propagation => &[Hook::Capable, Hook::SbMount],
        MountAction::Move => &[Hook::Capable, Hook::MoveMount],
        MountAction::Umount => &[Hook::Capable, Hook::SbUmount],
        _ => &[Hook::Capable],
    };
    let target = at.map(|at| at.as_str().to_owned());
    let decided = Decided::new(Section::Mounts, verdict, hooks);
    let decided = decided.denied(Denied::MountAction { action, target });
    match (at, object) {
        (Some(at), None) => decided.note(format!("`{at}` does not exist on this host")),
        _ => decided,
    }
}

fn target(facts: &Facts, exe: &HostPath) -> (Target, Option<String>) {
    let object = facts.object(exe.as_str());
    let inode = object.map(|object| object.inode).unwrap_or_default();
    let target = Target {
        subject: None,
        exe_dev: inode.dev,
        exe_ino: inode.ino,
    };
    let note = object
        .is_none()
        .then(|| format!("`{exe}` does not exist on this host"));
    (target, note)
}

fn module(tables: &Tables, facts: &Facts, name: &str) -> Decided {
    let hooks = &[Hook::Capable, Hook::KernelReadFile];
    let files = match facts.paths.get(&PathKey::Module(name.to_owned())) {
        Some(Found::Module(files)) => files.as_slice(),
        _ => &[],
    };
    // The module itself comes first; what it depends on is granted with it.
    let inode = files.first().map(|file| file.inode).unwrap_or_default();
    let key = InodeKey {
        policy: ID,
        dev: inode.dev,
        ino: inode.ino,
    };
    let verdict = decide_kernel_read(tables, key);
    let name = name.to_owned();
    Decided::new(Section::Kernel, verdict, hooks).denied(Denied::Module { name })
}

#[cfg(test)]
mod tests;
