//! The kernel itself: modules and other files it reads, `bpf(2)`, the clock.

use super::{Reason, Verdict};
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
