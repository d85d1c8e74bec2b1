//! `reeve start`: starts the entry process of a container that was created.

use std::path::Path;
use std::process::ExitCode;

use super::Error;
use crate::launch;
use crate::spec::ContainerId;

/// Start the entry process of a container that `reeve create` made
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve start web")]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    launch::start(root, &args.id)?;
    Ok(ExitCode::SUCCESS)
}
