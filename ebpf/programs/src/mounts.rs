//! Hooks on mounts, and the keeping of which super blocks are a container's own.

use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::Rights;
use ebpf_common::abi::*;
use ebpf_common::decide::Verdict;
use ebpf_common::decide::mount::{
    MountAction, MountRequest, Place, UmountRequest, decide_action, decide_mount, decide_parameter,
    decide_reconfigure, decide_remount, decide_super, decide_umount, is_source, ms,
};
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::Lookup;
use ebpf_common::magic;

use crate::count;
use crate::field::load;
use crate::maps::{DEVICE_USES, SUPER_OWNERS, SUPERS};
use crate::mount::{in_own_namespace, is_shared, on_shared, place_of, super_kind_of};
use crate::object::{Dentry, super_identity};
use crate::report::{Refusal, refuse};
use crate::subject::{self, when_enforced};
use crate::syscall::system_call;
use crate::tables::Tables;

const BPF_ANY: u64 = 0;
/// `MNT_*` with the `MS_*` that they stand for, where both differ in place.
const ATTRIBUTES: [(u32, u64); 7] = [
    (0x01, 1 << 1),
    (0x02, 1 << 2),
    (0x04, 1 << 3),
    (0x08, 1 << 10),
    (0x10, 1 << 11),
    (0x40, ms::RDONLY),
    (0x80, 1 << 8),
];
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

/// Refuses unless the verdict allows.
#[inline(always)]
fn settle(ctx: &LsmContext, policy: PolicyId, verdict: Verdict, refusal: &Refusal) -> i32 {
    if verdict.allowed() {
        return 0;
    }
    refuse(ctx, policy, verdict, refusal)
}

/// `mount(2)`: everything it can do.
#[lsm(hook = "sb_mount")]
pub fn sb_mount(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 5);
    let flags: u64 = ctx.arg(3);
    let path: *const u8 = ctx.arg(1);
    // SAFETY: the hook's argument is trusted.
    let entry = unsafe { Dentry::of_path(path) };
    // SAFETY: as above.
    let mount: *const u8 = unsafe { load(path, Field::PathMnt) };
    // The walk comes first, so that the verifier follows it once and not for each branch.
    let target = place_of(policy, entry, !is_shared(mount));
    if flags & ms::REMOUNT != 0 {
        return change(&ctx, policy, entry, flags, MountAction::Remount);
    }
    if flags & (ms::BIND | ms::MOVE) == 0 && flags & ms::PROPAGATION != 0 {
        return change(&ctx, policy, entry, flags, MountAction::Propagation);
    }
    let fs_type = if flags & ms::BIND != 0 {
        type_hash(&BIND)
    } else {
        hash_at(ctx.arg(2))
    };
    let request = MountRequest {
        fs_type,
        flags,
        target,
    };
    let refusal = Refusal {
        dentry: entry.0 as u64,
        ino: fs_type,
        detail: flags,
        ..Refusal::of(Hook::SbMount, Action::Mount, Section::Mounts)
    };
    settle(
        &ctx,
        policy,
        decide_mount(&Tables, policy, &request),
        &refusal,
    )
}

/// A remount, or a change of propagation, of the mount whose root is `entry`.
#[inline(always)]
fn change(
    ctx: &LsmContext,
    policy: PolicyId,
    entry: Dentry,
    flags: u64,
    action: MountAction,
) -> i32 {
    let super_block = entry.super_block();
    let (dev, magic, _) = super_identity(super_block);
    let target = Place {
        dev,
        ino: entry.ino(),
        own: made(super_kind_of(policy, super_block)),
    };
    let verdict = match action {
        MountAction::Remount => {
            decide_remount(&Tables, policy, super_type(super_block), flags, target)
        }
        _ => decide_action(&Tables, policy, action, target),
    };
    let refusal = Refusal {
        dentry: entry.0 as u64,
        dev,
        ino: target.ino,
        magic,
        detail: action as u32 as u64,
        ..Refusal::of(Hook::SbMount, Action::MountAction, Section::Mounts)
    };
    settle(ctx, policy, verdict, &refusal)
}

/// Whether the container itself mounted a super block of this kind.
#[inline(always)]
fn made(kind: u32) -> bool {
    kind == super_kind::CONTAINER || kind == super_kind::GRANTED
}

