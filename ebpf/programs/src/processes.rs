//! Hooks on other processes: tracing and signals.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::abi::{NO_RULE, Section, limits};
use ebpf_common::decide::process::{
    PTRACE_MODE_NOAUDIT, Target, decide_async, decide_limits, decide_ptrace, decide_signal,
    decide_signal_owner, namespaces_of_trace, wanted_of_trace,
};
use ebpf_common::decide::{Reason, Verdict};
use ebpf_common::errno::EPERM;
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::Lookup;

use crate::descriptors;
use crate::field::load;
use crate::files::is_host_device;
use crate::object::super_identity;
use crate::report::{Refusal, refuse};
use crate::subject::{self, when_enforced};
use crate::syscall::{self, UNKNOWN, system_call};
use crate::tables::Tables;

/// What a task is: its subject, and the file it executes.
#[inline(always)]
fn target(task: *const u8) -> Target {
    // SAFETY: the callers hand in hook arguments, which are trusted.
    let subject = unsafe { subject::of_task(task) }.map(|stored| {
        // SAFETY: the helper returned a live value of this type.
        unsafe { *stored }
    });
    let mut answer = Target {
        subject,
        exe_dev: 0,
        exe_ino: 0,
    };
    // SAFETY: as above.
    let mm: *const u8 = unsafe { load(task, Field::TaskMm) };
    if mm.is_null() {
        return answer;
    }
    // SAFETY: the pointer is an `mm_struct`.
    let file: *const u8 = unsafe { load(mm, Field::MmExeFile) };
    if file.is_null() {
        return answer;
    }
    // SAFETY: the pointer is a `file`, whose inode is never null.
    let inode: *const u8 = unsafe { load(file, Field::FileInode) };
    // SAFETY: the pointer is an inode.
    let super_block: *const u8 = unsafe { load(inode, Field::InodeSuper) };
    // SAFETY: the pointer is an inode.
    answer.exe_ino = unsafe { load(inode, Field::InodeNumber) };
    answer.exe_dev = super_identity(super_block).0;
    answer
}

/// Identity of the target, for the report.
#[inline(always)]
fn refusal(hook: Hook, action: Action, task: *const u8, target: &Target, detail: u32) -> Refusal {
    Refusal {
        dev: target.exe_dev,
        ino: target.exe_ino,
        detail: u64::from(detail),
        // SAFETY: the task is trusted; `tgid` is an int.
        target_pid: unsafe { load(task, Field::TaskTgid) },
        ..Refusal::of(hook, action, Section::Processes)
    }
}

/// Tracing a process, or anything that the kernel guards alike: its memory, environment,
/// descriptors, namespaces.
#[lsm(hook = "ptrace_access_check")]
pub fn ptrace_access_check(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let child: *const u8 = ctx.arg(0);
    let mode: u32 = ctx.arg(1);
    let target = target(child);
    let number = system_call();
    let call = (number != UNKNOWN).then_some(number);
    let want = wanted_of_trace(mode, call);
    let types = namespaces_of_trace(call, syscall::argument(Field::RegsSecond));
    let verdict = decide_ptrace(&Tables, policy, &target, want, types);
    if verdict.allowed() {
        return 0;
    }
    let (action, detail) = match types {
        Some(types) => (Action::Namespace, types),
        None => (Action::Ptrace, want),
    };
    let refusal = Refusal {
        silent: mode & PTRACE_MODE_NOAUDIT != 0,
        ..refusal(Hook::PtraceAccess, action, child, &target, detail)
    };
    refuse(&ctx, policy, verdict, &refusal)
}

/// Sending a signal.
#[lsm(hook = "task_kill")]
pub fn task_kill(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 4);
    let task: *const u8 = ctx.arg(0);
    let signal: u32 = ctx.arg(2);
    let target = target(task);
    let verdict = decide_signal(&Tables, policy, &target, signal);
    if verdict.allowed() {
        return 0;
    }
    refuse(
        &ctx,
        policy,
        verdict,
        &refusal(Hook::TaskKill, Action::Signal, task, &target, signal),
    )
}

const F_SETFL: u32 = 4;
const F_SETOWN: u32 = 8;
const F_SETSIG: u32 = 10;
const F_SETOWN_EX: u32 = 15;
const FASYNC: u64 = 0x2000;
const FIOASYNC: u32 = 0x5452;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;

