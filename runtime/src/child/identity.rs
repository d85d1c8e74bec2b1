//! User, groups and capabilities.
//!
//! Set with rustix rather than the `caps` crate: that one answers errors as text without the errno,
//! and changes one set a call where the kernel takes three at once.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::failure::{Called, Failure};
use crate::spec::{Capabilities, CapabilityNames, UserIds};

/// Becomes the user of the entry process with its capabilities. The bounding set shrinks first,
/// while the capability to do so is there; the sets are written last, since a change of user ids
/// empties them.
pub(super) fn assume(user: &UserIds, capabilities: &Capabilities) -> Result<(), Failure> {
    bound(capabilities.bounding)?;
    set_keep_capabilities(true).called(|| "prctl(PR_SET_KEEPCAPS, 1)")?;
    set_groups(&user.additional_gids)?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid).called(|| format!("setresgid({})", user.gid))?;
    set_thread_res_uid(uid, uid, uid).called(|| format!("setresuid({})", user.uid))?;
    set_keep_capabilities(false).called(|| "prctl(PR_SET_KEEPCAPS, 0)")?;
    let sets = CapabilitySets {
        effective: capabilities.effective,
        permitted: capabilities.permitted,
        inheritable: capabilities.inheritable,
    };
    set_capabilities(None, sets).called(|| {
        let permitted = CapabilityNames(capabilities.permitted);
        format!("capset(permitted {permitted})")
    })?;
    clear_ambient_capability_set().called(|| "prctl(PR_CAP_AMBIENT_CLEAR_ALL)")?;
    for (name, one) in capabilities.possible_ambient().iter_names() {
        configure_capability_in_ambient_set(one, true)
            .called(|| format!("prctl(PR_CAP_AMBIENT_RAISE, CAP_{name})"))?;
    }
    Ok(())
}

/// Gives up the caller's supplementary groups for those of the user. In a user namespace with
/// `deny` in `setgroups` (user_namespaces(7)) nobody may, and who wants none keeps those that the
/// kernel has let nobody give up; who lacks the capability does not.
fn set_groups(gids: &[u32]) -> Result<(), Failure> {
    let groups: Vec<_> = gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match set_thread_groups(&groups) {
        Err(Errno::PERM) if groups.is_empty() && may_set_groups()? => Ok(()),
        result => result.called(|| format!("setgroups({gids:?})")),
    }
}

fn may_set_groups() -> Result<bool, Failure> {
    let held = rustix::thread::capabilities(None).called(|| "capget()")?;
    Ok(held.effective.contains(CapabilitySet::SETGID))
}

/// Drops every capability but those of `keep` from the bounding set, also those that are newer than
/// this program.
fn bound(keep: CapabilitySet) -> Result<(), Failure> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !keep.contains(one) => remove_capability_from_bounding_set(one)
                .called(|| format!("prctl(PR_CAPBSET_DROP, {number})"))?,
            Ok(_) => {}
            // Past the last one that the kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => {
                let call = format!("prctl(PR_CAPBSET_READ, {number})");
                return Err(Failure::new(call, errno));
            }
        }
    }
    Ok(())
}