/// Attaching a detached mount: a new super block of the container's own, or a clone of some tree,
/// which is a bind. Of an attached one it is a move.
#[lsm(hook = "move_mount")]
pub fn move_mount(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let to: *const u8 = ctx.arg(1);
    // SAFETY: the hook's argument is trusted.
    let target = unsafe { Dentry::of_path(to) };
    // SAFETY: as above.
    let onto: *const u8 = unsafe { load(to, Field::PathMnt) };
    // The walk comes first, as in `sb_mount`.
    let place = place_of(policy, target, !is_shared(onto));
    let from: *const u8 = ctx.arg(0);
    // SAFETY: as above.
    let root = unsafe { Dentry::of_path(from) };
    let super_block = root.super_block();
    let own = made(super_kind_of(policy, super_block));
    // SAFETY: as above.
    let mount: *const u8 = unsafe { load(from, Field::PathMnt) };
    if in_own_namespace(mount) {
        return moving(&ctx, policy, root, own, place);
    }
    let fs_type = if own {
        super_type(super_block)
    } else {
        type_hash(&BIND)
    };
    let (.., super_flags) = super_identity(super_block);
    // SAFETY: the pointer is a `vfsmount`; `mnt_flags` is an int.
    let flags = ms_flags(unsafe { load(mount, Field::MountFlags) });
    let request = MountRequest {
        fs_type,
        flags: flags | super_flags & ms::SYNCHRONOUS,
        target: place,
    };
    let refusal = Refusal {
        dentry: target.0 as u64,
        ino: fs_type,
        detail: flags,
        ..Refusal::of(Hook::MoveMount, Action::MoveMount, Section::Mounts)
    };
    settle(
        &ctx,
        policy,
        decide_mount(&Tables, policy, &request),
        &refusal,
    )
}

/// Moving an attached mount to a directory of the container's own.
#[inline(always)]
fn moving(ctx: &LsmContext, policy: PolicyId, root: Dentry, own: bool, to: Place) -> i32 {
    let (dev, magic, _) = super_identity(root.super_block());
    let moved = Place {
        dev,
        ino: root.ino(),
        own,
    };
    let mut verdict = decide_action(&Tables, policy, MountAction::Move, moved);
    if verdict.allowed() && !to.own {
        verdict = Verdict::no_grant(ebpf_common::errno::EPERM);
    }
    let refusal = Refusal {
        dentry: root.0 as u64,
        dev,
        ino: moved.ino,
        magic,
        detail: MountAction::Move as u32 as u64,
        ..Refusal::of(Hook::MoveMount, Action::MountAction, Section::Mounts)
    };
    settle(ctx, policy, verdict, &refusal)
}

/// `MS_*` for `MNT_*`, as far as rules name them.
#[inline(always)]
fn ms_flags(flags: u32) -> u64 {
    let mut answer = 0;
    for (bit, meant) in ATTRIBUTES {
        if flags & bit != 0 {
            answer |= meant;
        }
    }
    answer
}

/// `mount`, whose flags `sb_mount` has seen.
const MOUNT: u32 = 165;

/// Reconfiguring a super block, by a context that made it or was picked for it.
#[lsm(hook = "sb_remount")]
pub fn sb_remount(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    if system_call() == MOUNT {
        return 0;
    }
    let super_block: *const u8 = ctx.arg(0);
    let (dev, magic, _) = super_identity(super_block);
    // SAFETY: the hook's argument is trusted.
    let root = Dentry(unsafe { load(super_block, Field::SuperRoot) });
    let target = Place {
        dev,
        ino: root.ino(),
        own: made(super_kind_of(policy, super_block)),
    };
    let verdict = decide_reconfigure(&Tables, policy, super_type(super_block), target);
    let refusal = Refusal {
        dentry: root.0 as u64,
        dev,
        ino: target.ino,
        magic,
        detail: MountAction::Remount as u32 as u64,
        ..Refusal::of(Hook::SbRemount, Action::MountAction, Section::Mounts)
    };
    settle(&ctx, policy, verdict, &refusal)
}

