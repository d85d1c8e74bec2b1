//! Hooks on mounts, and the keeping of which super blocks are a container's own.

use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::abi::*;
use ebpf_common::decide::mount::{MountRequest, decide_mount, decide_umount, ms};
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::Lookup;
use ebpf_common::magic;

use crate::field::load;
use crate::maps::{DEVICE_USES, SUPER_OWNERS, SUPERS};
use crate::object::{Dentry, rights_at, super_identity};
use crate::report::{Refusal, refuse};
use crate::subject::{self, when_enforced};
use crate::tables::Tables;

const BPF_ANY: u64 = 0;
const MNT_NOSUID: u32 = 1;
const MNT_NODEV: u32 = 2;
const MNT_NOEXEC: u32 = 4;
const MNT_READONLY: u32 = 0x40;
const MS_RDONLY: u64 = 1;
const TMPFS: [u8; TYPE_NAME_MAX] = *b"tmpfs\0\0\0\0\0\0\0\0\0\0\0";
const RAMFS: [u8; TYPE_NAME_MAX] = *b"ramfs\0\0\0\0\0\0\0\0\0\0\0";
const BIND: [u8; TYPE_NAME_MAX] = *b"bind\0\0\0\0\0\0\0\0\0\0\0\0";

/// [`type_hash`] of a type name in kernel memory; 0, which no rule has, if it cannot be read.
#[inline(always)]
fn hash_at(name: *const u8) -> u64 {
    let mut bytes = [0u8; TYPE_NAME_MAX];
    // SAFETY: the helper reads any address and reports a fault.
    match unsafe { bpf_probe_read_kernel_str_bytes(name, &mut bytes) } {
        Ok(_) => type_hash(&bytes),
        Err(_) => 0,
    }
}

/// [`type_hash`] of a super block's type.
#[inline(always)]
fn super_type(super_block: *const u8) -> u64 {
    // SAFETY: the callers hand in super blocks.
    let fs_type: *const u8 = unsafe { load(super_block, Field::SuperType) };
    // SAFETY: the pointer is a `file_system_type`.
    hash_at(unsafe { load(fs_type, Field::TypeName) })
}

/// Whether a mount point is the container's own.
#[inline(always)]
fn own(policy: PolicyId, dentry: Dentry) -> bool {
    let (effective, _) = rights_at(policy, dentry);
    effective.is_own()
}

/// Whether the container itself mounted the super block.
#[inline(always)]
fn container_made(policy: PolicyId, super_block: *const u8) -> (bool, u32) {
    let (dev, magic, _) = super_identity(super_block);
    let made = Tables
        .super_block(SuperKey { policy, dev })
        .is_some_and(|found| {
            found.kind == super_kind::CONTAINER && found.is(super_block as u64, magic)
        });
    (made, magic)
}

/// Refuses a mount for `hook` unless a rule allows it.
#[inline(always)]
fn decide(
    ctx: &LsmContext,
    hook: Hook,
    action: Action,
    policy: PolicyId,
    request: &MountRequest,
    at: u64,
) -> i32 {
    let verdict = decide_mount(&Tables, policy, request);
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        dentry: at,
        ino: request.fs_type,
        detail: request.flags,
        ..Refusal::of(hook, action, Section::Mounts)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// `mount(2)`: everything it can do.
#[lsm(hook = "sb_mount")]
pub fn sb_mount(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 5);
    let flags: u64 = ctx.arg(3);
    let fs_type = if flags & ms::BIND != 0 {
        type_hash(&BIND)
    } else {
        hash_at(ctx.arg(2))
    };
    // SAFETY: the hook's argument is trusted.
    let target = unsafe { Dentry::of_path(ctx.arg(1)) };
    let own_target = own(policy, target);
    let request = MountRequest {
        fs_type,
        flags,
        flags_known: true,
        own_target,
    };
    decide(
        &ctx,
        Hook::SbMount,
        Action::Mount,
        policy,
        &request,
        target.0 as u64,
    )
}

/// Attaching a detached mount: a new super block of the container's own, or a clone of some tree,
/// which is a bind.
#[lsm(hook = "move_mount")]
pub fn move_mount(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let from: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted.
    let super_block = unsafe { Dentry::of_path(from) }.super_block();
    let (made, _) = container_made(policy, super_block);
    let fs_type = if made {
        super_type(super_block)
    } else {
        type_hash(&BIND)
    };
    // SAFETY: as above.
    let mount: *const u8 = unsafe { load(from, Field::PathMnt) };
    // SAFETY: the pointer is a `vfsmount`; `mnt_flags` is an int.
    let flags = ms_flags(unsafe { load(mount, Field::MountFlags) });
    // SAFETY: the hook's argument is trusted.
    let target = unsafe { Dentry::of_path(ctx.arg(1)) };
    let own_target = own(policy, target);
    let request = MountRequest {
        fs_type,
        flags,
        flags_known: true,
        own_target,
    };
    decide(
        &ctx,
        Hook::MoveMount,
        Action::MoveMount,
        policy,
        &request,
        target.0 as u64,
    )
}

