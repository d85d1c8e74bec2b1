//! Hooks on the kernel itself: capabilities, `bpf(2)`, what the kernel loads, the clock.

use aya_ebpf::helpers::generated::bpf_task_pt_regs;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::abi::{InodeKey, NO_RULE, PolicyHeader, PolicyId, SYSCALLS, Section, switch};
use ebpf_common::decide::capability::{counted_level, decide_capability, is_of_overlay};
use ebpf_common::decide::kernel::{
    decide_bpf, decide_clock, decide_kernel_load, decide_kernel_read, decide_switch, is_kexec,
};
use ebpf_common::decide::{Reason, Verdict};
use ebpf_common::errno::EPERM;
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::Lookup;

use crate::field::load;
use crate::object::{Dentry, credentials_borrowed, super_identity};
use crate::report::{Refusal, refuse};
use crate::subject::{self, when_enforced};
use crate::tables::Tables;

/// `CAP_OPT_NOAUDIT`: the kernel only asks whether the capability could be used.
const CAP_OPT_NOAUDIT: u32 = 1 << 1;
/// `PF_IO_WORKER | PF_USER_WORKER | PF_KTHREAD`: threads whose saved registers are not of a system
/// call.
const PF_WORKERS: u32 = 0x10 | 0x4000 | 0x20_0000;
/// `TS_COMPAT` (x86): a 32-bit call, whose number means another system call.
const TS_COMPAT: u32 = 0x2;

/// A system call that is not known.
const UNKNOWN: u32 = u32::MAX;

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

/// Use of a capability that the task holds.
#[lsm(hook = "capable")]
pub fn capable(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 4);
    let namespace: *const u8 = ctx.arg(1);
    let capability: u32 = ctx.arg(2);
    let options: u32 = ctx.arg(3);
    // SAFETY: the hook's argument is trusted; `level` is an int.
    let level: u32 = unsafe { load(namespace, Field::UserNsLevel) };
    let credentials: *const u8 = ctx.arg(0);
    // SAFETY: as above; the field is a pointer to a user namespace, never null.
    let acting: *const u8 = unsafe { load(credentials, Field::CredUserNs) };
    // SAFETY: the pointer is a user namespace.
    let acting_level: u32 = unsafe { load(acting, Field::UserNsLevel) };
    let number = system_call();
    let call = (number != UNKNOWN).then_some(number);
    let level = counted_level(level, acting_level, call);
    let verdict = decide_capability(&Tables, policy, capability, call, level);
    if verdict.allowed() {
        return 0;
    }
    let of_overlay =
        |header: PolicyHeader| is_of_overlay(&header, capability, call, credentials_borrowed());
    if Tables.policy(policy).is_some_and(of_overlay) {
        return 0;
    }
    let refusal = Refusal {
        detail: u64::from(capability) << 32 | u64::from(number),
        silent: options & CAP_OPT_NOAUDIT != 0,
        ..Refusal::of(Hook::Capable, Action::Capability, Section::Capabilities)
    };
    refuse(&ctx, policy, verdict, &refusal)
}

/// The header of the caller's policy, or a refusal.
#[inline(always)]
fn by_header(policy: PolicyId, decide: impl FnOnce(&PolicyHeader) -> Verdict) -> Verdict {
    match Tables.policy(policy) {
        Some(header) => decide(&header),
        None => Verdict::refuse(EPERM, Reason::NoPolicy, NO_RULE),
    }
}

/// Refuses for `hook` unless the verdict allows.
#[inline(always)]
pub(crate) fn settle(
    ctx: &LsmContext,
    hook: Hook,
    action: Action,
    policy: PolicyId,
    verdict: Verdict,
    detail: u32,
) -> i32 {
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        detail: u64::from(detail),
        ..Refusal::of(hook, action, Section::Kernel)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// A command of `bpf(2)`, before 6.15.
#[lsm(hook = "bpf")]
pub fn bpf(ctx: LsmContext) -> i32 {
    match ctx.arg(3) {
        0 => bpf_command(&ctx),
        previous => previous,
    }
}

/// A command of `bpf(2)` from 6.15 on, where the hook has a fourth argument; the loader picks one
/// of the two.
#[lsm(hook = "bpf")]
pub fn bpf_from_kernel(ctx: LsmContext) -> i32 {
    match ctx.arg(4) {
        0 => bpf_command(&ctx),
        previous => previous,
    }
}

#[inline(always)]
fn bpf_command(ctx: &LsmContext) -> i32 {
    let command: u32 = ctx.arg(0);
    let Some(policy) = subject::enforced() else {
        return 0;
    };
    let verdict = by_header(policy, |header| decide_bpf(header, command));
    settle(ctx, Hook::Bpf, Action::Bpf, policy, verdict, command)
}

/// Data that the kernel is to load from memory.
#[lsm(hook = "kernel_load_data")]
pub fn kernel_load_data(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    settle(
        &ctx,
        Hook::KernelLoadData,
        Action::KernelLoad,
        policy,
        decide_kernel_load(&Tables, policy, system_call()),
        ctx.arg(0),
    )
}

/// A file that the kernel is to read into itself.
#[lsm(hook = "kernel_read_file")]
pub fn kernel_read_file(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    let file: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted.
    let dentry = unsafe { Dentry::of_file(file) };
    let (dev, magic, _) = super_identity(dentry.super_block());
    let ino = dentry.ino();
    let verdict = if is_kexec(system_call()) {
        decide_switch(&Tables, policy, switch::KEXEC)
    } else {
        decide_kernel_read(&Tables, InodeKey { policy, dev, ino })
    };
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        dentry: dentry.0 as u64,
        dev,
        ino,
        magic,
        detail: ctx.arg(1),
        ..Refusal::of(Hook::KernelReadFile, Action::KernelRead, Section::Kernel)
    };
    refuse(&ctx, policy, verdict, &refusal)
}

/// Setting the clock.
#[lsm(hook = "settime")]
pub fn settime(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let verdict = by_header(policy, decide_clock);
    settle(&ctx, Hook::Settime, Action::Clock, policy, verdict, 0)
}
