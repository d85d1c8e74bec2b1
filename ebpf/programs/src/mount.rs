//! Mounts as the kernel knows them: whose super block they show, where they are attached, and who
//! else sees what happens on them.

use ebpf_common::Rights;
use ebpf_common::abi::{NO_RULE, PolicyId, SuperKey};
use ebpf_common::decide::mount::Place;
use ebpf_common::fields::Field;
use ebpf_common::lookup::Lookup;

use crate::field::{load, offset, probe};
use crate::object::{Dentry, rights_at, super_identity};
use crate::subject;
use crate::tables::Tables;

/// `container_of(mount, struct mount, mnt)`: not an address that the verifier follows.
#[inline(always)]
fn outer(mount: *const u8) -> u64 {
    (mount as u64).wrapping_sub(offset(Field::MountVfs) as u64)
}

/// Whether what is mounted on a mount appears on its peers; so it is taken where that cannot be
/// read.
#[inline(always)]
pub(crate) fn is_shared(mount: *const u8) -> bool {
    probe::<u32>(outer(mount), Field::MountGroup) != Some(0)
}

/// Whether taking a mount away would take it away on the peers of what it is attached to.
#[inline(always)]
pub(crate) fn on_shared(mount: *const u8) -> bool {
    let parent: u64 = probe(outer(mount), Field::MountParent).unwrap_or(0);
    parent == 0 || probe::<u32>(parent, Field::MountGroup) != Some(0)
}

/// Whether a mount is attached in the caller's mount namespace: it can only be moved then, or be
/// a detached one.
#[inline(always)]
pub(crate) fn in_own_namespace(mount: *const u8) -> bool {
    let attached: u64 = probe(outer(mount), Field::MountNamespace).unwrap_or(0);
    // SAFETY: `current` is trusted; the field is a pointer.
    let namespaces: u64 = unsafe { load(subject::current(), Field::TaskNsproxy) };
    let own: u64 = probe(namespaces, Field::NamespacesMount).unwrap_or(0);
    attached == own
}

/// A mount point by identity, and whether it is the container's own; `alone`: no mount on it
/// appears elsewhere.
#[inline(always)]
pub(crate) fn place_of(policy: PolicyId, entry: Dentry, alone: bool) -> Place {
    let (effective, object) = rights_at(policy, entry);
    Place {
        dev: object.dev,
        ino: entry.ino(),
        own: alone && effective.rights == Rights::ALL && effective.rule == NO_RULE,
    }
}

/// [`ebpf_common::abi::super_kind`] of a super block; 0 where it is the host's.
#[inline(always)]
pub(crate) fn super_kind_of(policy: PolicyId, super_block: *const u8) -> u32 {
    let (dev, magic, _) = super_identity(super_block);
    match Tables.super_block(SuperKey { policy, dev }) {
        Some(found) if found.is(super_block as u64, magic) => found.kind,
        _ => 0,
    }
}
