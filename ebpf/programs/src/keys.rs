//! Hooks on keys and keyrings.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_func_arg;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::abi::{Section, ipc_class};
use ebpf_common::decide::ipc::{decide_key, key_rights};
use ebpf_common::event::Action;
use ebpf_common::hooks::Hook;

use crate::ipc::{made, note};
use crate::report::{Refusal, refuse};
use crate::subject::{self, when_enforced};
use crate::tables::Tables;

/// `KEY_ALLOC_NOT_IN_QUOTA | KEY_ALLOC_UID_KEYRING`: keyrings that all processes of a user share,
/// persistent ones among them, and those that hold such keyrings.
const SHARED: u64 = 0x2 | 0x10;

/// A key is made. What a container makes is its own, unless it is made for all of a user's
/// processes, those of the host among them.
#[lsm(hook = "key_alloc")]
pub fn key_alloc(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(3);
    if previous != 0 {
        return previous;
    }
    let shared = ctx.arg::<u64>(2) & SHARED != 0;
    let maker = subject::of_current().map(|subject| subject.policy);
    note(ctx.arg(0), maker.filter(|_| !shared));
    0
}

/// A key is used. The reference is an address whose lowest bit says whether the task possesses the
/// key; it has no type that the verifier would load, so it comes through a helper.
#[lsm(hook = "key_permission")]
pub fn key_permission(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    let mut reference = 0u64;
    // SAFETY: the context is this program's, the buffer holds one argument. On a failure it stays
    // 0, which is nobody's key.
    unsafe { bpf_get_func_arg(ctx.as_ptr(), 0, &raw mut reference) };
    let need: u32 = ctx.arg(2);
    let own = made(policy, reference & !1);
    let verdict = decide_key(&Tables, policy, own, need, reference & 1 == 1);
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: key_rights(need),
        detail: u64::from(ipc_class::KEYS),
        ..Refusal::of(Hook::KeyPermission, Action::Ipc, Section::Ipc)
    };
    refuse(&ctx, policy, verdict, &refusal)
}
