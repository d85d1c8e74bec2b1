//! `reeve ps`: the processes of a container, as the host numbers them.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use clap::ValueEnum;

use super::{Error, say};
use crate::cgroup::{self, CgroupDirs};
use crate::failure::Failure;
use crate::spec::ContainerId;
use crate::state::State;

/// Show the processes of a container
///
/// A table is what the host's `ps` prints, with the lines of other processes left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve ps web                          # as `ps -ef` shows them
  reeve ps web -o pid,rss,args          # with columns of one's own; PID must be among them
  reeve ps --format json web            # only their numbers: [4711,4712]")]
pub struct Args {
    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Options of `ps`; without any, `-ef`
    #[arg(
        value_name = "PS OPTIONS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    options: Vec<String>,
}

/// Form of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// JSON.
    Json,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let state = State::load(root, &args.id)?;
    let pids = members(&state.cgroups)?;
    match args.format {
        Format::Json => say(serde_json::to_string(&pids)?)?,
        Format::Table => {
            let table = processes(&args.options)?;
            let lines = select(&table, &pids).ok_or_else(|| Error::Refused {
                program: "ps",
                said: "there is no column `PID` in what it printed".to_owned(),
            })?;
            for line in lines {
                say(line)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Numbers of all processes in a container's groups and those below them, in rising order.
pub(super) fn members(cgroups: &CgroupDirs) -> Result<Vec<i32>, Failure> {
    let pids = cgroup::processes(cgroups)?;
    let mut numbers: Vec<_> = pids.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn processes(options: &[String]) -> Result<String, Error> {
    let mut command = Command::new("ps");
    if options.is_empty() {
        command.arg("-ef");
    } else {
        command.args(options);
    }
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|source| Error::Program {
        program: "ps".into(),
        source,
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Refused {
            program: "ps",
            said: said.lines().next().unwrap_or_default().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The heading and the lines whose column `PID` is one of the numbers; `None` without that column.
fn select<'a>(table: &'a str, pids: &[i32]) -> Option<Vec<&'a str>> {
    let mut lines = table.lines();
    let heading = lines.next()?;
    let column = heading.split_whitespace().position(|name| name == "PID")?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        let pid = pid.and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Some([heading].into_iter().chain(lines.filter(ours)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_processes_are_left_out() {
        let table = "UID          PID    PPID  C STIME TTY          TIME CMD\n\
                     root           1       0  0 13:41 ?        00:00:01 init\n\
                     root          10       1  0 13:41 ?        00:00:00 sh -c 7\n\
                     root          7       1  0 13:41 ?        00:00:00 httpd 10\n";
        let lines = select(table, &[7]).unwrap();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("UID"));
        assert!(lines[1].ends_with("httpd 10"));
        assert_eq!(select(table, &[]).unwrap().len(), 1);
        assert_eq!(select("CMD\ninit\n", &[1]), None);
        assert_eq!(select("", &[1]), None);
    }
}