/// `MS_*` for `MNT_*`, as far as rules name them.
#[inline(always)]
fn ms_flags(flags: u32) -> u64 {
    let mut answer = u64::from(flags & (MNT_NOSUID | MNT_NODEV | MNT_NOEXEC)) << 1;
    if flags & MNT_READONLY != 0 {
        answer |= MS_RDONLY;
    }
    answer
}

/// Unmounting.
#[lsm(hook = "sb_umount")]
pub fn sb_umount(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let mount: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted.
    let super_block: *const u8 = unsafe { load(mount, Field::MountSuper) };
    let (made, magic) = container_made(policy, super_block);
    let verdict = decide_umount(made, magic);
    if verdict.allowed() {
        return 0;
    }
    let (dev, ..) = super_identity(super_block);
    let refusal = Refusal {
        dev,
        magic,
        ..Refusal::of(Hook::SbUmount, Action::Umount, Section::Mounts)
    };
    refuse(&ctx, policy, verdict, &refusal)
}

/// A super block is being made or reused, by any mount API. What the runtime mounts while it sets
/// the container up, and what the container mounts in memory, is the container's own.
#[lsm(hook = "sb_kern_mount")]
pub fn sb_kern_mount(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(1);
    if previous != 0 {
        return previous;
    }
    let Some(subject) = subject::of_current() else {
        return 0;
    };
    let super_block: *const u8 = ctx.arg(0);
    let policy = subject.policy;
    let (_, magic, _) = super_identity(super_block);
    if subject.state == state::PENDING {
        if made_for_container(policy, super_block, magic) {
            adopt(policy, super_block, super_kind::RUNTIME);
        }
        return 0;
    }
    let fs_type = super_type(super_block);
    let request = MountRequest {
        fs_type,
        flags: 0,
        flags_known: false,
        own_target: true,
    };
    let refused = decide(&ctx, Hook::SbKernMount, Action::Mount, policy, &request, 0);
    if refused == 0 && matches!(magic, magic::TMPFS | magic::RAMFS) {
        adopt(policy, super_block, super_kind::CONTAINER);
    }
    refused
}

/// Types whose super block is new for each mount or shows only what the container may see of the
/// kernel.
#[inline(always)]
fn made_for_container(policy: PolicyId, super_block: *const u8, magic: u32) -> bool {
    match magic {
        magic::MQUEUE => Tables
            .policy(policy)
            .is_some_and(|header| header.kernel & kernel::PRIVATE_IPC != 0),
        // devtmpfs has the same magic, and is the host's one.
        magic::TMPFS | magic::RAMFS => {
            let fs_type = super_type(super_block);
            fs_type == type_hash(&TMPFS) || fs_type == type_hash(&RAMFS)
        }
        magic::DEVPTS => true,
        magic::PROC | magic::SYSFS | magic::CGROUP | magic::CGROUP2 => true,
        _ => false,
    }
}

/// Notes a super block as the container's own. If a map is full the container simply has no rights
/// there: what could not be forgotten again is not noted.
#[inline(always)]
fn adopt(policy: PolicyId, super_block: *const u8, kind: u32) {
    let (dev, magic, _) = super_identity(super_block);
    let address = super_block as u64;
    let key = SuperKey {
        policy: policy.container(),
        dev,
    };
    if SUPER_OWNERS.insert(&address, &key, BPF_ANY).is_ok() {
        let _ = SUPERS.insert(
            &key,
            &SuperRule {
                kind,
                magic,
                address,
            },
            BPF_ANY,
        );
    }
}

/// A file system goes away, and its device number with it: rules for the number hold for no other.
#[lsm(hook = "sb_delete")]
pub fn sb_delete(ctx: LsmContext) -> i32 {
    let (dev, ..) = super_identity(ctx.arg(0));
    if let Some(uses) = DEVICE_USES.get_ptr_mut(dev) {
        // SAFETY: the value is live for the program's run, and a number is in use once at a time.
        unsafe { *uses += 1 };
    }
    0
}

/// A super block goes away. Its device number may be another's by now, so only the entry that was
/// made for this very one is forgotten.
#[lsm(hook = "sb_free_security")]
pub fn sb_free_security(ctx: LsmContext) -> i32 {
    let super_block: *const u8 = ctx.arg(0);
    let address = super_block as u64;
    // SAFETY: entries are written whole, and only this hook removes them while the policy lives.
    let Some(key) = (unsafe { SUPER_OWNERS.get(address) }).copied() else {
        return 0;
    };
    if Tables
        .super_block(key)
        .is_some_and(|found| found.address == address)
    {
        let _ = SUPERS.remove(&key);
    }
    let _ = SUPER_OWNERS.remove(&address);
    0
}
