//! `reeve ps`: the processes of a container, as the host numbers them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use clap::ValueEnum;

use super::{Error, say};
use crate::cgroup::CgroupDirs;
use crate::failure::{Called as _, Failure};
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

/// Numbers of all processes in a container's groups and those below them, in rising order. Groups
/// that are gone have none.
pub(super) fn members(cgroups: &CgroupDirs) -> Result<Vec<i32>, Failure> {
    let mut pids = BTreeSet::new();
    let mut left: Vec<_> = cgroups.all().map(Path::to_owned).collect();
    while let Some(dir) = left.pop() {
        let procs = dir.join("cgroup.procs");
        let text = match fs::read_to_string(&procs) {
            Ok(text) => text,
            Err(error) if gone(&error) => continue,
            // A group of threads; their processes are those of a group above it.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => String::new(),
            error => error.called(|| format!("read(\"{}\")", procs.display()))?,
        };
        // 0 is a process that this pid namespace does not see.
        let numbers = text.lines().filter_map(|line| line.parse::<i32>().ok());
        pids.extend(numbers.filter(|pid| *pid > 0));
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => continue,
            error => error.called(|| format!("readdir(\"{}\")", dir.display()))?,
        };
        let below = entries.flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(below.map(|entry| entry.path()));
    }
    Ok(pids.into_iter().collect())
}

/// A group that was removed; its files may still be open, and answer ENODEV.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
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

    #[test]
    fn every_group_counts_once_and_those_that_are_gone_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir_all(one.join("below")).unwrap();
        fs::create_dir(&two).unwrap();
        fs::write(one.join("cgroup.procs"), "5\n3\n").unwrap();
        fs::write(one.join("below/cgroup.procs"), "4\n").unwrap();
        fs::write(two.join("cgroup.procs"), "3\n5\n").unwrap();
        let cgroups = CgroupDirs {
            v2: Some(one),
            v1: vec![two, dir.path().join("gone")],
            roots: Vec::new(),
        };
        assert_eq!(members(&cgroups).unwrap(), [3, 4, 5]);
    }
}
