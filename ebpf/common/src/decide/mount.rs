//! Mounts: which file system types may be mounted from where and on what, and what may be done to
//! mounts.

use super::{Reason, Verdict};
use crate::abi::{MountKey, MountRule, NO_RULE, PolicyHeader, PolicyId, mount_scope, narrowed};
use crate::abi::{const_type_hash, super_kind};
use crate::errno::EPERM;
use crate::lookup::Lookup;
use crate::magic;

/// `MS_*` flags of `mount(2)` that select another operation than a new mount, or are seen on super
/// blocks too.
pub mod ms {
    /// `MS_RDONLY`, of the mount and of the super block.
    pub const RDONLY: u64 = 1;
    /// `MS_SYNCHRONOUS`, of the super block.
    pub const SYNCHRONOUS: u64 = 1 << 4;
    /// `MS_REMOUNT`.
    pub const REMOUNT: u64 = 1 << 5;
    /// `MS_BIND`.
    pub const BIND: u64 = 1 << 12;
    /// `MS_MOVE`.
    pub const MOVE: u64 = 1 << 13;
    /// `MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED`.
    pub const PROPAGATION: u64 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
}

/// `MNT_FORCE` of `umount2(2)`.
pub const MNT_FORCE: u32 = 1;

/// What may be done to mounts beside making them; the names are the words of the language.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MountAction {
    /// Change the flags of a mount or of its super block.
    Remount = 0,
    /// Move a mount.
    Move = 1,
    /// Make a mount shared, private, slave or unbindable.
    Propagation = 2,
    /// Unmount what the container did not mount.
    Umount = 3,
    /// Change the root mount.
    PivotRoot = 4,
    /// Change the root directory of a process.
    Chroot = 5,
    /// Clone a tree as a detached mount.
    OpenTree = 6,
    /// Change attributes of a mount; which, no hook sees.
    MountSetattr = 7,
}

impl MountAction {
    /// Every action with its name, in order of its number.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("remount", Self::Remount),
        ("move", Self::Move),
        ("propagation", Self::Propagation),
        ("umount", Self::Umount),
        ("pivot_root", Self::PivotRoot),
        ("chroot", Self::Chroot),
        ("open_tree", Self::OpenTree),
        ("mount_setattr", Self::MountSetattr),
    ];

    /// Whether hooks see which mount it is about.
    pub const fn has_target(self) -> bool {
        matches!(
            self,
            Self::Remount | Self::Move | Self::Propagation | Self::Umount
        )
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// A directory or the root of a mount, by identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Device of its super block, in the kernel's encoding.
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
    /// The container's own: for a mount point, and no mount on it shows in another namespace; for
    /// a mount, the container made its super block.
    pub own: bool,
}

/// A mount or attachment as a hook sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountRequest {
    /// [`crate::abi::type_hash`] of the type, or of `bind`.
    pub fs_type: u64,
    /// `MS_*` flags.
    pub flags: u64,
    /// The mount point.
    pub target: Place,
}

#[inline(always)]
fn of_type<L: Lookup>(tables: &L, policy: PolicyId, fs_type: u64) -> Option<MountRule> {
    in_scope(tables, policy, fs_type, mount_scope::TYPE, 0, 0)
}

#[inline(always)]
fn in_scope<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    fs_type: u64,
    scope: u32,
    dev: u32,
    object: u64,
) -> Option<MountRule> {
    tables.mount(MountKey {
        fs_type,
        object,
        policy,
        dev,
        scope,
        reserved: 0,
    })
}

/// A mount of a type that a rule names, with its flags, on a mount point that the rule names or
/// that is the container's own.
#[inline(always)]
pub fn decide_mount<L: Lookup>(tables: &L, policy: PolicyId, request: &MountRequest) -> Verdict {
    if request.flags & (ms::REMOUNT | ms::MOVE | ms::PROPAGATION) != 0 {
        return Verdict::no_grant(EPERM);
    }
    let Some(found) = of_type(tables, policy, request.fs_type) else {
        return Verdict::no_grant(EPERM);
    };
    let Place { dev, ino, own } = request.target;
    let placed = match found.narrowed & narrowed::TARGET {
        0 => own,
        _ => in_scope(
            tables,
            policy,
            request.fs_type,
            mount_scope::TARGET,
            dev,
            ino,
        )
        .is_some(),
    };
    if placed && request.flags & found.required_flags == found.required_flags {
        Verdict::allow(found.rule)
    } else {
        Verdict::refuse(EPERM, Reason::NotInGrant, found.rule)
    }
}

/// The super block of a new mount: of a type that a rule names, on a block device that it names
/// (`device` is `None` where there is none below), read-only and synchronous where it says so.
/// With the verdict comes the rule.
#[inline(always)]
pub fn decide_super<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    fs_type: u64,
    device: Option<u32>,
    super_flags: u64,
) -> (Verdict, Option<MountRule>) {
    let Some(found) = of_type(tables, policy, fs_type) else {
        return (Verdict::no_grant(EPERM), None);
    };
    let scope = mount_scope::DEVICE;
    let named = found.narrowed & narrowed::DEVICE == 0
        || device.is_some_and(|dev| in_scope(tables, policy, fs_type, scope, dev, 0).is_some());
    let required = found.required_flags & (ms::RDONLY | ms::SYNCHRONOUS);
    if named && super_flags & required == required {
        (Verdict::allow(found.rule), Some(found))
    } else {
        let refused = Verdict::refuse(EPERM, Reason::NotInGrant, found.rule);
        (refused, None)
    }
}

