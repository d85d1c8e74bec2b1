//! Signals, tracing, limits, namespaces and execution: the container's own tasks freely, others by
//! what they execute.

use super::{Reason, Verdict};
use crate::abi::{InodeKey, NO_RULE, PolicyHeader, PolicyId, Subject, kernel, ptrace, state};
use crate::errno::{EACCES, EPERM};
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

/// System calls that are told apart at the one hook for tracing (x86-64).
mod call {
    pub(super) const SETNS: u32 = 308;
    pub(super) const PROCESS_VM_READV: u32 = 310;
    pub(super) const PROCESS_VM_WRITEV: u32 = 311;
    pub(super) const KCMP: u32 = 312;
    pub(super) const PIDFD_GETFD: u32 = 438;
}

/// The right over a process that a system call wants, by its number and the kernel's mode; `None`
/// is a call that is not known, which is then any.
#[inline(always)]
pub fn wanted_of_trace(mode: u32, syscall: Option<u32>) -> u32 {
    match syscall {
        Some(call::PROCESS_VM_READV) => ptrace::READ_MEMORY,
        Some(call::PROCESS_VM_WRITEV) => ptrace::WRITE_MEMORY,
        Some(call::PIDFD_GETFD) => ptrace::TAKE_DESCRIPTORS,
        Some(call::KCMP) => ptrace::COMPARE,
        _ if mode & PTRACE_MODE_ATTACH != 0 => ptrace::ATTACH,
        _ => ptrace::READ,
    }
}

/// The namespaces that `setns(2)` by pidfd is about, or `None` for another call.
#[inline(always)]
pub fn namespaces_of_trace(syscall: Option<u32>, types: u32) -> Option<u32> {
    match syscall {
        Some(call::SETNS) => Some(types),
        _ => None,
    }
}

/// Everything that `PTRACE_MODE_*` guards. A task of the same container may be traced once its
/// policy is in force; before that it is the runtime's own code with all of the host's rights.
///
/// `types` are the namespaces to be entered where the call is `setns(2)`: with a line on that in
/// the policy it decides, without one looking into the process is what is wanted.
#[inline(always)]
pub fn decide_ptrace<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    target: &Target,
    want: u32,
    types: Option<u32>,
) -> Verdict {
    match target.subject {
        Some(subject) if subject.policy == policy && subject.state == state::ENFORCED => {
            return Verdict::allow(NO_RULE);
        }
        Some(_) => return Verdict::refuse(EPERM, Reason::Core, NO_RULE),
        None => {}
    }
    let by_type = tables
        .policy(policy)
        .is_some_and(|header| header.namespaces != 0);
    let key = InodeKey {
        policy,
        dev: target.exe_dev,
        ino: target.exe_ino,
    };
    let Some(found) = tables.process(key) else {
        return Verdict::no_grant(EPERM);
    };
    let held = match types {
        Some(types) if by_type => types != 0 && found.namespaces & types == types,
        _ => found.ptrace & want == want,
    };
    if held {
        Verdict::allow(found.rule)
    } else {
        Verdict::refuse(EPERM, Reason::NotInGrant, found.rule)
    }
}

/// `setns(2)` under a policy that has lines on it: the caller says which types it means, and lines
/// give them all. Whose they are was decided where the process was named.
#[inline(always)]
pub fn decide_namespaces(header: &PolicyHeader, types: u32) -> Verdict {
    if types != 0 && header.namespaces & types == types {
        Verdict::allow(header.namespaces_rule)
    } else {
        Verdict::refuse(EPERM, Reason::NotInGrant, header.namespaces_rule)
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

/// Changing limits, priority or placement of a process: the container's own, and of the host what a
/// rule names. A limit can end a process (`RLIMIT_CPU`) or blind it (`RLIMIT_NOFILE`), so this is
/// no less than a signal. `want` is a bit of [`crate::abi::limits`].
#[inline(always)]
pub fn decide_limits<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    target: &Target,
    want: u32,
) -> Verdict {
    match target.subject {
        Some(subject) if subject.policy == policy => return Verdict::allow(NO_RULE),
        Some(_) => return Verdict::refuse(EPERM, Reason::Core, NO_RULE),
        None => {}
    }
    let key = InodeKey {
        policy,
        dev: target.exe_dev,
        ino: target.exe_ino,
    };
    match tables.process(key) {
        Some(found) if found.limits & want == want => Verdict::allow(found.rule),
        Some(found) => Verdict::refuse(EPERM, Reason::NotInGrant, found.rule),
        None => Verdict::no_grant(EPERM),
    }
}

/// Executing a file, which the rules of files have let through, by its identity: with an `exec`
/// line only what it names.
#[inline(always)]
pub fn decide_exec<L: Lookup>(tables: &L, policy: PolicyId, dev: u32, ino: u64) -> Verdict {
    let Some(header) = tables.policy(policy) else {
        return Verdict::refuse(EACCES, Reason::NoPolicy, NO_RULE);
    };
    if header.kernel & kernel::EXEC_LISTED == 0 {
        return Verdict::allow(NO_RULE);
    }
    match tables.process(InodeKey { policy, dev, ino }) {
        Some(found) if found.exec == 1 => Verdict::allow(header.exec_rule),
        _ => Verdict::refuse(EACCES, Reason::NotInGrant, header.exec_rule),
    }
}

/// Having a character device signal on input and output (`O_ASYNC`), or with which signal
/// (`F_SETSIG`): a terminal signals its foreground process group, whose-ever that is, so that only
/// the container's own terminals may be told to.
#[inline(always)]
pub fn decide_async(device: bool, own_terminal: bool) -> Verdict {
    if !device || own_terminal {
        Verdict::allow(NO_RULE)
    } else {
        Verdict::no_grant(EPERM)
    }
}
