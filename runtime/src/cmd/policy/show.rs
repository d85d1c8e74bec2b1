//! `reeve policy show`: a policy as one text, or as the tables that are loaded; `reeve policy
//! presets`: what can be extended.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use policy::compose::presets;
use policy::diagnostic::printable;
use serde_json::{Value, json};

use super::{Known, Output, knowledge, load, say, status, tell_findings};

pub(super) fn run(
    file: &Path,
    compiled: bool,
    output: &Output,
    root: &Path,
) -> Result<ExitCode, Box<dyn Error>> {
    if compiled {
        return match knowledge(file, &[], output, root)? {
            Ok(known) => {
                match output.json {
                    true => say(serde_json::to_string_pretty(&known.compiled)?)?,
                    false => say(tables(&known)?.trim_end())?,
                }
                Ok(ExitCode::SUCCESS)
            }
            Err(found) => {
                tell_findings(&[&found], output.json)?;
                Ok(status(false))
            }
        };
    }
    let policy = match load(file, output)? {
        Ok(policy) => policy,
        Err(found) => {
            tell_findings(&[&found], output.json)?;
            return Ok(status(false));
        }
    };
    if output.json {
        let vars: serde_json::Map<String, Value> = policy
            .vars
            .iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let shown = json!({
            "name": policy.name(),
            "include": policy.include,
            "extends": policy.extends,
            "vars": vars,
            "text": policy.flat(),
        });
        say(serde_json::to_string_pretty(&shown)?)?;
    } else {
        say(policy.flat().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Grants by the number that rules name, then the tables, row by row.
fn tables(known: &Known) -> Result<String, Box<dyn Error>> {
    let compiled = &known.compiled;
    let mut out = format!("policy {}\n", compiled.name);
    for (rule, grant) in compiled.grants.iter().enumerate() {
        let name = compiled.grant_name(u32::try_from(rule).unwrap_or(u32::MAX));
        let (file, line, text) = (&grant.file, grant.line, &grant.text);
        let shown = printable(&format!("rule {rule}  {name}  {file}:{line}  {text}"));
        writeln!(out, "{shown}")?;
    }
    let stored = serde_json::to_value(&compiled.tables)?;
    for (name, table) in stored.as_object().into_iter().flatten() {
        match table {
            Value::Array(rows) => {
                writeln!(out, "{name}: {} rows", rows.len())?;
                for row in rows {
                    writeln!(out, "  {row}")?;
                }
            }
            other => writeln!(out, "{name}: {other}")?,
        }
    }
    Ok(out)
}

/// Lists the presets, or prints one.
pub(super) fn presets(name: Option<&str>, json: bool) -> Result<ExitCode, Box<dyn Error>> {
    let Some(name) = name else {
        if json {
            let all = presets::ALL.iter();
            let all = all.map(|one| json!({ "name": one.name, "description": one.description() }));
            say(serde_json::to_string_pretty(&all.collect::<Value>())?)?;
        } else {
            for preset in presets::ALL {
                say(format!("{:<16} {}", preset.name, preset.description()))?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    match presets::find(name) {
        Some(preset) => {
            say(preset.text.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let names: Vec<_> = presets::ALL.iter().map(|preset| preset.name).collect();
            let names = names.join(", ");
            Err(format!("there is no preset `{name}`\nhelp: known presets: {names}").into())
        }
    }
}
