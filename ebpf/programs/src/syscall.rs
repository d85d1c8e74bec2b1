//! The system call that the current task is in, and its arguments.

use aya_ebpf::helpers::generated::bpf_task_pt_regs;
use ebpf_common::abi::SYSCALLS;
use ebpf_common::fields::Field;

use crate::field::load;
use crate::subject;

/// `setns` where the number is the native one.
pub(crate) const SETNS: u32 = 308;
/// `fsmount`, of every ABI.
pub(crate) const FSMOUNT: u32 = 432;
/// `setns` of 32-bit calls (i386).
const SETNS_COMPAT: u32 = 346;
/// `__X32_SYSCALL_BIT`.
const X32: u32 = 0x4000_0000;

/// `PF_IO_WORKER | PF_USER_WORKER | PF_KTHREAD`: threads whose saved registers are not of a system
/// call.
const PF_WORKERS: u32 = 0x10 | 0x4000 | 0x20_0000;
/// `TS_COMPAT` (x86): a 32-bit call, whose number means another system call.
const TS_COMPAT: u32 = 0x2;

/// A system call that is not known.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// The native system call the task is in, or [`UNKNOWN`]. No `Option`: what one holds when it is
/// `None` is whatever was in the register, which the verifier may not like.
#[inline(always)]
pub(crate) fn system_call() -> u32 {
    let task = subject::current();
    // SAFETY: `current` is trusted; `flags` is 32 bits.
    let flags: u32 = unsafe { load(task, Field::TaskFlags) };
    // SAFETY: as above.
    let status: u32 = unsafe { load(task, Field::TaskStatus) };
    if flags & PF_WORKERS != 0 || status & TS_COMPAT != 0 {
        return UNKNOWN;
    }
    // SAFETY: the helper takes a trusted task and answers a trusted `pt_regs`.
    let registers = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const u8;
    if registers.is_null() {
        return UNKNOWN;
    }
    // SAFETY: the pointer is a `pt_regs`; `orig_ax` is an `unsigned long`.
    let number: u64 = unsafe { load(registers, Field::RegsSyscall) };
    match number < u64::from(SYSCALLS) {
        true => number as u32,
        false => UNKNOWN,
    }
}

/// The system call as [`system_call`] has it, but for calls of the other ABIs too: from 424 on all
/// have the same numbers, and of the others only `setns` is told.
#[inline(always)]
pub(crate) fn unified() -> u32 {
    let task = subject::current();
    // SAFETY: `current` is trusted; `flags` is 32 bits.
    let flags: u32 = unsafe { load(task, Field::TaskFlags) };
    if flags & PF_WORKERS != 0 {
        return UNKNOWN;
    }
    // SAFETY: as above.
    let status: u32 = unsafe { load(task, Field::TaskStatus) };
    let number = argument(Field::RegsSyscall) & !X32;
    match status & TS_COMPAT != 0 {
        true if number == SETNS_COMPAT => SETNS,
        true if number == SETNS => UNKNOWN,
        _ => number,
    }
}

/// The lower half of a saved register.
#[inline(always)]
pub(crate) fn argument(register: Field) -> u32 {
    let task = subject::current();
    // SAFETY: the helper takes a trusted task and answers a trusted `pt_regs`.
    let registers = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const u8;
    if registers.is_null() {
        return 0;
    }
    // SAFETY: the pointer is a `pt_regs`, whose members are `unsigned long`.
    let value: u64 = unsafe { load(registers, register) };
    value as u32
}
