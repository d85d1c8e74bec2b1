//! Hooks on parts of the kernel that a line of the policy opens as a whole.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::abi::{PolicyId, switch};
use ebpf_common::decide::kernel::{decide_lockdown, decide_switch};
use ebpf_common::event::Action;
use ebpf_common::hooks::Hook;

use crate::kernel::settle;
use crate::subject::when_enforced;
use crate::tables::Tables;

#[inline(always)]
fn decide(ctx: &LsmContext, hook: Hook, policy: PolicyId, which: u32) -> i32 {
    let verdict = decide_switch(&Tables, policy, which);
    settle(ctx, hook, Action::Switch, policy, verdict, which)
}

macro_rules! switches {
    ($($(#[$doc:meta])* $name:literal $function:ident: $hook:ident, $which:ident,
        $previous:literal;)*) => {
        $($(#[$doc])* #[lsm(hook = $name)]
        pub fn $function(ctx: LsmContext) -> i32 {
            let policy = when_enforced!(ctx, $previous);
            decide(&ctx, Hook::$hook, policy, switch::$which)
        })*
    };
}

switches! {
    /// The kernel's log.
    "syslog" syslog: Syslog, SYSLOG, 1;
    /// A performance event, while the hook has two arguments.
    "perf_event_open" perf_event_open: PerfEventOpen, PERF, 2;
    /// The same where it has lost its first; the loader picks one of the two.
    "perf_event_open" perf_event_open_of_type: PerfEventOpen, PERF, 1;
    /// An io_uring with a thread of the kernel's that polls.
    "uring_sqpoll" uring_sqpoll: UringSqpoll, URING_SQPOLL, 0;
    /// A request under registered credentials.
    "uring_override_creds" uring_override_creds: UringOverrideCreds, URING_PERSONALITY, 1;
    /// A driver's command.
    "uring_cmd" uring_cmd: UringCmd, URING_COMMAND, 1;
    /// Disk quotas.
    "quotactl" quotactl: Quotactl, QUOTA, 4;
    /// A new user namespace.
    "userns_create" userns_create: UsernsCreate, USERNS, 1;
}

/// What lockdown knows.
#[lsm(hook = "locked_down")]
pub fn locked_down(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 1);
    let reason: u32 = ctx.arg(0);
    let verdict = decide_lockdown(&Tables, policy, reason);
    settle(
        &ctx,
        Hook::LockedDown,
        Action::Lockdown,
        policy,
        verdict,
        reason,
    )
}
