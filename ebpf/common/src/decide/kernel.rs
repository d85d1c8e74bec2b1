//! The kernel itself: modules and other files it reads, `bpf(2)`, the clock.

use super::{Reason, Verdict};
use crate::abi::{
    GrantKey, InodeKey, NO_RULE, PolicyHeader, PolicyId, RightsRule, grant_kind, kernel, switch,
};
use crate::errno::{EACCES, EPERM};
use crate::lookup::Lookup;

/// A file that the kernel reads into itself (`finit_module`): only the files of granted modules.
#[inline(always)]
pub fn decide_kernel_read<L: Lookup>(tables: &L, key: InodeKey) -> Verdict {
    match tables.module(key) {
        Some(found) => Verdict::allow(found.rule),
        None => Verdict::no_grant(EPERM),
    }
}

/// Data handed to the kernel from memory: a module's origin cannot be told, so never; another
/// kernel where that is granted.
#[inline(always)]
pub fn decide_kernel_load<L: Lookup>(tables: &L, policy: PolicyId, syscall: u32) -> Verdict {
    match is_kexec(syscall) {
        true => decide_switch(tables, policy, switch::KEXEC),
        false => Verdict::no_grant(EPERM),
    }
}

/// Whether what the kernel reads in this system call is another kernel (`kexec_load`,
/// `kexec_file_load`): the call says so, the numbers of `kernel_read_file_id` are not the same on
/// all kernels.
#[inline(always)]
pub fn is_kexec(syscall: u32) -> bool {
    matches!(syscall, 246 | 320)
}

/// A part of the kernel that a line opens as a whole, or takes away.
#[inline(always)]
pub fn decide_switch<L: Lookup>(tables: &L, policy: PolicyId, which: u32) -> Verdict {
    let key = GrantKey {
        policy,
        kind: grant_kind::SWITCH,
        number: which as u64,
    };
    // What an unprivileged caller of `perf_event_open` gets.
    let errno = if which == switch::PERF { EACCES } else { EPERM };
    match tables.grant(key) {
        Some(RightsRule { rights, rule }) if rights.is_empty() => {
            Verdict::refuse(errno, Reason::NotInGrant, rule)
        }
        Some(found) => Verdict::allow(found.rule),
        None if which == switch::USERNS => Verdict::allow(NO_RULE),
        None => Verdict::no_grant(errno),
    }
}

/// Reasons of lockdown that are decided here (`enum lockdown_reason`), by number: `DEV_MEM` (2),
/// `HIBERNATION` (5) to `ACPI_TABLES` (9), `PCMCIA_CIS` (11) to `MMIOTRACE` (14). Their numbers are
/// the same since 5.19. What other reasons stand for has rules of its own: modules, kexec,
/// `bpf(2)`, perf, the files of debugfs and tracefs.
pub const LOCKDOWN_REASONS: u64 = 1 << 2 | 0b1_1111 << 5 | 0b1111 << 11;

/// A use that lockdown knows.
#[inline(always)]
pub fn decide_lockdown<L: Lookup>(tables: &L, policy: PolicyId, reason: u32) -> Verdict {
    if reason >= 64 || LOCKDOWN_REASONS >> reason & 1 == 0 {
        return Verdict::allow(NO_RULE);
    }
    let key = GrantKey {
        policy,
        kind: grant_kind::LOCKDOWN,
        number: reason as u64,
    };
    match tables.grant(key) {
        Some(found) => Verdict::allow(found.rule),
        None => Verdict::no_grant(EPERM),
    }
}

/// Commands of `bpf(2)` that reach objects which the caller did not make, Reeve's programs, links
/// and maps among them: `OBJ_GET`, `PROG_GET_FD_BY_ID`, `MAP_GET_FD_BY_ID`, `LINK_UPDATE`,
/// `LINK_GET_FD_BY_ID`, `LINK_DETACH` (`enum bpf_cmd`).
pub const BPF_CORE_COMMANDS: u64 = 1 << 7 | 1 << 13 | 1 << 14 | 1 << 29 | 1 << 30 | 1 << 34;

/// A command of `bpf(2)`.
#[inline(always)]
pub fn decide_bpf(header: &PolicyHeader, command: u32) -> Verdict {
    if command < 64 && BPF_CORE_COMMANDS >> command & 1 == 1 {
        return Verdict::refuse(EPERM, Reason::Core, NO_RULE);
    }
    if command < 64 && header.bpf_commands >> command & 1 == 1 {
        Verdict::allow(header.bpf_rule)
    } else {
        Verdict::no_grant(EPERM)
    }
}

/// Setting the system clock or time zone.
#[inline(always)]
pub fn decide_clock(header: &PolicyHeader) -> Verdict {
    if header.kernel & kernel::CLOCK != 0 {
        Verdict::allow(header.clock_rule)
    } else {
        Verdict::no_grant(EPERM)
    }
}
