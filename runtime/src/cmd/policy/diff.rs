//! `reeve policy diff`: what one policy allows and another does not.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use policy::diff::{Side, diff};
use policy::{Diagnostics, Policy, Question};

use super::{Known, NOT_COMPARED, Output, load, look_up, say, status, tell_findings};

/// Exit status 0 if the two mean the same, 1 if not, [`NOT_COMPARED`] if one of them is no
/// policy; so is any error.
pub(super) fn run(
    first: &Path,
    second: &Path,
    output: &Output,
    root: &Path,
) -> Result<ExitCode, Box<dyn Error>> {
    let (first, second) = match (load(first, output)?, load(second, output)?) {
        (Ok(first), Ok(second)) => (first, second),
        (first, second) => return cannot(&[first.err(), second.err()], output),
    };
    let asked = policy::universe(&[&first, &second]);
    let known = |policy| known(policy, &asked, output, root);
    let (first, second) = match (known(first)?, known(second)?) {
        (Ok(first), Ok(second)) => (first, second),
        (first, second) => return cannot(&[first.err(), second.err()], output),
    };
    let found = diff(side(&first), side(&second), &asked);
    match output.json {
        true => say(serde_json::to_string_pretty(&found)?)?,
        false if found.is_empty() => {}
        false => say(found.to_string().trim_end())?,
    }
    Ok(status(found.is_empty()))
}

fn side(known: &Known) -> Side<'_> {
    Side {
        policy: &known.policy,
        compiled: &known.compiled,
        facts: &known.facts,
    }
}

fn known(
    policy: Policy,
    asked: &[Question],
    output: &Output,
    root: &Path,
) -> Result<Result<Known, Diagnostics>, Box<dyn Error>> {
    let facts = look_up(&policy, asked, output, root)?;
    let compiled = policy::compile(&policy, &facts);
    Ok(compiled.map(|compiled| Known {
        policy,
        compiled,
        facts,
    }))
}

fn cannot(found: &[Option<Diagnostics>], output: &Output) -> Result<ExitCode, Box<dyn Error>> {
    let found: Vec<&Diagnostics> = found.iter().flatten().collect();
    tell_findings(&found, output.json)?;
    Ok(NOT_COMPARED.into())
}
