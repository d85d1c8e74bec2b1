//! Signals and tracing: the container's own tasks freely, others by what they execute.

use super::{Reason, Verdict};
use crate::abi::{InodeKey, NO_RULE, PolicyHeader, PolicyId, Subject, kernel, ptrace, state};
use crate::errno::EPERM;
use crate::lookup::Lookup;

/// `PTRACE_MODE_ATTACH` (`include/linux/ptrace.h`).
pub const PTRACE_MODE_ATTACH: u32 = 0x02;
/// `PTRACE_MODE_NOAUDIT`: a probe, never worth an event.
pub const PTRACE_MODE_NOAUDIT: u32 = 0x04;

/// The task that is acted upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its subject, if it belongs to a container.
    pub subject: Option<Subject>,
    /// Device of the super block that holds its executable; 0 for a kernel thread.
    pub exe_dev: u32,
    /// Inode number of its executable; 0 for a kernel thread.
    pub exe_ino: u64,
}

/// Sending `signal` (0 probes for existence).
#[inline(always)]
pub fn decide_signal<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    target: &Target,
    signal: u32,
) -> Verdict {
    match target.subject {
        Some(subject) if subject.policy == policy => return Verdict::allow(NO_RULE),
        // Another container: the fixed core.
        Some(_) => return Verdict::refuse(EPERM, Reason::Core, NO_RULE),
        None => {}
    }
    let key = InodeKey {
        policy,
        dev: target.exe_dev,
        ino: target.exe_ino,
    };
    match tables.process(key) {
        Some(found) if signal < 64 && found.signals >> signal & 1 == 1 => {
            Verdict::allow(found.rule)
        }
        Some(found) => Verdict::refuse(EPERM, Reason::NotInGrant, found.rule),
        None => Verdict::no_grant(EPERM),
    }
}

/// Everything that `PTRACE_MODE_*` guards. A task of the same container may be traced once its
/// policy is in force; before that it is the runtime's own code with all of the host's rights.
#[inline(always)]
pub fn decide_ptrace<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    target: &Target,
    mode: u32,
) -> Verdict {
    match target.subject {
        Some(subject) if subject.policy == policy && subject.state == state::ENFORCED => {
            return Verdict::allow(NO_RULE);
        }
        Some(_) => return Verdict::refuse(EPERM, Reason::Core, NO_RULE),
        None => {}
    }
    let want = if mode & PTRACE_MODE_ATTACH != 0 {
        ptrace::ATTACH
    } else {
        ptrace::READ
    };
    let key = InodeKey {
        policy,
        dev: target.exe_dev,
        ino: target.exe_ino,
    };
    match tables.process(key) {
        Some(found) if found.ptrace & want == want => Verdict::allow(found.rule),
        Some(found) => Verdict::refuse(EPERM, Reason::NotInGrant, found.rule),
        None => Verdict::no_grant(EPERM),
    }
}

/// Naming a process, or a process group as a negative number, that gets a file's signals
/// (`SIGIO`, or any by `F_SETSIG`): the kernel sends them later, from whatever task the input or
/// output happens in, so that the sender cannot be told then. Where the pid namespace is the
/// container's own every number is one of its processes; elsewhere only its own is.
#[inline(always)]
pub fn decide_signal_owner(header: &PolicyHeader, named: Option<i32>, own: i32) -> Verdict {
    let private = header.kernel & kernel::PRIVATE_PID != 0;
    let harmless = named.is_some_and(|number| number == 0 || number == own || number == -own);
    if private || harmless {
        Verdict::allow(NO_RULE)
    } else {
        Verdict::no_grant(EPERM)
    }
}

/// Changing limits, priority or placement of a process: the container's own only. A limit can end a
/// process (`RLIMIT_CPU`) or blind it (`RLIMIT_NOFILE`), so this is no less than a signal.
#[inline(always)]
pub fn decide_limits(policy: PolicyId, target: &Target) -> Verdict {
    match target.subject {
        Some(subject) if subject.policy == policy => Verdict::allow(NO_RULE),
        Some(_) => Verdict::refuse(EPERM, Reason::Core, NO_RULE),
        None => Verdict::no_grant(EPERM),
    }
}
