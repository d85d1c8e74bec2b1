//! Hooks on descriptors that are open: received from elsewhere, asked by `ioctl`, changed by
//! `fcntl`.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::Rights;
use ebpf_common::abi::{PolicyId, Section, device_class, split_dev};
use ebpf_common::decide::file::decide_device;
use ebpf_common::decide::ioctl::{decide_governed, decide_governed_of_device};
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::ioctl::is_free;

use crate::field::load;
use crate::files::{
    FLAG_APPEND, FMODE_CREATED, FMODE_WRITE, Node, decide_file, decide_opened, in_own_pts,
    open_device, wanted, wanted_of_device,
};
use crate::object::{Dentry, rights_at, super_identity};
use crate::report::{Refusal, refuse};
use crate::subject::{self, when_enforced};
use crate::tables::Tables;
use crate::verifier::Forget;

/// `FMODE_PATH`: opened with `O_PATH`, for nothing that is not decided again.
const FMODE_PATH: u32 = 1 << 14;
const F_SETFL: u32 = 4;
const F_SETLEASE: u32 = 1024;
const F_SET_RW_HINT: u32 = 1036;
const F_SETDELEG: u32 = 1040;
const F_UNLCK: u64 = 2;

/// A descriptor arrives over a unix socket, by `pidfd_getfd` or from a seccomp agent: as if it were
/// opened here.
#[lsm(hook = "file_receive")]
pub fn file_receive(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 1);
    let file: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted; the field is 32 bits.
    if unsafe { load::<u32>(file, Field::FileMode) } & FMODE_PATH != 0 {
        return 0;
    }
    let node = Node::of_file(file);
    if node.is_device() {
        return open_device(&ctx, Hook::FileReceive, policy, file, node, || {
            wanted_of_device(file)
        });
    }
    // SAFETY: `file` is trusted.
    let dentry = unsafe { Dentry::of_file(file) };
    decide_opened(&ctx, Hook::FileReceive, policy, dentry, || wanted(file))
}

/// A command of `ioctl(2)`.
#[inline(always)]
pub(crate) fn command(ctx: &LsmContext, hook: Hook, file: *const u8, command: u32) -> i32 {
    if is_free(command) {
        return 0;
    }
    let Some(policy) = subject::enforced() else {
        return 0;
    };
    let command = command.forget();
    let node = Node::of_file(file);
    if node.is_device() {
        return command_of_device(ctx, hook, policy, file, node, command);
    }
    // SAFETY: the callers hand in the hook's argument, which is trusted.
    let dentry = unsafe { Dentry::of_file(file) };
    let (effective, object) = rights_at(policy, dentry);
    let verdict = decide_governed(&Tables, policy, effective, command);
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: Rights::IOCTL,
        dentry: dentry.0 as u64,
        dev: object.dev,
        ino: dentry.ino(),
        magic: object.magic,
        detail: u64::from(command),
        ..Refusal::of(hook, Action::Ioctl, Section::Files)
    };
    refuse(ctx, policy, verdict, &refusal)
}

#[inline(always)]
fn command_of_device(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    file: *const u8,
    node: Node,
    command: u32,
) -> i32 {
    // SAFETY: the callers hand in the hook's argument, which is trusted.
    let dentry = unsafe { Dentry::of_file(file) };
    let (number, own_pts) = (split_dev(node.rdev), in_own_pts(policy, dentry));
    let held = decide_device(&Tables, policy, node.class, number, own_pts, Rights::IOCTL);
    let verdict = decide_governed_of_device(&Tables, policy, held, command);
    if verdict.allowed() {
        return 0;
    }
    let action = match node.class {
        device_class::BLOCK => Action::BlockIoctl,
        _ => Action::CharIoctl,
    };
    let (dev, magic, _) = super_identity(dentry.super_block());
    let refusal = Refusal {
        rights: Rights::IOCTL,
        dentry: dentry.0 as u64,
        dev,
        ino: dentry.ino(),
        magic,
        detail: u64::from(node.rdev) << 32 | u64::from(command),
        ..Refusal::of(hook, action, Section::Devices)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// What `fcntl(2)` does to more than the caller's own descriptor: the end of appending, and leases,
/// at which whoever opens the file waits.
#[inline(always)]
pub(crate) fn control(ctx: &LsmContext, file: *const u8, command: u32, argument: u64) -> i32 {
    // SAFETY: the callers hand in the hook's argument, which is trusted; both fields are 32 bits.
    let mode: u32 = unsafe { load(file, Field::FileMode) };
    // SAFETY: as above.
    let flags: u32 = unsafe { load(file, Field::FileFlags) };
    let ends_appending = flags & FLAG_APPEND != 0
        && mode & FMODE_WRITE != 0
        && argument & u64::from(FLAG_APPEND) == 0;
    let decided = match command {
        F_SETFL => ends_appending,
        F_SETLEASE => argument != F_UNLCK,
        F_SET_RW_HINT | F_SETDELEG => true,
        _ => false,
    };
    if !decided || Node::of_file(file).is_device() {
        return 0;
    }
    let Some(policy) = subject::enforced() else {
        return 0;
    };
    decide_file(ctx, Hook::FileFcntl, policy, file, || {
        if mode & FMODE_CREATED != 0 {
            Rights::CREATE
        } else {
            Rights::WRITE
        }
    })
}
