//! Refusals: recorded for `reeve audit`, then returned, unless the section is in audit mode.

use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use aya_ebpf::programs::LsmContext;
use aya_log_ebpf::debug;
use ebpf_common::abi::{PolicyId, Section};
use ebpf_common::errno::{EACCES, EPERM, EXDEV};
use ebpf_common::event::{Action, COMPONENT_BYTES, COMPONENTS, Event};
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::Lookup;
use ebpf_common::{Rights, Verdict};

use crate::count;
use crate::field::probe;
use crate::maps::EVENTS;
use crate::tables::Tables;

/// Set by the loader where debug logging was asked for; otherwise the verifier removes the branch.
#[unsafe(no_mangle)]
static DEBUG: u32 = 0;

/// What was refused.
pub(crate) struct Refusal {
    pub(crate) hook: Hook,
    pub(crate) action: Action,
    pub(crate) section: Section,
    pub(crate) rights: Rights,
    /// The entry whose path is reported, or 0.
    pub(crate) dentry: u64,
    /// Address of a name that is reported instead, or 0.
    pub(crate) name: u64,
    pub(crate) dev: u32,
    pub(crate) ino: u64,
    pub(crate) magic: u32,
    pub(crate) detail: u64,
    pub(crate) target_pid: u32,
    /// A probe: decided like anything else, but not worth an event.
    pub(crate) silent: bool,
}

impl Refusal {
    /// A refusal that names no object yet.
    #[inline(always)]
    pub(crate) const fn of(hook: Hook, action: Action, section: Section) -> Self {
        Self {
            hook,
            action,
            section,
            rights: Rights::NONE,
            dentry: 0,
            name: 0,
            dev: 0,
            ino: 0,
            magic: 0,
            detail: 0,
            target_pid: 0,
            silent: false,
        }
    }
}

/// The return value of the hook for a verdict that is not an allowance.
#[inline(always)]
pub(crate) fn refuse(
    ctx: &LsmContext,
    policy: PolicyId,
    verdict: Verdict,
    refusal: &Refusal,
) -> i32 {
    let enforced = match Tables.policy(policy) {
        Some(header) => verdict.enforced(&header, refusal.section),
        None => true,
    };
    // The runtime's own trial is no event.
    if !refusal.silent && policy != PolicyId::NOBODY {
        record(policy, verdict, refusal, enforced);
    }
    // SAFETY: a plain static; volatile, because the loader writes another value.
    if unsafe { core::ptr::read_volatile(&raw const DEBUG) } != 0 {
        debug!(
            ctx,
            "hook {} policy {} errno {} rule {}",
            refusal.hook as u32,
            policy.0,
            verdict.errno,
            verdict.rule
        );
    }
    if enforced { negative(verdict.errno) } else { 0 }
}

/// The errno as hooks return it. From 6.12 the verifier wants to see that the value is in range,
/// and does not follow a negation.
#[inline(always)]
fn negative(errno: i32) -> i32 {
    match errno {
        EPERM => -EPERM,
        EXDEV => -EXDEV,
        _ => -EACCES,
    }
}

#[inline(always)]
fn record(policy: PolicyId, verdict: Verdict, refusal: &Refusal, enforced: bool) {
    // SAFETY: the helper has no precondition.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    if !count::admit_event(policy, now_ns) {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count::event_lost(policy);
        return;
    };
    let event = entry.as_mut_ptr();
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY (each): `event` points into the reserved entry, which has the size of `Event`.
    unsafe {
        (*event).time_ns = now_ns;
        (*event).policy = policy.0;
        (*event).pid = (pid_tgid >> 32) as u32;
        (*event).tid = pid_tgid as u32;
        (*event).uid = bpf_get_current_uid_gid() as u32;
        (*event).hook = refusal.hook as u32;
        (*event).action = refusal.action as u32;
        (*event).rights = refusal.rights.0;
        (*event).errno = verdict.errno;
        (*event).enforced = enforced as u32;
        (*event).reason = verdict.reason as u32;
        (*event).rule = verdict.rule;
        (*event).dev = refusal.dev;
        (*event).ino = refusal.ino;
        (*event).detail = refusal.detail;
        (*event).target_pid = refusal.target_pid;
        (*event).magic = refusal.magic;
        (*event).reserved = 0;
        (*event).comm = bpf_get_current_comm().unwrap_or_default();
        (*event).depth = match refusal.name {
            0 => components(&mut (*event).components, refusal.dentry),
            name => single(&mut (*event).components, name),
        };
    }
    entry.submit(0);
    count::event_recorded(policy);
}

/// Copies one name.
#[inline(always)]
fn single(names: &mut [[u8; COMPONENT_BYTES]; COMPONENTS], name: u64) -> u32 {
    let (to, from) = (names[0].as_mut_ptr(), name as *const u8);
    // SAFETY: `to` has room for the length given; the helper reads any address.
    unsafe { bpf_probe_read_kernel_str(to.cast(), COMPONENT_BYTES as u32, from.cast()) };
    1
}

/// Copies the names from `dentry` upwards; answers how many, one more than fit for a longer path.
#[inline(always)]
fn components(names: &mut [[u8; COMPONENT_BYTES]; COMPONENTS], dentry: u64) -> u32 {
    let mut at = dentry;
    let mut depth = 0;
    if at == 0 {
        return 0;
    }
    while depth < COMPONENTS {
        let parent: u64 = probe(at, Field::DentryParent).unwrap_or(0);
        if parent == at || parent == 0 {
            return depth as u32;
        }
        let name: u64 = probe(at, Field::DentryName).unwrap_or(0);
        let (to, from) = (names[depth].as_mut_ptr(), name as *const u8);
        // SAFETY: `to` has room for the length given; the helper reads any address, and leaves
        // zeroes at a fault, which needs no branch that the verifier would have to follow.
        unsafe { bpf_probe_read_kernel_str(to.cast(), COMPONENT_BYTES as u32, from.cast()) };
        at = parent;
        depth += 1;
    }
    COMPONENTS as u32 + 1
}
