//! Capabilities: the container's own over its user namespaces, the host's over the initial one.

use super::{Reason, Verdict};
use crate::abi::{CapabilityKey, NO_RULE, PolicyHeader, PolicyId, kernel};
use crate::errno::EPERM;
use crate::lookup::Lookup;

/// `CAP_CHOWN`, `DAC_OVERRIDE`, `DAC_READ_SEARCH`, `FOWNER`, `FSETID`, `SYS_ADMIN`, `SYS_RESOURCE`,
/// `MKNOD`, `SETFCAP`: what overlayfs uses to keep its layers (`fs/overlayfs`: copy-up, `trusted.*`
/// attributes).
const OF_OVERLAYS: u64 = 0b1_1111 | 1 << 21 | 1 << 24 | 1 << 27 | 1 << 31;

/// `setns`.
const SETNS: u32 = 308;

/// The level as which a use of a capability counts. Over a user namespace below its own a task has
/// every capability, so that one of the initial namespace could enter those of other containers:
/// entering is a use over the host, and so is a call that cannot be told.
#[inline(always)]
pub fn counted_level(level: u32, acting_level: u32, syscall: Option<u32>) -> u32 {
    match syscall {
        None | Some(SETNS) if acting_level == 0 => 0,
        _ => level,
    }
}

/// `io_uring_enter`: the one system call in which a task may borrow credentials of its choice.
const IO_URING_ENTER: u32 = 426;

/// Whether a use of a capability is the kernel's own, behind a file of the overlay that is the
/// container's root: with borrowed credentials, in a system call in which the container cannot have
/// borrowed them itself.
#[inline(always)]
pub fn is_of_overlay(
    header: &PolicyHeader,
    capability: u32,
    syscall: Option<u32>,
    borrowed: bool,
) -> bool {
    borrowed
        && header.kernel & kernel::OVERLAY_ROOT != 0
        && capability < 64
        && OF_OVERLAYS >> capability & 1 == 1
        && syscall.is_some_and(|number| number != IO_URING_ENTER)
}

/// Whether `capability` may be used over a user namespace of nesting `level` (0 is the initial one)
/// in native system call `syscall`; `None` where the number is not known (kernel workers,
/// compatibility calls, whose numbers mean others).
#[inline(always)]
pub fn decide_capability<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    capability: u32,
    syscall: Option<u32>,
    level: u32,
) -> Verdict {
    if level > 0 {
        return Verdict::allow(NO_RULE);
    }
    match tables.capability(CapabilityKey { policy, capability }, syscall) {
        Some(found) if found.allowed => Verdict::allow(found.rule),
        Some(found) => Verdict::refuse(EPERM, Reason::NotInGrant, found.rule),
        None => Verdict::no_grant(EPERM),
    }
}