/// Parameters that have a file system open a block device beside its source: `journal_dev`,
/// `journal_path` (ext4), `logdev`, `rtdev` (xfs).
#[inline(always)]
fn names_device(parameter: u64) -> bool {
    // Constants: the function is evaluated by the compiler.
    const NAMES: [u64; 4] = [
        const_type_hash(b"journal_dev"),
        const_type_hash(b"journal_path"),
        const_type_hash(b"logdev"),
        const_type_hash(b"rtdev"),
    ];
    parameter == NAMES[0] || parameter == NAMES[1] || parameter == NAMES[2] || parameter == NAMES[3]
}

/// The hash of `source`.
const SOURCE: u64 = const_type_hash(b"source");

/// Whether the value of a parameter of this name is looked at.
#[inline(always)]
pub fn is_source(parameter: u64) -> bool {
    parameter == SOURCE
}

/// A parameter of a mount, by the hashes of its name and, for the source, of its value.
#[inline(always)]
pub fn decide_parameter<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    fs_type: u64,
    parameter: u64,
    source: u64,
) -> Verdict {
    let about_source = is_source(parameter);
    if !about_source && !names_device(parameter) {
        return Verdict::allow(NO_RULE);
    }
    // The super block may come to be of another type (`nfs` of `nfs4`).
    let Some(found) = of_type(tables, policy, fs_type) else {
        return Verdict::no_grant(EPERM);
    };
    let scope = mount_scope::SOURCE;
    let allowed = match about_source {
        true => {
            found.narrowed & narrowed::SOURCE == 0
                || in_scope(tables, policy, fs_type, scope, 0, source).is_some()
        }
        false => found.narrowed & narrowed::DEVICE == 0,
    };
    if allowed {
        Verdict::allow(found.rule)
    } else {
        Verdict::refuse(EPERM, Reason::NotInGrant, found.rule)
    }
}

/// `fsmount(2)`: the mount must have the attributes that any line wants, as its type is not seen.
#[inline(always)]
pub fn decide_attributes(header: &PolicyHeader, attributes: u32) -> Verdict {
    let required = header.attach_attributes;
    if attributes & required == required {
        Verdict::allow(NO_RULE)
    } else {
        Verdict::refuse(EPERM, Reason::NotInGrant, NO_RULE)
    }
}

/// An action on the mount whose root is `target`: named by a rule, or granted without a target and
/// the container's own.
#[inline(always)]
pub fn decide_action<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    action: MountAction,
    target: Place,
) -> Verdict {
    let (number, scope) = (action as u32 as u64, mount_scope::ACTION);
    if let Some(found) = in_scope(tables, policy, number, scope, target.dev, target.ino) {
        return Verdict::allow(found.rule);
    }
    match in_scope(tables, policy, number, scope, 0, 0) {
        Some(found) if target.own => Verdict::allow(found.rule),
        Some(found) => Verdict::refuse(EPERM, Reason::NotInGrant, found.rule),
        None => Verdict::no_grant(EPERM),
    }
}

/// A remount, which must also keep the flags that the line of the type requires.
#[inline(always)]
pub fn decide_remount<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    fs_type: u64,
    flags: u64,
    target: Place,
) -> Verdict {
    let verdict = decide_action(tables, policy, MountAction::Remount, target);
    match of_type(tables, policy, fs_type) {
        Some(found)
            if verdict.allowed() && flags & found.required_flags != found.required_flags =>
        {
            Verdict::refuse(EPERM, Reason::NotInGrant, found.rule)
        }
        _ => verdict,
    }
}

/// Reconfiguring a super block by `fsconfig(2)`, whose new flags are not seen: as a remount with
/// none, as far as a super block has them.
#[inline(always)]
pub fn decide_reconfigure<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    fs_type: u64,
    target: Place,
) -> Verdict {
    let verdict = decide_action(tables, policy, MountAction::Remount, target);
    match of_type(tables, policy, fs_type) {
        Some(found)
            if verdict.allowed() && found.required_flags & (ms::RDONLY | ms::SYNCHRONOUS) != 0 =>
        {
            Verdict::refuse(EPERM, Reason::NotInGrant, found.rule)
        }
        _ => verdict,
    }
}

/// Unmounting, as a hook sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UmountRequest {
    /// [`super_kind`] of the mounted super block; 0 where it is the host's.
    pub kind: u32,
    /// Magic of the mounted super block.
    pub magic: u32,
    /// Flags of `umount2(2)`.
    pub flags: u32,
    /// The root of the mount.
    pub root: Place,
    /// The unmount would happen in other mount namespaces, too.
    pub seen_elsewhere: bool,
}

/// Unmounting: what the container itself mounted, where nobody else sees it, and what a rule
/// names. Never by force but where the file system is in memory: it would end the requests of
/// others.
#[inline(always)]
pub fn decide_umount<L: Lookup>(tables: &L, policy: PolicyId, asked: &UmountRequest) -> Verdict {
    if asked.magic == magic::BPF_FS {
        return Verdict::refuse(EPERM, Reason::Core, NO_RULE);
    }
    if asked.flags & MNT_FORCE != 0 && asked.kind != super_kind::CONTAINER {
        return Verdict::no_grant(EPERM);
    }
    let made = matches!(asked.kind, super_kind::CONTAINER | super_kind::GRANTED);
    if made && !asked.seen_elsewhere {
        return Verdict::allow(NO_RULE);
    }
    let root = Place {
        own: false,
        ..asked.root
    };
    decide_action(tables, policy, MountAction::Umount, root)
}
