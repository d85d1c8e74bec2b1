//! `reeve list`: the containers there are.

use std::path::Path;
use std::process::ExitCode;

use super::ps::Format;
use super::state::{Record, Users};
use super::table::aligned;
use super::{Error, say};
use crate::state::State;

/// List containers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve list                            # a table
  reeve list --format json              # with everything that `reeve state` shows
  reeve list --quiet                    # names only
  reeve list -q | xargs -n1 reeve delete --force")]
pub struct Args {
    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let states = State::list(root)?;
    if args.quiet {
        for state in &states {
            say(&state.id)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let users = Users::read();
    let records: Vec<Record> = states
        .iter()
        .map(|state| Record::of(state, &users))
        .collect();
    if args.json || args.format == Format::Json {
        say(serde_json::to_string_pretty(&records)?)?;
    } else {
        say(table(&records))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The columns of other runtimes, and after them the policy.
fn table(records: &[Record]) -> String {
    let heading = [
        "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", "POLICY",
    ];
    let rows = records.iter().map(|record| {
        [
            record.id.clone(),
            record.pid.to_string(),
            record.status.to_owned(),
            record.bundle.display().to_string(),
            record.created.clone(),
            record.owner.clone(),
            record.policy.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let rows: Vec<_> = [heading.map(str::to_owned)]
        .into_iter()
        .chain(rows)
        .collect();
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::record;
    use super::*;

    #[test]
    fn columns() {
        let mut other = record();
        other.id = "b".to_owned();
        other.pid = 0;
        other.status = "stopped";
        other.policy = None;
        let text = table(&[record(), other]) + "\n" + &table(&[]) + "\n";
        assert_eq!(text, include_str!("golden/list.txt"));
    }
}