/// Unmounting.
#[lsm(hook = "sb_umount")]
pub fn sb_umount(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let mount: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted.
    let super_block: *const u8 = unsafe { load(mount, Field::MountSuper) };
    // SAFETY: as above.
    let root = Dentry(unsafe { load(mount, Field::MountRoot) });
    let (dev, magic, _) = super_identity(super_block);
    let ino = root.ino();
    let asked = UmountRequest {
        kind: super_kind_of(policy, super_block),
        magic,
        flags: ctx.arg(1),
        root: Place {
            dev,
            ino,
            own: false,
        },
        seen_elsewhere: on_shared(mount),
    };
    let refusal = Refusal {
        dentry: root.0 as u64,
        dev,
        ino,
        magic,
        ..Refusal::of(Hook::SbUmount, Action::Umount, Section::Mounts)
    };
    settle(
        &ctx,
        policy,
        decide_umount(&Tables, policy, &asked),
        &refusal,
    )
}

/// A parameter of a mount that is being prepared, by `mount(2)` or `fsconfig(2)`.
#[lsm(hook = "fs_context_parse_param")]
pub fn fs_context_parse_param(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let context: *const u8 = ctx.arg(0);
    let parameter: *const u8 = ctx.arg(1);
    // SAFETY: the hook's argument is trusted.
    let name = hash_at(unsafe { load(parameter, Field::ParameterKey) });
    // SAFETY: as above.
    let fs_type: *const u8 = unsafe { load(context, Field::ContextType) };
    // SAFETY: the pointer is a `file_system_type`.
    let fs_type = hash_at(unsafe { load(fs_type, Field::TypeName) });
    let source = match is_source(name) {
        // SAFETY: the hook's argument is trusted.
        true => source_at(unsafe { load(parameter, Field::ParameterString) }),
        false => 0,
    };
    let verdict = decide_parameter(&Tables, policy, fs_type, name, source);
    let refusal = Refusal {
        ino: fs_type,
        detail: name,
        ..Refusal::of(
            Hook::FsContextParseParam,
            Action::MountParameter,
            Section::Mounts,
        )
    };
    settle(&ctx, policy, verdict, &refusal)
}

/// [`source_hash`] of a string in kernel memory; 0, which no rule has, if it cannot be read.
#[inline(always)]
fn source_at(source: *const u8) -> u64 {
    let mut bytes = [0u8; SOURCE_MAX];
    // SAFETY: the helper reads any address and reports a fault.
    match unsafe { bpf_probe_read_kernel_str_bytes(source, &mut bytes) } {
        Ok(_) => source_hash(&bytes),
        Err(_) => 0,
    }
}

/// A super block is being made or reused, by any mount API. What the runtime mounts while it sets
/// the container up, and what the container mounts of what nobody else has, is the container's own;
/// over a file system of the host's it has the rights of the line.
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
    let (dev, magic, flags) = super_identity(super_block);
    let own = made_for_container(policy, super_block, magic);
    if subject.state == state::PENDING {
        if own {
            adopt(
                policy,
                super_block,
                super_kind::RUNTIME,
                Rights::ALL,
                NO_RULE,
            );
        }
        return 0;
    }
    let fs_type = super_type(super_block);
    // SAFETY: the hook's argument is trusted; the field is a pointer.
    let below: u64 = unsafe { load(super_block, Field::SuperBdev) };
    let device = (below != 0).then_some(dev);
    let (verdict, found) = decide_super(&Tables, policy, fs_type, device, flags);
    let refusal = Refusal {
        dev,
        ino: fs_type,
        magic,
        ..Refusal::of(Hook::SbKernMount, Action::Mount, Section::Mounts)
    };
    let refused = settle(&ctx, policy, verdict, &refusal);
    if refused == 0 && super_kind_of(policy, super_block) == 0 {
        if own {
            adopt(
                policy,
                super_block,
                super_kind::CONTAINER,
                Rights::ALL,
                NO_RULE,
            );
        } else if let Some(found) = found
            && !found.files.is_empty()
        {
            adopt(
                policy,
                super_block,
                super_kind::GRANTED,
                found.files,
                found.rule,
            );
        }
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

/// Notes a super block. If a map is full the container simply has no rights there: what could not
/// be forgotten again is not noted.
#[inline(always)]
fn adopt(policy: PolicyId, super_block: *const u8, kind: u32, rights: Rights, rule: u32) {
    let (dev, magic, _) = super_identity(super_block);
    let address = super_block as u64;
    let key = SuperKey {
        policy: policy.container(),
        dev,
    };
    let noted = SuperRule {
        kind,
        magic,
        address,
        rights,
        rule,
    };
    if SUPER_OWNERS.insert(&address, &key, BPF_ANY).is_ok() {
        count::adopted(policy, dev);
        let _ = SUPERS.insert(&key, &noted, BPF_ANY);
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
