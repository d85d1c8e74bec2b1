//! `reeve policy update`: another policy for a container that lives, in one step.
//!
//! The new tables are written beside the old ones, under the container's next number; then the
//! kernel side is told, by setting one element, which number is in force. A decision looks that up
//! once, so it is by the old policy or by the new one. The old tables go when no decision by them
//! is under way any more.
//!
//! Killed at any moment, this leaves the old policy in force or the new one. What else it leaves is
//! in the register of policies, by which the next update, or the end of the container, clears it
//! away.

use std::path::Path;

use ebpf_common::PolicyId;
use ebpf_common::abi::{NO_RULE, file_flags, kernel};
use ebpf_loader::Enforcer;
use policy::{Compiled, Tables};

use super::enforcement::{GivenPolicy, Private, compile};
use super::{Error, NoPolicyAsked};
use crate::audit;
use crate::spec::ContainerId;
use crate::state::{PolicyState, State, Status};

/// Replaces the policy of a container that lives.
///
/// # Errors
/// It has none or does not live, the policy is not good, its root file system is not what it was,
/// or a full map; the old policy stays in force then.
pub fn replace(root: &Path, id: &ContainerId, given: GivenPolicy) -> Result<(), Error> {
    let state = State::load(root, id)?;
    let status = state.status();
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        let id = id.clone();
        return Err(Error::NotLiving { id, status });
    }
    if NoPolicyAsked::of_state(&state).is_some() {
        return Err(Error::NoPolicyToReplace(id.clone()));
    }
    let enforcer = Enforcer::open()?.ok_or(Error::PolicyMissing)?;
    // Whoever takes the container's policy away waits for this, and this for him.
    let _lock = enforcer.lock()?;
    let mut state = State::load(root, id)?;
    let now = state.policy.take().ok_or(Error::PolicyMissing)?;
    let container = PolicyId(now.id).container();
    if audit::owner(root, container).is_none_or(|owner| owner != id.as_str()) {
        return Err(Error::PolicyMissing);
    }
    let old = enforcer.in_force(container)?.ok_or(Error::PolicyMissing)?;
    let compiled = compile_beside(root, &state, &now.compiled.tables, &given)?;
    forget_others(root, &enforcer, old)?;
    let new = old.next();
    audit::register(root, new, id.as_str(), &compiled)?;
    if let Err(error) = enforcer.stage(new, &compiled.tables) {
        audit::unregister_one(root, new)?;
        return Err(error.into());
    }
    enforcer.switch(new)?;
    state.policy = Some(PolicyState {
        id: new.0,
        path: given.path,
        compiled,
    });
    state.save(root)?;
    if let Err(error) = clear_away(root, &enforcer, new) {
        tracing::warn!(%error, "the old policy is not in force, and not all of it is gone");
    }
    Ok(())
}

/// Clears the old policy away. What fails here the next update does, or the container's end.
fn clear_away(root: &Path, enforcer: &Enforcer, kept: PolicyId) -> Result<(), Error> {
    enforcer.wait_for_decisions()?;
    // Events by the old policy are named by its lines.
    audit::drain(root)?;
    forget_others(root, enforcer, kept)
}

/// Compiles the policy for the container as it was made.
fn compile_beside(
    root: &Path,
    state: &State,
    old: &Tables,
    given: &GivenPolicy,
) -> Result<Compiled, Error> {
    let private = Private {
        pid: old.header.kernel & kernel::PRIVATE_PID != 0,
        ipc: old.header.kernel & kernel::PRIVATE_IPC != 0,
        net: old.header.kernel & kernel::PRIVATE_NET != 0,
    };
    let compiled = compile(root, &state.rootfs, private, &given.policy)?;
    let new = &compiled.tables;
    let overlay = (old.header.kernel ^ new.header.kernel) & kernel::OVERLAY_ROOT;
    if overlay != 0 || new.supers != old.supers || own(new) != own(old) {
        return Err(Error::RootMoved(state.rootfs.clone()));
    }
    Ok(compiled)
}

/// What tables say of the root file system.
fn own(tables: &Tables) -> Vec<(policy::Inode, u32)> {
    let own = file_flags::OWN | file_flags::BACKING;
    let rules = tables.files.iter();
    let rules = rules.filter(|(_, rule)| rule.flags & own != 0 && rule.rule == NO_RULE);
    rules.map(|(inode, rule)| (*inode, rule.flags)).collect()
}

/// Clears away every policy of the container but one.
fn forget_others(root: &Path, enforcer: &Enforcer, kept: PolicyId) -> Result<(), Error> {
    for (number, compiled) in audit::generations(root, kept) {
        if number.0 != kept.0 {
            enforcer.erase(number, &compiled.tables)?;
            audit::unregister_one(root, number)?;
        }
    }
    Ok(())
}
