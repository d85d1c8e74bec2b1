//! `reeve delete`: removes what is left of a container.

use std::path::Path;
use std::process::ExitCode;

use ebpf_common::PolicyId;
use ebpf_loader::Enforcer;

use super::Error;
use crate::audit;
use crate::hooks::{self, HookState, Place};
use crate::launch::withdraw;
use crate::spec::{ContainerId, Hook};
use crate::state::{self, State, Status};

/// Remove a container that has ended, or was created and not started
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve delete web
  reeve delete --force web              # kills what runs in it first")]
pub struct Args {
    /// Kill it first if it runs
    #[arg(short, long)]
    force: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let state = match State::load(root, &args.id) {
        Err(state::Error::Unknown(_)) if args.force => return remove_halfway(args, root),
        state => state?,
    };
    match state.status() {
        Status::Stopped | Status::Created => {}
        Status::Running | Status::Paused if args.force => {}
        // The `reeve` that makes it would go on with what is taken away here.
        status => return Err(state::Error::Alive(state.id, status).into()),
    }
    // Read before it goes. Without it there are no hooks, and the container goes all the same.
    let hooks = poststop_hooks(&state, root);
    // Processes first, and the policy only after the last of them.
    state.cgroups.destroy()?;
    if let Some(groups) = &state.rdt {
        groups.remove()?;
    }
    if let Some(policy) = &state.policy
        && let Some(enforcer) = Enforcer::open()?
    {
        // Numbers start again with each load: an old state may hold one that is another's by now.
        let number = PolicyId(policy.id);
        if audit::owner(root, number).is_none_or(|owner| owner == args.id.as_str()) {
            withdraw(root, &enforcer, number);
        }
        enforcer.unload_if_unused()?;
    }
    state.remove(root)?;
    let (id, oci_version) = (state.id.as_str(), state.oci_version.as_str());
    let about = HookState {
        oci_version,
        id,
        status: Status::Stopped.word(),
        pid: None,
        bundle: &state.bundle,
        annotations: &state.annotations,
    };
    let place = Place {
        directory: &state.bundle,
        inside: None,
    };
    hooks::run_and_warn("poststop", &hooks, &about, place);
    Ok(ExitCode::SUCCESS)
}

fn poststop_hooks(state: &State, root: &Path) -> Vec<Hook> {
    let spec = state.spec(root);
    spec.map(|spec| spec.hooks.poststop).unwrap_or_default()
}

/// A directory without a state file: `reeve run` was killed before it had made a process.
fn remove_halfway(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let path = root.join(&args.id);
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        result => result.map_err(|source| Error::File {
            operation: "rmdir",
            path,
            source,
        })?,
    }
    Ok(ExitCode::SUCCESS)
}
