//! Hooks on names and attributes: create, delete, rename, link, truncate, chmod, chown, xattr.

use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::Rights;
use ebpf_common::abi::{PolicyId, Section, device_class, kernel_dev, split_dev};
use ebpf_common::decide::Verdict;
use ebpf_common::decide::file::decide_node;
use ebpf_common::decide::rename::{Entry, decide_move, decide_rename};
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;

use crate::field::load;
use crate::files::{
    FMODE_CREATED, S_IFBLK, S_IFCHR, Wanted, decide_entry, decide_opened, decide_wanted,
};
use crate::object::{Dentry, rights_at, super_identity};
use crate::report::{Refusal, refuse};
use crate::subject::when_enforced;
use crate::tables::Tables;
use crate::verifier::Forget;

const RENAME_EXCHANGE: u32 = 2;
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
/// `ATTR_*` of `struct iattr` (`include/linux/fs.h`).
const ATTR_SIZE: u32 = 1 << 3;
const ATTR_TIMES: u32 = 1 << 4 | 1 << 5;
const ATTR_TIMES_SET: u32 = 1 << 7 | 1 << 8;

/// Declares a hook whose object is the entry of a `struct path` argument.
macro_rules! on_path {
    ($(#[$doc:meta])* $name:ident = $lsm:tt, $hook:ident,
        $path:literal, $previous:literal, $right:ident) => {
        $(#[$doc])*
        #[lsm(hook = $lsm)]
        pub fn $name(ctx: LsmContext) -> i32 {
            let policy = when_enforced!(ctx, $previous);
            // SAFETY: the hook's argument is trusted.
            let dentry = unsafe { Dentry::of_path(ctx.arg($path)) };
            decide_entry(&ctx, Hook::$hook, policy, dentry, || Rights::$right)
        }
    };
}

/// Declares a hook whose object is a `struct dentry` argument.
macro_rules! on_entry {
    ($(#[$doc:meta])* $name:ident = $lsm:tt, $hook:ident,
        $entry:literal, $previous:literal, $right:ident) => {
        $(#[$doc])*
        #[lsm(hook = $lsm)]
        pub fn $name(ctx: LsmContext) -> i32 {
            let policy = when_enforced!(ctx, $previous);
            decide_entry(&ctx, Hook::$hook, policy, Dentry(ctx.arg($entry)), || Rights::$right)
        }
    };
}

on_path! {
    /// Making a directory: decided by the directory it is made in.
    path_mkdir = "path_mkdir", PathMkdir, 0, 3, CREATE
}
on_path! {
    /// Making a symbolic link.
    path_symlink = "path_symlink", PathSymlink, 0, 3, CREATE
}
on_path! {
    /// Changing permission bits.
    path_chmod = "path_chmod", PathChmod, 0, 2, CHMOD
}
on_path! {
    /// Changing owner or group.
    path_chown = "path_chown", PathChown, 0, 3, CHOWN
}
on_entry! {
    /// Deleting a file.
    path_unlink = "path_unlink", PathUnlink, 1, 2, DELETE
}

/// What every attribute begins with that who may write a file may set.
const USER: [u8; 6] = *b"user.\0";

/// Whether an attribute, by its name in kernel memory, is one of those.
#[inline(always)]
fn users_own(name: *const u8) -> bool {
    let mut start = [0u8; USER.len()];
    // SAFETY: the helper reads any address and reports a fault.
    let read = unsafe { bpf_probe_read_kernel_str_bytes(name, &mut start) };
    read.is_ok() && start == USER
}

/// Decides a change of attributes.
#[inline(always)]
fn decide_attribute(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    dentry: Dentry,
    by_owner: bool,
) -> i32 {
    let wanted = Wanted {
        rights: Rights::XATTR,
        by_owner,
    };
    decide_wanted(ctx, hook, policy, dentry, || wanted)
}

/// Setting an extended attribute.
#[lsm(hook = "inode_setxattr")]
pub fn inode_setxattr(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 6);
    let by_owner = !users_own(ctx.arg(2));
    decide_attribute(
        &ctx,
        Hook::InodeSetxattr,
        policy,
        Dentry(ctx.arg(1)),
        by_owner,
    )
}

/// Removing an extended attribute.
#[lsm(hook = "inode_removexattr")]
pub fn inode_removexattr(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    let by_owner = !users_own(ctx.arg(2));
    decide_attribute(
        &ctx,
        Hook::InodeRemovexattr,
        policy,
        Dentry(ctx.arg(1)),
        by_owner,
    )
}

/// Setting an access control list.
#[lsm(hook = "inode_set_acl")]
pub fn inode_set_acl(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 4);
    decide_attribute(&ctx, Hook::InodeSetAcl, policy, Dentry(ctx.arg(1)), true)
}

/// Removing an access control list.
#[lsm(hook = "inode_remove_acl")]
pub fn inode_remove_acl(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    decide_attribute(&ctx, Hook::InodeRemoveAcl, policy, Dentry(ctx.arg(1)), true)
}

on_entry! {
    /// Setting flags and project of a file.
    inode_file_setattr = "inode_file_setattr", InodeFileSetattr, 0, 2, FLAGS
}

/// Making a file, or a node, fifo or socket.
#[lsm(hook = "path_mknod")]
pub fn path_mknod(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 4);
    let mode: u32 = ctx.arg(2);
    let number: u32 = ctx.arg(3);
    // SAFETY: the hook's argument is trusted.
    let directory = unsafe { Dentry::of_path(ctx.arg(0)) };
    let refused = decide_entry(&ctx, Hook::PathMknod, policy, directory, || {
        match mode & S_IFMT {
            0 | S_IFREG => Rights::CREATE,
            _ => Rights::MKNOD,
        }
    });
    let class = match mode & S_IFMT {
        S_IFCHR => device_class::CHAR,
        S_IFBLK => device_class::BLOCK,
        _ => 0,
    };
    // 0:0 is what overlays put over what they hide, and no device.
    if refused != 0 || class == 0 || number == 0 {
        return refused;
    }
    make_node(&ctx, policy, directory, class, decoded(number))
}

/// `new_decode_dev`: what `mknod(2)` takes, as `dev_t`.
#[inline(always)]
fn decoded(number: u32) -> u32 {
    kernel_dev(
        (number & 0xf_ff00) >> 8,
        number & 0xff | (number >> 12) & 0xf_ff00,
    )
}

/// A device node where users of the host may find it, by its number.
#[inline(always)]
fn make_node(ctx: &LsmContext, policy: PolicyId, directory: Dentry, class: u32, rdev: u32) -> i32 {
    let (effective, object) = rights_at(policy, directory);
    if effective.is_own() {
        return 0;
    }
    let verdict = decide_node(&Tables, policy, class, split_dev(rdev));
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: Rights::MKNOD,
        dentry: directory.0 as u64,
        dev: object.dev,
        ino: directory.ino(),
        magic: object.magic,
        detail: u64::from(class) << 32 | u64::from(rdev),
        ..Refusal::of(Hook::PathMknod, Action::MakeDevice, Section::Devices)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Setting times. The hook sees every change of attributes; the others have hooks of their own.
#[inline(always)]
fn set_times(ctx: &LsmContext, policy: PolicyId, dentry: Dentry, attributes: *const u8) -> i32 {
    // SAFETY: the callers hand in the hook's argument, which is trusted; the field is 32 bits.
    let valid: u32 = unsafe { load(attributes, Field::AttrValid) };
    // Cutting a file changes its times by itself.
    if valid & ATTR_TIMES == 0 || valid & ATTR_SIZE != 0 {
        return 0;
    }
    let (effective, object) = rights_at(policy, dentry);
    let verdict = effective.decide_times(valid & ATTR_TIMES_SET == 0);
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: Rights::TIMES,
        dentry: dentry.0 as u64,
        dev: object.dev,
        ino: dentry.ino(),
        magic: object.magic,
        ..Refusal::of(Hook::InodeSetattr, Action::File, Section::Files)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Setting times, where the hook is told of id-mapped mounts.
#[lsm(hook = "inode_setattr")]
pub fn inode_setattr(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    set_times(&ctx, policy, Dentry(ctx.arg(1)), ctx.arg(2))
}

/// The same, of earlier kernels.
#[lsm(hook = "inode_setattr")]
pub fn inode_setattr_of_two(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    set_times(&ctx, policy, Dentry(ctx.arg(0)), ctx.arg(1))
}

/// Cutting a file by path; on 6.1 by descriptor too.
#[lsm(hook = "path_truncate")]
pub fn path_truncate(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 1);
    // SAFETY: the hook's argument is trusted.
    let dentry = unsafe { Dentry::of_path(ctx.arg(0)) };
    decide_opened(&ctx, Hook::PathTruncate, policy, dentry, || {
        Rights::TRUNCATE
    })
}

/// Cutting a file by descriptor; the one that made the file may.
#[lsm(hook = "file_truncate")]
pub fn file_truncate(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 1);
    let file: *const u8 = ctx.arg(0);
    // SAFETY: the hook's argument is trusted; `f_mode` is 32 bits.
    let created = unsafe { load::<u32>(file, Field::FileMode) } & FMODE_CREATED != 0;
    // SAFETY: as above.
    let dentry = unsafe { Dentry::of_file(file) };
    decide_opened(&ctx, Hook::FileTruncate, policy, dentry, || {
        if created {
            Rights::CREATE
        } else {
            Rights::TRUNCATE
        }
    })
}

/// Deleting a directory: as an object, and as an entry of the directory above. A grant on a
/// directory is for what is in it, not for its own place.
#[lsm(hook = "path_rmdir")]
pub fn path_rmdir(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let directory = Dentry(ctx.arg(1));
    match decide_entry(&ctx, Hook::PathRmdir, policy, directory, || Rights::DELETE) {
        0 => decide_entry(&ctx, Hook::PathRmdir, policy, directory.parent(), || {
            Rights::DELETE
        }),
        refused => refused,
    }
}

/// Refuses a move or link of the object at `dentry`.
#[inline(always)]
fn refuse_move(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    dentry: Dentry,
    want: Rights,
    verdict: Verdict,
) -> i32 {
    let refusal = Refusal {
        rights: want,
        dentry: dentry.0 as u64,
        ino: dentry.ino(),
        dev: super_identity(dentry.super_block()).0,
        ..Refusal::of(hook, Action::File, Section::Files)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Giving a file another name.
#[lsm(hook = "path_link")]
pub fn path_link(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    let object = Dentry(ctx.arg(0));
    // SAFETY: the hook's argument is trusted.
    let directory = unsafe { Dentry::of_path(ctx.arg(1)) };
    let (old, _) = rights_at(policy, object);
    let (new, _) = rights_at(policy, directory);
    let verdict = decide_move(Rights::LINK, old, new);
    if verdict.allowed() {
        return 0;
    }
    refuse_move(&ctx, Hook::PathLink, policy, object, Rights::LINK, verdict)
}

/// Renaming, both ways for an exchange; what is replaced is deleted.
#[lsm(hook = "path_rename")]
pub fn path_rename(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 5);
    let flags: u32 = ctx.arg(4);
    let (old, new) = (Dentry(ctx.arg(1)), Dentry(ctx.arg(3)));
    // SAFETY: the hook's arguments are trusted.
    let directories = unsafe { (Dentry::of_path(ctx.arg(0)), Dentry::of_path(ctx.arg(2))) };
    let decided = decide_rename(
        &entry(policy, old, directories.0),
        &entry(policy, new, directories.1),
        flags & RENAME_EXCHANGE != 0,
    );
    if decided.verdict.allowed() {
        return 0;
    }
    let object = if decided.of_new { new } else { old };
    let (want, verdict) = (decided.want.forget(), decided.verdict.forget());
    refuse_move(&ctx, Hook::PathRename, policy, object, want, verdict)
}

/// One of the entries of a rename.
#[inline(always)]
fn entry(policy: PolicyId, dentry: Dentry, directory: Dentry) -> Entry {
    let inode = dentry.inode();
    let (object, _) = rights_at(policy, dentry);
    let (directory, _) = rights_at(policy, directory);
    // SAFETY: the pointer is an inode if it is not null; `i_mode` is 16 bits.
    let mode = match inode.is_null() {
        true => 0,
        false => u32::from(unsafe { load::<u16>(inode, Field::InodeMode) }),
    };
    Entry {
        object,
        directory,
        mode: mode.forget(),
    }
}
