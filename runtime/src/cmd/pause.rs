//! `reeve pause`: stops every task of a container where it is.

use std::path::Path;
use std::process::ExitCode;

use super::Error;
use crate::cgroup;
use crate::spec::ContainerId;
use crate::state::{State, Status};

/// Suspend all processes of a container
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve pause web")]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let state = alive(root, &args.id)?;
    if cgroup::is_frozen(&state.cgroups)? {
        return Err(Error::NotRunning(state.id));
    }
    cgroup::freeze(&state.cgroups)?;
    Ok(ExitCode::SUCCESS)
}

/// The state of a container that has a process.
pub(super) fn alive(root: &Path, id: &ContainerId) -> Result<State, Error> {
    let state = State::load(root, id)?;
    match state.status() {
        Status::Creating | Status::Stopped => Err(Error::NotRunning(state.id)),
        _ => Ok(state),
    }
}
