//! Answers about IPC, kernel settings and parts of the kernel.

use ebpf_common::abi::{Section, ipc_class, switch};
use ebpf_common::decide::capability::decide_capability;
use ebpf_common::decide::ipc::decide_ipc;
use ebpf_common::decide::kernel::{decide_lockdown, decide_switch};
use ebpf_common::decide::sysctl::{PARTS, SysctlPath, decide_sysctl};
use ebpf_common::hooks::Hook;
use ebpf_common::{Rights, Verdict};

use super::{Decided, ID};
use crate::compile::rules::{CallSet, Cause, DERIVED};
use crate::model::SysctlName;
use crate::names::capability::Capability;
use crate::names::syscall::Syscall;
use crate::suggest::Denied;
use crate::tables::Tables;

pub(super) fn ipc_object(tables: &Tables, class: u32, rights: Rights) -> Decided {
    let hooks: &[Hook] = match class {
        ipc_class::SHM => &[
            Hook::ShmAlloc,
            Hook::ShmAssociate,
            Hook::ShmCtl,
            Hook::ShmAttach,
        ],
        ipc_class::SEM => &[
            Hook::SemAlloc,
            Hook::SemAssociate,
            Hook::SemCtl,
            Hook::SemOp,
        ],
        ipc_class::MSG => &[
            Hook::MsgAlloc,
            Hook::MsgAssociate,
            Hook::MsgCtl,
            Hook::MsgSend,
            Hook::IpcPermission,
        ],
        ipc_class::MQUEUE => &[Hook::FileOpen, Hook::InodeCreate, Hook::InodeUnlink],
        _ => &[Hook::KeyPermission],
    };
    let verdict = decide_ipc(tables, ID, class, false, rights);
    let note = match class {
        ipc_class::KEYS => "keys that the container makes are its own",
        ipc_class::MQUEUE => "in an IPC namespace of its own a container needs no line",
        _ => {
            "what the container makes is its own; in an IPC namespace of its own it needs no \
             line"
        }
    };
    Decided::new(Section::Ipc, verdict, hooks)
        .denied(Denied::Ipc { class, rights })
        .note(note)
}

pub(super) fn setting(tables: &Tables, write: bool, name: &SysctlName) -> Decided {
    let mut path = SysctlPath {
        parts: [0; PARTS],
        length: 0,
    };
    for (to, part) in path.parts.iter_mut().zip(name.upwards()) {
        *to = part;
        path.length += 1;
    }
    let rights = match write {
        true => Rights::WRITE,
        false => Rights::READ,
    };
    let verdict = decide_sysctl(tables, ID, &path, Rights::NONE, rights);
    let hooks = &[Hook::FileOpen, Hook::PathTruncate, Hook::FileTruncate];
    let name = name.to_string();
    Decided::new(Section::Kernel, verdict, hooks)
        .denied(Denied::Sysctl { name, rights })
        .note("a procfs of its own the container may read")
}

pub(super) fn part(tables: &Tables, which: u32) -> Decided {
    let hooks: &[Hook] = match which {
        switch::SYSLOG => &[Hook::Capable, Hook::Syslog],
        switch::PERF => &[Hook::Capable, Hook::PerfEventOpen],
        switch::KEXEC => &[Hook::Capable, Hook::KernelLoadData, Hook::KernelReadFile],
        switch::URING_SQPOLL => &[Hook::UringSqpoll],
        switch::URING_PERSONALITY => &[Hook::UringOverrideCreds],
        switch::URING_COMMAND => &[Hook::UringCmd],
        switch::QUOTA => &[Hook::Capable, Hook::Quotactl],
        switch::USERNS => &[Hook::UsernsCreate],
        _ => &[Hook::Capable],
    };
    let verdict = match hooks {
        // Where no other hook asks, the capability in the system call is all there is.
        [Hook::Capable] => by_capability(tables, which),
        _ => decide_switch(tables, ID, which),
    };
    Decided::new(Section::Kernel, verdict, hooks).denied(Denied::Switch { which })
}

/// The first of the pairs that the part's line brings along.
fn by_capability(tables: &Tables, which: u32) -> Verdict {
    let pair = DERIVED
        .iter()
        .find_map(|(cause, name, calls)| match (cause, calls) {
            (Cause::Switch(known), CallSet::Only([first, ..])) if *known == which => {
                Some((Capability::from_name(name)?, Syscall::from_name(first)?))
            }
            _ => None,
        });
    match pair {
        Some((capability, call)) => {
            decide_capability(tables, ID, capability.number(), Some(call.number()), 0)
        }
        None => decide_switch(tables, ID, which),
    }
}

pub(super) fn lockdown(tables: &Tables, reason: u32) -> Decided {
    let verdict = decide_lockdown(tables, ID, reason);
    let hooks = &[Hook::LockedDown];
    Decided::new(Section::Kernel, verdict, hooks).denied(Denied::Lockdown { reason })
}
