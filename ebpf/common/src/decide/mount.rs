//! Mounts: which file system types may be mounted where, and which mounts may be taken away.

use super::{Reason, Verdict};
use crate::abi::{MountKey, NO_RULE, PolicyId};
use crate::errno::EPERM;
use crate::lookup::Lookup;
use crate::magic;

/// `MS_*` flags of `mount(2)` that select another operation than a new mount.
pub mod ms {
    /// `MS_REMOUNT`.
    pub const REMOUNT: u64 = 1 << 5;
    /// `MS_BIND`.
    pub const BIND: u64 = 1 << 12;
    /// `MS_MOVE`.
    pub const MOVE: u64 = 1 << 13;
    /// `MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED`.
    pub const PROPAGATION: u64 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
}

/// A mount or attachment as a hook sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountRequest {
    /// [`crate::abi::type_hash`] of the type, or of `bind`.
    pub fs_type: u64,
    /// `MS_*` flags; 0 where the hook does not see them.
    pub flags: u64,
    /// Whether the flags above are those of the mount, so that required ones can be tested.
    pub flags_known: bool,
    /// The mount point is the container's own.
    pub own_target: bool,
}

/// A mount of a type that a rule names, on a mount point of the container's own.
#[inline(always)]
pub fn decide_mount<L: Lookup>(tables: &L, policy: PolicyId, request: &MountRequest) -> Verdict {
    if request.flags & (ms::REMOUNT | ms::MOVE | ms::PROPAGATION) != 0 {
        return Verdict::no_grant(EPERM);
    }
    let key = MountKey {
        fs_type: request.fs_type,
        policy,
        reserved: 0,
    };
    let Some(found) = tables.mount(key) else {
        return Verdict::no_grant(EPERM);
    };
    let flags_met =
        !request.flags_known || request.flags & found.required_flags == found.required_flags;
    if flags_met && request.own_target {
        Verdict::allow(found.rule)
    } else {
        Verdict::refuse(EPERM, Reason::NotInGrant, found.rule)
    }
}

/// Unmounting: only what the container itself mounted. `container_made` is that; `magic` is the
/// mounted file system's.
#[inline(always)]
pub fn decide_umount(container_made: bool, magic: u32) -> Verdict {
    if magic == magic::BPF_FS {
        return Verdict::refuse(EPERM, Reason::Core, NO_RULE);
    }
    if container_made {
        Verdict::allow(NO_RULE)
    } else {
        Verdict::no_grant(EPERM)
    }
}
