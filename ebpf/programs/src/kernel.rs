//! Hooks on the kernel itself: capabilities, `bpf(2)`, what the kernel loads, the clock.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::abi::{InodeKey, NO_RULE, PolicyHeader, PolicyId, Section, switch};
use ebpf_common::decide::capability::{counted_level, decide_capability, is_of_overlay};
use ebpf_common::decide::kernel::{
    decide_bpf, decide_clock, decide_kernel_load, decide_kernel_read, decide_switch, is_kexec,
};
use ebpf_common::decide::mount::decide_attributes;
use ebpf_common::decide::process::decide_namespaces;
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
use crate::syscall::{self, UNKNOWN, system_call};
use crate::tables::Tables;

/// `CAP_OPT_NOAUDIT`: the kernel only asks whether the capability could be used.
const CAP_OPT_NOAUDIT: u32 = 1 << 1;

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
        return arguments(&ctx, policy, capability);
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

/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u32 = 21;

/// What only the arguments of a system call say: attributes of a mount that is being made, types of
/// namespaces to be entered. They are in registers, so that nobody changes them meanwhile, and an
/// allowed use of `SYS_ADMIN` is the one place at which they can be looked at.
#[inline(always)]
fn arguments(ctx: &LsmContext, policy: PolicyId, capability: u32) -> i32 {
    if capability != SYS_ADMIN {
        return 0;
    }
    let Some(header) = Tables.policy(policy) else {
        return 0;
    };
    if header.attach_attributes == 0 && header.namespaces == 0 {
        return 0;
    }
    match syscall::unified() {
        syscall::FSMOUNT => {
            let attributes = syscall::argument(Field::RegsThird);
            let verdict = decide_attributes(&header, attributes);
            let refusal = Refusal {
                detail: u64::from(attributes),
                ..Refusal::of(Hook::Capable, Action::MoveMount, Section::Mounts)
            };
            settled(ctx, policy, verdict, &refusal)
        }
        syscall::SETNS if header.namespaces != 0 => {
            let types = syscall::argument(Field::RegsSecond);
            let verdict = decide_namespaces(&header, types);
            let refusal = Refusal {
                detail: u64::from(types),
                ..Refusal::of(Hook::Capable, Action::Namespace, Section::Processes)
            };
            settled(ctx, policy, verdict, &refusal)
        }
        _ => 0,
    }
}

#[inline(always)]
fn settled(ctx: &LsmContext, policy: PolicyId, verdict: Verdict, refusal: &Refusal) -> i32 {
    if verdict.allowed() {
        return 0;
    }
    refuse(ctx, policy, verdict, refusal)
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
