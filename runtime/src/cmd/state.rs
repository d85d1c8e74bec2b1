//! `reeve state`: a container's state as the OCI runtime specification prints it.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::Error;
use super::say;
use crate::spec::ContainerId;
use crate::state::{State, Status};

/// Version of the OCI runtime specification that the output follows.
const OCI_VERSION: &str = "1.2.0";

/// Print the state of a container as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let state = State::load(root, &args.id)?;
    let status = state.status();
    let process = state.process.filter(|_| status != Status::Stopped);
    let pid = process.map_or(0, |process| process.pid);
    let value = json!({
        "ociVersion": OCI_VERSION,
        "id": state.id,
        "status": status.word(),
        "pid": pid,
        "bundle": state.bundle,
        "policy": state.policy.map(|policy| policy.compiled.name),
    });
    say(serde_json::to_string_pretty(&value)?)?;
    Ok(ExitCode::SUCCESS)
}
