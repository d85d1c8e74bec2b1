//! Hooks on names and attributes: create, delete, rename, link, truncate, chmod, chown, xattr.

use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::Rights;
use ebpf_common::abi::{PolicyId, Section};
use ebpf_common::decide::Verdict;
use ebpf_common::decide::file::decide_move;
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;

use crate::field::load;
use crate::files::{Wanted, decide_entry, decide_wanted};
use crate::object::{Dentry, rights_at};
use crate::report::{Refusal, refuse};
use crate::subject::when_enforced;

const FMODE_CREATED: u32 = 1 << 20;
const RENAME_EXCHANGE: u32 = 2;
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

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
    /// Cutting a file by path; on 6.1 by descriptor too.
    path_truncate = "path_truncate", PathTruncate, 0, 1, TRUNCATE
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
    decide_attribute(&ctx, Hook::InodeSetxattr, policy, Dentry(ctx.arg(1)), by_owner)
}

/// Removing an extended attribute.
#[lsm(hook = "inode_removexattr")]
pub fn inode_removexattr(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    let by_owner = !users_own(ctx.arg(2));
    decide_attribute(&ctx, Hook::InodeRemovexattr, policy, Dentry(ctx.arg(1)), by_owner)
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

/// Making a file, or a node, fifo or socket.
#[lsm(hook = "path_mknod")]
pub fn path_mknod(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 4);
    let mode: u32 = ctx.arg(2);
    // SAFETY: the hook's argument is trusted.
    let directory = unsafe { Dentry::of_path(ctx.arg(0)) };
    decide_entry(&ctx, Hook::PathMknod, policy, directory, || {
        match mode & S_IFMT {
            0 | S_IFREG => Rights::CREATE,
            _ => Rights::MKNOD,
        }
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
    decide_entry(&ctx, Hook::FileTruncate, policy, dentry, || {
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

/// Refuses a move or link if the verdict says so; the path reported is the object's.
#[inline(always)]
fn settle(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    dentry: Dentry,
    want: Rights,
    verdict: Verdict,
) -> i32 {
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: want,
        dentry: dentry.0 as u64,
        ino: dentry.ino(),
        dev: crate::object::super_identity(dentry.super_block()).0,
        ..Refusal::of(hook, Action::File, Section::Files)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Moves or links `object` into `directory`.
#[inline(always)]
fn place(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    object: Dentry,
    directory: Dentry,
    needed: Rights,
) -> i32 {
    let (old, _) = rights_at(policy, object);
    let (new, _) = rights_at(policy, directory);
    settle(
        ctx,
        hook,
        policy,
        object,
        needed,
        decide_move(needed, old, new),
    )
}

/// Giving a file another name.
#[lsm(hook = "path_link")]
pub fn path_link(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    // SAFETY: the hook's argument is trusted.
    let directory = unsafe { Dentry::of_path(ctx.arg(1)) };
    place(
        &ctx,
        Hook::PathLink,
        policy,
        Dentry(ctx.arg(0)),
        directory,
        Rights::LINK,
    )
}

/// Renaming, both ways for an exchange; what is replaced is deleted.
#[lsm(hook = "path_rename")]
pub fn path_rename(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 5);
    let (old, new) = (Dentry(ctx.arg(1)), Dentry(ctx.arg(3)));
    let flags: u32 = ctx.arg(4);
    // SAFETY: the hook's argument is trusted.
    let new_directory = unsafe { Dentry::of_path(ctx.arg(2)) };
    let refused = place(
        &ctx,
        Hook::PathRename,
        policy,
        old,
        new_directory,
        Rights::RENAME,
    );
    if refused != 0 || new.inode().is_null() {
        return refused;
    }
    if flags & RENAME_EXCHANGE == 0 {
        return decide_entry(&ctx, Hook::PathRename, policy, new, || Rights::DELETE);
    }
    // SAFETY: the hook's argument is trusted.
    let old_directory = unsafe { Dentry::of_path(ctx.arg(0)) };
    place(
        &ctx,
        Hook::PathRename,
        policy,
        new,
        old_directory,
        Rights::RENAME,
    )
}
