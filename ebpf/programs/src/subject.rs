//! Who is asking: the subject of the current task, and how it is handed on.
//!
//! A label names the container. Which generation of its policy is in force is looked up once for
//! each decision, in `of_current`, so that a decision never sees a mix of two.

use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_task_btf, bpf_task_storage_get,
};
use aya_ebpf::macros::{btf_tracepoint, lsm};
use aya_ebpf::programs::{BtfTracePointContext, LsmContext};
use ebpf_common::Verdict;
use ebpf_common::abi::{NO_RULE, PolicyId, Section, Subject, state};
use ebpf_common::decide::Reason;
use ebpf_common::errno::EACCES;
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;

use crate::count;
use crate::field::load;
use crate::maps::{CGROUPS, IN_FORCE, STATE, SUBJECTS};
use crate::report::{Refusal, refuse};

/// `BPF_LOCAL_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;
/// Depths of the cgroup hierarchy at which a container's cgroup may lie.
pub(crate) const CGROUP_LEVELS: u32 = 16;
/// In `task_struct.flags` from a fork to the first exec (`include/linux/sched.h`).
const PF_FORKNOEXEC: u32 = 0x40;
/// Refusal of a clone whose child could not be labelled.
const EAGAIN: i32 = 11;

/// The subject stored with `task`.
///
/// # Safety
/// `task` is a `task_struct` pointer that the verifier trusts.
#[inline(always)]
pub(crate) unsafe fn of_task(task: *const u8) -> Option<*mut Subject> {
    // SAFETY: as above; without the create flag the helper only looks up.
    let found = unsafe {
        bpf_task_storage_get(
            SUBJECTS.as_ptr(),
            task.cast_mut().cast(),
            core::ptr::null_mut(),
            0,
        )
    };
    (!found.is_null()).then_some(found.cast())
}

/// The current task, trusted.
#[inline(always)]
pub(crate) fn current() -> *const u8 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_get_current_task_btf() as *const u8 }
}

/// The subject of the current task: its own label, or that of the container whose cgroup it is
/// found in; with the policy that is in force now.
#[inline(always)]
pub(crate) fn of_current() -> Option<Subject> {
    let known = known_of_current()?;
    // SAFETY: values are replaced whole, never torn: they are four bytes.
    let policy = unsafe { IN_FORCE.get(&known.policy) }
        .copied()
        .unwrap_or(known.policy);
    Some(Subject { policy, ..known })
}

/// The same with the container's number.
#[inline(always)]
fn known_of_current() -> Option<Subject> {
    // SAFETY: `current` is trusted.
    if let Some(stored) = unsafe { of_task(current()) } {
        // SAFETY: the helper returned a live value of this type.
        let mut subject = unsafe { *stored };
        // Its look-up at the exec may have failed, as below.
        if subject.state == state::PENDING && has_executed() {
            subject.state = state::ENFORCED;
        }
        return Some(subject);
    }
    by_cgroup().map(|policy| Subject {
        policy,
        state: state::ENFORCED,
    })
}

/// Whether the current task executes another program than at its birth: none of the runtime's code
/// any more.
#[inline(always)]
fn has_executed() -> bool {
    // SAFETY: `current` is trusted; the field is 32 bits.
    let flags: u32 = unsafe { load(current(), Field::TaskFlags) };
    flags & PF_FORKNOEXEC == 0
}

/// The second witness. Task-storage look-ups can fail spuriously before 6.2, and a task may have
/// been put into a container's cgroup from outside; neither may run free.
#[inline(always)]
fn by_cgroup() -> Option<PolicyId> {
    let levels = STATE.get(0)?.cgroup_levels;
    if levels == 0 {
        return None;
    }
    let mut level = 1;
    while level < CGROUP_LEVELS {
        if levels >> level & 1 == 1 {
            // SAFETY: the helper has no precondition; a level below the task's own cgroup gives 0.
            let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
            // SAFETY: values are replaced whole, never torn: they are four bytes.
            if id != 0
                && let Some(policy) = unsafe { CGROUPS.get(id) }
            {
                return Some(*policy);
            }
        }
        level += 1;
    }
    None
}

/// The policy of the current task, if it is in force.
#[inline(always)]
pub(crate) fn enforced() -> Option<PolicyId> {
    match of_current() {
        Some(subject) if !state::is_runtime(subject.state) => Some(subject.policy),
        _ => None,
    }
}

/// How every deciding hook begins: an earlier refusal stands, and a task without a policy in force
/// goes its way. `$previous` is the argument that holds what the hook has answered so far.
macro_rules! when_enforced {
    ($ctx:expr, $previous:literal) => {{
        let previous: i32 = $ctx.arg($previous);
        if previous != 0 {
            return previous;
        }
        match $crate::subject::enforced() {
            Some(policy) => policy,
            None => return 0,
        }
    }};
}
pub(crate) use when_enforced;

/// `CLONE_INTO_CGROUP`.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// A child belongs to its parent's container, or is not made. It is never pending: only the entry
/// process itself is. And it is not born into another cgroup, where neither the container's limits
/// nor its end would find it.
#[lsm(hook = "task_alloc")]
pub fn task_alloc(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(2);
    if previous != 0 {
        return previous;
    }
    let Some(subject) = known_of_current() else {
        return 0;
    };
    if ctx.arg::<u64>(1) & CLONE_INTO_CGROUP != 0 {
        let verdict = Verdict::refuse(EACCES, Reason::Core, NO_RULE);
        let refusal = Refusal::of(Hook::TaskAlloc, Action::Birth, Section::Processes);
        return refuse(&ctx, subject.policy, verdict, &refusal);
    }
    let mut inherited = Subject {
        state: state::ENFORCED,
        ..subject
    };
    let child: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted, and the value pointer is of the map's value type.
    let stored = unsafe {
        bpf_task_storage_get(
            SUBJECTS.as_ptr(),
            child.cast_mut().cast(),
            core::ptr::from_mut(&mut inherited).cast(),
            CREATE,
        )
    };
    if stored.is_null() {
        return -EAGAIN;
    }
    count::task_came(subject.policy);
    0
}

/// The first successful exec ends the set-up: from here on the policy is in force.
#[lsm(hook = "bprm_committing_creds")]
pub fn bprm_committing_creds(_ctx: LsmContext) -> i32 {
    // SAFETY: `current` is trusted.
    if let Some(stored) = unsafe { of_task(current()) } {
        // SAFETY: the value is live, and only its own task moves it from pending to enforced.
        let subject = unsafe { &mut *stored };
        if subject.state == state::PENDING {
            crate::sockets::remember_network(subject.policy);
            subject.state = state::ENFORCED;
            count::task_came(subject.policy);
        }
    }
    0
}

/// A task ends. From here on it runs no code but the kernel's.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(_ctx: BtfTracePointContext) -> i32 {
    // SAFETY: `current` is trusted.
    if let Some(stored) = unsafe { of_task(current()) } {
        // SAFETY: the helper returned a live value of this type.
        let subject = unsafe { *stored };
        if subject.state == state::ENFORCED {
            count::task_went(subject.policy);
        }
    }
    0
}
