//! `reeve policy check`: everything that is wrong with a policy, and what it most likely was not
//! meant to allow.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use policy::diagnostic::printable;
use policy::{Severity, lint};

use super::{Known, Output, counted, load, look_up, say, status};

pub(super) fn run(
    file: &Path,
    strict: bool,
    output: &Output,
    root: &Path,
) -> Result<ExitCode, Box<dyn Error>> {
    let known = match load(file, output)? {
        Err(found) => Err(found),
        Ok(policy) => {
            let facts = look_up(&policy, &lint::questions(&policy), output, root)?;
            let compiled = policy::compile(&policy, &facts);
            compiled.map(|compiled| Known {
                policy,
                compiled,
                facts,
            })
        }
    };
    let grants = known
        .as_ref()
        .map_or(0, |known| known.compiled.grants.len());
    let found = match known {
        Err(found) => found,
        Ok(known) => {
            let found = lint::lint(&known.policy, &known.compiled, &known.facts);
            known.compiled.warnings.with(found)
        }
    };
    let found = if strict { found.strict() } else { found };
    if output.json {
        say(serde_json::to_string_pretty(&found.to_json())?)?;
        return Ok(status(!found.has_errors()));
    }
    if !found.is_empty() {
        say(found.to_string().trim_end())?;
    }
    let name = printable(&file.display().to_string());
    let errors = counted(found.count(Severity::Error), "error");
    let warnings = counted(found.count(Severity::Warning), "warning");
    match found.has_errors() {
        true => say(format!("{name}: {errors}, {warnings}"))?,
        false => {
            let grants = counted(grants, "grant");
            say(format!("{name}: good: {grants}, {warnings}"))?;
        }
    }
    Ok(status(!found.has_errors()))
}
