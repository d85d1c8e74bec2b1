//! The command line.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::failure::Failure;
use crate::{calls, compare, enclose, floor, timed};

/// Carries out what the arguments say.
pub(crate) fn run() -> Result<ExitCode, Failure> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    let Some((task, rest)) = words.split_first() else {
        return Err(Failure::Usage);
    };
    match (task.to_str(), rest) {
        (Some("time"), [limit, dashes, command @ ..]) if *dashes == "--" => {
            let limit = Duration::from_secs(number(limit)?);
            print(&timed::run(command, limit)?.to_json())
        }
        (Some("compare"), [rounds, dashes, commands @ ..]) if *dashes == "--" => {
            let mut sides = commands.splitn(2, |word| *word == "--");
            match (sides.next(), sides.next()) {
                (Some(a), Some(b)) => print(&compare::run(number(rounds)?, a, b)?),
                _ => Err(Failure::Usage),
            }
        }
        (Some("floor"), [root, command @ ..]) => floor::run(root.as_ref(), command),
        (Some("enclose"), rest) => enclosed(rest),
        (Some("prepare-calls"), [dir]) => print(&calls::prepare(dir.as_ref())?),
        (Some("calls"), [label, batches, dir, program]) => {
            let batches = number(batches)?;
            print(&calls::run(label, batches, dir.as_ref(), program.as_ref())?)
        }
        _ => Err(Failure::Usage),
    }
}

fn enclosed(mut words: &[&OsStr]) -> Result<ExitCode, Failure> {
    let mut hidden = Vec::new();
    while let [option, dir, rest @ ..] = words
        && *option == "--hide"
    {
        hidden.push(dir.as_ref());
        words = rest;
    }
    match words {
        [dashes, command @ ..] if *dashes == "--" => enclose::run(&hidden, command),
        _ => Err(Failure::Usage),
    }
}

fn number(word: &OsStr) -> Result<u64, Failure> {
    let number = word.to_str().and_then(|word| word.parse().ok());
    number.ok_or(Failure::Usage)
}

fn print(json: &serde_json::Value) -> Result<ExitCode, Failure> {
    writeln!(std::io::stdout(), "{json}").map_err(Failure::call(|| "write(stdout)".to_owned()))?;
    Ok(ExitCode::SUCCESS)
}
