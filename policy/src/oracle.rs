//! The oracle: what a policy means, decided slowly and obviously from the model and a toy file
//! tree, without tables, identities or the decision function. Property tests hold it and
//! `ebpf_common::decide` together.

mod agree;
mod sockets;
mod tree;

use ebpf_common::rights::ipc;
use ebpf_common::{Rights, magic};

use crate::compile::rules::{BUILT_IN, CallSet, Cause, DERIVED};
use crate::model::{Calls, Policy};
use crate::names::capability::Capability;
use crate::names::syscall::Syscall;
use tree::{Mark, Tree};

/// The rights over a node: walk up by name to the nearest thing that says something.
fn file_rights(policy: &Policy, tree: &Tree, node: usize) -> Rights {
    let system = tree.system_of(node);
    if system.magic == magic::BPF_FS {
        return Rights::NONE;
    }
    if system.own {
        return match magic::shows_kernel(system.magic) {
            true => Rights::READ,
            false => Rights::ALL,
        };
    }
    for above in tree.upwards(node) {
        match tree.nodes[above].mark {
            Mark::Own => return Rights::ALL,
            Mark::Core => return Rights::NONE,
            Mark::None => {}
        }
        // What shows the kernel is opened only by a line that names a place in it; btrfs by none.
        let closed = magic::shows_kernel(system.magic) || system.magic == magic::BTRFS;
        let reaches = !closed || tree.mount_of(above) == tree.mount_of(node);
        let path = tree.path(above);
        let grant = policy
            .files
            .iter()
            .find(|grant| grant.path.value.as_str() == path);
        if let (true, Some(grant)) = (reaches, grant) {
            return grant.allow.compiled();
        }
    }
    Rights::NONE
}

/// Whether a capability may be used in a system call: a line says so, a grant brings it along, or
/// it is built in.
fn capability_allowed(policy: &Policy, capability: Capability, call: Option<Syscall>) -> bool {
    let mut lines = policy.capabilities.0.iter();
    let by_line = lines.any(|grant| {
        grant.capability.value == capability
            && match (&grant.calls, call) {
                (Calls::All, _) => true,
                (Calls::Only(calls), Some(call)) => calls.contains(&call),
                (Calls::Only(_), None) => false,
            }
    });
    let derived = DERIVED.iter().any(|(cause, name, calls)| {
        *name == capability.name() && causes(policy, *cause) && holds(*calls, call)
    });
    let built_in = BUILT_IN
        .iter()
        .any(|(name, calls)| *name == capability.name() && holds(*calls, call));
    by_line || derived || built_in
}

/// Whether a line of `ipc` lists the word for the class.
fn ipc_allowed(policy: &Policy, class: &str, word: &str) -> bool {
    let mut lines = policy.ipc.grants();
    lines.any(|(name, _, rights)| {
        name == class && ipc::names(rights.value).any(|listed| listed == word)
    })
}

/// Whether a setting is listed, itself or as below something listed, by the letters of its name.
fn setting_allowed(policy: &Policy, name: &str, write: bool) -> bool {
    if write && name == "kernel.ftrace_enabled" {
        return false;
    }
    let sysctl = &policy.kernel.sysctl;
    let listed = if write { &sysctl.write } else { &sysctl.read };
    listed.iter().any(|line| {
        let line = line.value.to_string();
        let top = line.trim_end_matches(".*");
        name == top || name.starts_with(&format!("{top}."))
    })
}

fn causes(policy: &Policy, cause: Cause) -> bool {
    let mounts = &policy.mounts;
    match cause {
        Cause::Mounts => !mounts.is_empty(),
        Cause::BindMounts => mounts.iter().any(|grant| grant.fs_type.value == "bind"),
        Cause::MountAction(action) => {
            let mut lines = policy.mount_actions.iter();
            lines.any(|line| line.allow.contains(&action))
        }
        Cause::Setns => !policy.processes.setns.is_empty(),
        Cause::Limits => !policy.processes.limits.is_empty(),
        Cause::Modules => !policy.kernel.modules.is_empty(),
        Cause::Clock => policy.kernel.clock.is_some(),
        Cause::Bpf => policy.kernel.bpf.is_some(),
        Cause::Switch(which) => policy.kernel.switches().any(|(_, one, _)| one == which),
        Cause::Ipc => policy
            .ipc
            .shm
            .or(policy.ipc.sem)
            .or(policy.ipc.msg)
            .is_some(),
        Cause::RawSockets => policy.sockets.iter().any(|line| line.subject.needs_raw()),
    }
}

fn holds(calls: CallSet, call: Option<Syscall>) -> bool {
    match (calls, call) {
        (CallSet::All, _) => true,
        (CallSet::AllBut(names), Some(call)) => !names.contains(&call.name()),
        (CallSet::Only(names), Some(call)) => names.contains(&call.name()),
        (_, None) => false,
    }
}
