//! What an open descriptor may be asked by `ioctl(2)` beyond reading and writing.

use super::Verdict;
use super::file::{Effective, decide_device};
use crate::abi::{IoctlKey, PolicyId, file_flags};
use crate::errno::EPERM;
use crate::ioctl::{is_free, sets_flags};
use crate::lookup::Lookup;
use crate::rights::Rights;

/// Whether the line `rule` names the command.
#[inline(always)]
fn named<L: Lookup>(tables: &L, policy: PolicyId, rule: u32, command: u32) -> bool {
    tables.ioctl(IoctlKey {
        policy,
        rule,
        command,
    })
}

/// A command on a file or directory.
#[inline(always)]
pub fn decide_ioctl<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    effective: Effective,
    command: u32,
) -> Verdict {
    match is_free(command) {
        true => Verdict::allow(effective.rule),
        false => decide_governed(tables, policy, effective, command),
    }
}

/// [`decide_ioctl`] of a command that is not free.
#[inline(always)]
pub fn decide_governed<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    effective: Effective,
    command: u32,
) -> Verdict {
    let want = match sets_flags(command) {
        true => Rights::FLAGS,
        false => Rights::IOCTL,
    };
    let by_name = effective.flags & file_flags::IOCTLS != 0
        && want.0 == Rights::IOCTL.0
        && named(tables, policy, effective.rule, command);
    if by_name {
        return Verdict::allow(effective.rule);
    }
    effective.decide(want)
}

/// A command on a device node that is open.
#[inline(always)]
pub fn decide_device_ioctl<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    class: u32,
    number: (u32, u32),
    own_pts: bool,
    command: u32,
) -> Verdict {
    let held = decide_device(tables, policy, class, number, own_pts, Rights::IOCTL);
    match is_free(command) {
        true => Verdict::allow(held.rule),
        false => decide_governed_of_device(tables, policy, held, command),
    }
}

/// [`decide_device_ioctl`] of a command that is not free, where `held` is what the node's line says
/// of commands in general.
#[inline(always)]
pub fn decide_governed_of_device<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    held: Verdict,
    command: u32,
) -> Verdict {
    if held.allowed() || named(tables, policy, held.rule, command) {
        return Verdict::allow(held.rule);
    }
    Verdict::refuse(EPERM, held.reason, held.rule)
}
