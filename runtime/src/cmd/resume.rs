//! `reeve resume`: lets the tasks of a paused container go on.

use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::pause::alive;
use crate::cgroup;
use crate::spec::ContainerId;

/// Resume all processes of a container that is paused
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve resume web")]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let state = alive(root, &args.id)?;
    if !cgroup::is_frozen(&state.cgroups)? {
        return Err(Error::NotPaused(state.id));
    }
    cgroup::thaw(&state.cgroups)?;
    Ok(ExitCode::SUCCESS)
}
