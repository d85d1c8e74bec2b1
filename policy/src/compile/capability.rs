//! Capability rules: those of the policy, those that its grants bring along, and the built-in ones,
//! in that order of who is said to have decided.

use std::collections::BTreeMap;

use ebpf_common::abi::{CapabilityRule, NO_RULE, SYSCALLS, grant_kind, ipc_class};

use super::numbered::Numbered;
use super::rules::{BUILT_IN, CallSet, Cause, DERIVED};
use crate::model::{Calls, Policy, SocketGrant};
use crate::names::capability::Capability;
use crate::names::mount::BIND;
use crate::names::syscall::Syscall;

/// The first grant of each kind, by index.
#[derive(Clone, Copy, Default)]
pub(super) struct Firsts {
    pub(super) mounts: Option<u32>,
    pub(super) actions: Option<u32>,
    pub(super) setns: Option<u32>,
    pub(super) limits: Option<u32>,
    pub(super) modules: Option<u32>,
    pub(super) clock: Option<u32>,
    pub(super) bpf: Option<u32>,
    pub(super) sockets: Option<u32>,
}

pub(super) fn compile(
    policy: &Policy,
    first_rule: u32,
    firsts: Firsts,
    numbered: &Numbered,
) -> BTreeMap<u32, CapabilityRule> {
    let mut table = BTreeMap::new();
    for (rule, grant) in (first_rule..).zip(&policy.capabilities.0) {
        let row = row(&mut table, grant.capability.value, rule);
        match &grant.calls {
            Calls::All => row.all = 1,
            Calls::Only(calls) => calls.iter().for_each(|call| set(row, *call, true)),
        }
    }
    for (cause, name, calls) in DERIVED.iter().copied() {
        if let (Some(rule), Some(capability)) = (
            caused_by(policy, cause, firsts, numbered),
            Capability::from_name(name),
        ) {
            extend(row(&mut table, capability, rule), calls);
        }
    }
    for (name, calls) in BUILT_IN {
        if let Some(capability) = Capability::from_name(name) {
            extend(row(&mut table, capability, NO_RULE), calls);
        }
    }
    table
}

/// The index of the grant that causes a derived rule, if there is one.
fn caused_by(policy: &Policy, cause: Cause, firsts: Firsts, numbered: &Numbered) -> Option<u32> {
    let of = |kind, number: u32| numbered.get(&(kind, u64::from(number)));
    match cause {
        Cause::Mounts => firsts.mounts,
        Cause::BindMounts => {
            let bind = |kind: &str| kind == BIND;
            let at = policy
                .mounts
                .iter()
                .position(|grant| bind(grant.fs_type.value))?;
            firsts.mounts.map(|first| first + at as u32)
        }
        Cause::MountAction(action) => {
            let mut lines = policy.mount_actions.iter();
            let at = lines.position(|line| line.allow.contains(&action))?;
            firsts.actions.map(|first| first + at as u32)
        }
        Cause::Setns => firsts.setns,
        Cause::Limits => firsts.limits,
        Cause::Modules => firsts.modules,
        Cause::Clock => firsts.clock,
        Cause::Bpf => firsts.bpf,
        Cause::RawSockets => {
            let raw = |grant: &SocketGrant| grant.subject.needs_raw();
            let at = policy.sockets.iter().position(raw)?;
            firsts.sockets.map(|first| first + at as u32)
        }
        Cause::Switch(which) => of(grant_kind::SWITCH, which).map(|found| found.rule),
        Cause::Ipc => [ipc_class::SHM, ipc_class::SEM, ipc_class::MSG]
            .into_iter()
            .find_map(|class| of(grant_kind::IPC, class))
            .map(|found| found.rule),
    }
}

fn row(
    table: &mut BTreeMap<u32, CapabilityRule>,
    capability: Capability,
    rule: u32,
) -> &mut CapabilityRule {
    table.entry(capability.number()).or_insert(CapabilityRule {
        syscalls: [0; 8],
        all: 0,
        rule,
    })
}

fn extend(row: &mut CapabilityRule, calls: CallSet) {
    match calls {
        CallSet::All => row.all = 1,
        CallSet::Only(names) => {
            let calls = names.iter().filter_map(|name| Syscall::from_name(name));
            calls.for_each(|call| set(row, call, true));
        }
        CallSet::AllBut(names) => {
            // What the policy itself names stays.
            let named = |call: &Syscall| bit(row, call.number());
            let but = names.iter().filter_map(|name| Syscall::from_name(name));
            let but: Vec<Syscall> = but.filter(|call| !named(call)).collect();
            row.syscalls = [u64::MAX; 8];
            but.into_iter().for_each(|call| set(row, call, false));
        }
    }
}

fn bit(row: &CapabilityRule, number: u32) -> bool {
    let word = row.syscalls.get(number as usize / 64);
    number < SYSCALLS && word.is_some_and(|word| word >> (number % 64) & 1 == 1)
}

fn set(row: &mut CapabilityRule, call: Syscall, value: bool) {
    let number = call.number();
    if let Some(word) = row.syscalls.get_mut(number as usize / 64) {
        let bit = 1 << (number % 64);
        *word = if value { *word | bit } else { *word & !bit };
    }
}