/// Naming the process that gets a file's signals; `named` is `None` where it is in user memory,
/// which can change after a look at it.
#[inline(always)]
fn signal_owner(ctx: &LsmContext, hook: Hook, named: Option<i32>) -> i32 {
    let Some(policy) = subject::enforced() else {
        return 0;
    };
    let own = (bpf_get_current_pid_tgid() >> 32) as i32;
    let verdict = match Tables.policy(policy) {
        Some(header) => decide_signal_owner(&header, named, own),
        None => Verdict::refuse(EPERM, Reason::NoPolicy, NO_RULE),
    };
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        detail: named.unwrap_or(0) as u32 as u64,
        ..Refusal::of(hook, Action::SignalOwner, Section::Processes)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Having a file signal, or with which signal: a terminal of the host's signals its foreground
/// processes.
#[inline(always)]
fn signal_by(ctx: &LsmContext, hook: Hook) -> i32 {
    let Some(policy) = subject::enforced() else {
        return 0;
    };
    let verdict = decide_async(is_host_device(policy, ctx.arg(0)), false);
    if verdict.allowed() {
        return 0;
    }
    refuse(
        ctx,
        policy,
        verdict,
        &Refusal::of(hook, Action::SignalOwner, Section::Processes),
    )
}

/// `F_SETOWN`, `F_SETOWN_EX`, `F_SETSIG` and `F_SETFL` with `O_ASYNC`.
#[lsm(hook = "file_fcntl")]
pub fn file_fcntl(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(3);
    if previous != 0 {
        return previous;
    }
    match ctx.arg::<u32>(1) {
        F_SETOWN => signal_owner(&ctx, Hook::FileFcntl, Some(ctx.arg::<u64>(2) as i32)),
        F_SETOWN_EX => signal_owner(&ctx, Hook::FileFcntl, None),
        F_SETSIG => signal_by(&ctx, Hook::FileFcntl),
        command => {
            let refused = match command == F_SETFL && ctx.arg::<u64>(2) & FASYNC != 0 {
                true => signal_by(&ctx, Hook::FileFcntl),
                false => 0,
            };
            match refused {
                0 => descriptors::control(&ctx, ctx.arg(0), command, ctx.arg(2)),
                refused => refused,
            }
        }
    }
}

/// The same of sockets, by ioctl.
#[lsm(hook = "file_ioctl")]
pub fn file_ioctl(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(3);
    if previous != 0 {
        return previous;
    }
    match ctx.arg::<u32>(1) {
        FIOSETOWN | SIOCSPGRP => signal_owner(&ctx, Hook::FileIoctl, None),
        FIOASYNC => signal_by(&ctx, Hook::FileIoctl),
        command => descriptors::command(&ctx, Hook::FileIoctl, ctx.arg(0), command),
    }
}

/// The same by a 32-bit call.
#[lsm(hook = "file_ioctl_compat")]
pub fn file_ioctl_compat(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(3);
    if previous != 0 {
        return previous;
    }
    match ctx.arg::<u32>(1) {
        FIOSETOWN | SIOCSPGRP => signal_owner(&ctx, Hook::FileIoctlCompat, None),
        FIOASYNC => signal_by(&ctx, Hook::FileIoctlCompat),
        command => descriptors::command(&ctx, Hook::FileIoctlCompat, ctx.arg(0), command),
    }
}

/// Declares a hook on limits, priority or placement of the task that is its first argument.
macro_rules! on_limits {
    ($($(#[$doc:meta])* $name:ident = $lsm:tt, $hook:ident, $previous:literal, $want:ident;)*) => {
        $($(#[$doc])*
        #[lsm(hook = $lsm)]
        pub fn $name(ctx: LsmContext) -> i32 {
            let policy = when_enforced!(ctx, $previous);
            let task: *const u8 = ctx.arg(0);
            let target = target(task);
            let verdict = decide_limits(&Tables, policy, &target, limits::$want);
            if verdict.allowed() {
                return 0;
            }
            let refusal = refusal(Hook::$hook, Action::Limits, task, &target, limits::$want);
            refuse(&ctx, policy, verdict, &refusal)
        })*
    };
}

on_limits! {
    /// `prlimit(2)`.
    task_setrlimit = "task_setrlimit", TaskSetrlimit, 3, RESOURCES;
    /// `setpriority(2)`.
    task_setnice = "task_setnice", TaskSetnice, 2, NICE;
    /// `ioprio_set(2)`.
    task_setioprio = "task_setioprio", TaskSetioprio, 2, IO_PRIORITY;
    /// `sched_setscheduler(2)`, `sched_setaffinity(2)`.
    task_setscheduler = "task_setscheduler", TaskSetscheduler, 1, SCHEDULER;
}
