//! `reeve start`: lets the entry process of a container that was created begin.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use ebpf_common::PolicyId;
use ebpf_loader::Enforcer;
use rustix::io::Errno;

use super::conversation::{listen, tell_agent};
use super::{Confinement, Error, NoPolicyAsked};
use crate::cgroup::{self, V1Groups};
use crate::channel::{Message, ParentEnd};
use crate::hooks::{self, HookState, Place};
use crate::spec::ContainerId;
use crate::state::{State, Status};

/// Starts a container, and runs its `poststart` hooks.
///
/// # Errors
/// It does not wait to be started, its policy is not in force any more, or its program cannot be
/// executed; in the last case it has stopped.
pub fn start(root: &Path, id: &ContainerId) -> Result<(), Error> {
    let state = State::load(root, id)?;
    let refuse = |status| {
        let id = id.clone();
        Err(Error::NotCreated { id, status })
    };
    let status = state.status();
    let process = match (status, state.process) {
        (Status::Created, Some(process)) => process,
        _ => return refuse(status),
    };
    let Some(pidfd) = process.open()? else {
        return refuse(Status::Stopped);
    };
    let spec = state.spec(root)?;
    let confinement = confinement(&state, pidfd.as_fd())?;
    let dir = state.open_dir(root)?;
    let channel = match ParentEnd::connect(dir.as_fd()) {
        // Somebody else was faster.
        Err(failure) if failure.is(Errno::CONNREFUSED) => return refuse(state.status()),
        channel => channel?,
    };
    channel.go(confinement, &V1Groups::default())?;
    match channel.receive()? {
        Some(Message::Begun) => {}
        _ => return refuse(state.status()),
    }
    let about = |status| HookState {
        oci_version: &state.oci_version,
        id: state.id.as_str(),
        status,
        pid: Some(process.pid),
        bundle: &state.bundle,
        annotations: &state.annotations,
    };
    let agent = spec.seccomp.and_then(|seccomp| seccomp.listener);
    let notify = |listener| tell_agent(agent.as_ref(), &listener, &about(Status::Created.word()));
    listen(&channel, || Ok(()), notify)?;
    let place = Place {
        directory: &state.bundle,
        container: None,
    };
    let running = about(Status::Running.word());
    let done = hooks::run_all("poststart", &spec.hooks.poststart, &running, place);
    if done.is_err() {
        // The container is to end; what is left of it is for `reeve delete`.
        cgroup::kill_all(&state.cgroups)?;
    }
    Ok(done?)
}

/// Makes sure that a process that was put under its policy earlier still is, and that the policy is
/// in force.
fn confinement(state: &State, pidfd: BorrowedFd<'_>) -> Result<Confinement, Error> {
    match (&state.policy, NoPolicyAsked::of_state(state)) {
        (_, Some(none)) => Ok(Confinement::None(none)),
        (Some(policy), None) => {
            let enforcer = Enforcer::open()?.ok_or(Error::PolicyMissing)?;
            let attached = enforcer.confirm(PolicyId(policy.id), pidfd)?;
            Ok(Confinement::Policy(attached))
        }
        (None, None) => Err(Error::PolicyMissing),
    }
}
