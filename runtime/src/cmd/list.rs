//! `reeve list`: the containers there are.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::Error;
use super::say;
use crate::state::State;

/// List containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let states = State::list(root)?;
    if args.json {
        let all = states.iter().map(|state| {
            json!({
                "id": state.id,
                "pid": running_pid(state).unwrap_or(0),
                "status": state.status().word(),
                "bundle": state.bundle,
                "policy": policy_name(state),
            })
        });
        let all: Vec<_> = all.collect();
        say(serde_json::to_string_pretty(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = states.iter().map(|state| state.id.as_str().len()).max();
    let width = width.unwrap_or_default().max(2);
    let (id, pid, status, policy) = ("ID", "PID", "STATUS", "POLICY");
    say(format_args!(
        "{id:width$}  {pid:>8}  {status:8}  {policy:20}  BUNDLE"
    ))?;
    for state in &states {
        let pid = running_pid(state).map_or("-".to_owned(), |pid| pid.to_string());
        let (status, policy) = (state.status().word(), policy_name(state).unwrap_or("-"));
        let (id, bundle) = (state.id.as_str(), state.bundle.display());
        say(format_args!(
            "{id:width$}  {pid:>8}  {status:8}  {policy:20}  {bundle}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn running_pid(state: &State) -> Option<i32> {
    let process = state.process.filter(|process| process.runs());
    process.map(|process| process.pid)
}

fn policy_name(state: &State) -> Option<&str> {
    let policy = state.policy.as_ref();
    policy.map(|policy| policy.compiled.name.as_str())
}
