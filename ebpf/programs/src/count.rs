//! What is counted of each container. Nothing that is decided depends on it.

use core::arch::asm;

use ebpf_common::abi::{ADOPTED_LISTED, Counters, PolicyId};
use ebpf_common::rate;

use crate::maps::COUNTERS;

/// The counters of a container; none once its policy is being taken away.
#[inline(always)]
fn of(policy: PolicyId) -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(policy.container())
}

/// Adds in one step, whatever other processors do; the library has no such operation for this
/// target.
#[inline(always)]
fn add(counter: *mut u64, by: u64) {
    // SAFETY: the callers hand in fields of a live map value, which are aligned.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) by) };
}

/// A task has got the label and is in force.
#[inline(always)]
pub(crate) fn task_came(policy: PolicyId) {
    if let Some(counters) = of(policy) {
        // SAFETY: the pointer is to a live value of this type.
        add(unsafe { &raw mut (*counters).tasks }, 1);
    }
}

/// Such a task ends.
#[inline(always)]
pub(crate) fn task_went(policy: PolicyId) {
    if let Some(counters) = of(policy) {
        // SAFETY: the pointer is to a live value of this type.
        add(unsafe { &raw mut (*counters).tasks }, u64::MAX);
    }
}

/// The container makes an object that `OWNERS` is to hold.
#[inline(always)]
pub(crate) fn owns(policy: PolicyId) {
    if let Some(counters) = of(policy) {
        // SAFETY: the pointer is to a live value of this type; the field is written whole.
        unsafe { (*counters).owns = 1 };
    }
}

/// `SUPERS` has got an entry of the container under this device number.
#[inline(always)]
pub(crate) fn adopted(policy: PolicyId, dev: u32) {
    let Some(counters) = of(policy) else {
        return;
    };
    let mut place = 1u64;
    // SAFETY: the pointer is to a live value of this type, whose fields are aligned.
    let counter = unsafe { &raw mut (*counters).adopted };
    // In one step, so that no two write one place.
    // SAFETY: as above.
    unsafe {
        asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) counter, inout(reg) place);
    }
    if place < ADOPTED_LISTED as u64 {
        // SAFETY: as above; the mask says again that the place is one of the array's.
        unsafe { (*counters).devices[place as usize & (ADOPTED_LISTED - 1)] = dev };
    }
}

/// Whether an event of the container is to be recorded now; if not it is counted. Two at the same
/// moment may count as one, which records one more.
#[inline(always)]
pub(crate) fn admit_event(policy: PolicyId, now_ns: u64) -> bool {
    let Some(counters) = of(policy) else {
        return true;
    };
    // SAFETY: the pointer is to a live value of this type; the field is written whole.
    let due_ns = unsafe { (*counters).due_ns };
    match rate::admit(due_ns, now_ns) {
        Some(next_ns) => {
            // SAFETY: as above.
            unsafe { (*counters).due_ns = next_ns };
            true
        }
        None => {
            // SAFETY: as above.
            add(unsafe { &raw mut (*counters).suppressed }, 1);
            false
        }
    }
}

/// An event has been handed on.
#[inline(always)]
pub(crate) fn event_recorded(policy: PolicyId) {
    if let Some(counters) = of(policy) {
        // SAFETY: the pointer is to a live value of this type.
        add(unsafe { &raw mut (*counters).recorded }, 1);
    }
}

/// An event found the ring buffer full.
#[inline(always)]
pub(crate) fn event_lost(policy: PolicyId) {
    if let Some(counters) = of(policy) {
        // SAFETY: the pointer is to a live value of this type.
        add(unsafe { &raw mut (*counters).lost }, 1);
    }
}
