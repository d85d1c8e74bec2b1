//! Capabilities: the container's own over its user namespaces, the host's over the initial one.

use super::{Reason, Verdict};
use crate::abi::{CapabilityKey, NO_RULE, PolicyId};
use crate::errno::EPERM;
use crate::lookup::Lookup;

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
