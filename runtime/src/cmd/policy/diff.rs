//! `reeve policy diff`: what one policy allows and another does not.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use policy::diff::{Side, diff};
use policy::{Policy, Question};

use super::{Known, NOT_COMPARED, Output, load, look_up, print_findings, say, status};

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
        (first, second) => {
            for found in [first.err(), second.err()].into_iter().flatten() {
                print_findings(&found)?;
            }
            return Ok(NOT_COMPARED.into());
        }
    };
    let asked = policy::universe(&[&first, &second]);
    let (first, second) = match (
        known(first, &asked, output, root)?,
        known(second, &asked, output, root)?,
    ) {
        (Some(first), Some(second)) => (first, second),
        _ => return Ok(NOT_COMPARED.into()),
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
) -> Result<Option<Known>, Box<dyn Error>> {
    let facts = look_up(&policy, asked, output, root)?;
    match policy::compile(&policy, &facts) {
        Ok(compiled) => Ok(Some(Known {
            policy,
            compiled,
            facts,
        })),
        Err(found) => {
            print_findings(&found)?;
            Ok(None)
        }
    }
}
