//! The kernel itself: modules and other files it reads, `bpf(2)`, the clock.

use super::Verdict;
use crate::abi::{InodeKey, NO_RULE, PolicyHeader, kernel};
use crate::errno::EPERM;
use crate::lookup::Lookup;

/// A file that the kernel reads into itself (`finit_module`): only the files of granted modules.
#[inline(always)]
pub fn decide_kernel_read<L: Lookup>(tables: &L, key: InodeKey) -> Verdict {
    match tables.module(key) {
        Some(found) => Verdict::allow(found.rule),
        None => Verdict::no_grant(EPERM),
    }
}

/// Data handed to the kernel from memory (`init_module`, `kexec_load`): its origin cannot be told,
/// so never.
#[inline(always)]
pub fn decide_kernel_load() -> Verdict {
    Verdict::no_grant(EPERM)
}

/// A command of `bpf(2)`.
#[inline(always)]
pub fn decide_bpf(header: &PolicyHeader, command: u32) -> Verdict {
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
        Verdict::refuse(EPERM, super::Reason::NoGrant, NO_RULE)
    }
}
