//! `cargo xtask tidy`: the rules of this code base that no other tool checks.
//!
//! Each rule of [`rules`] looks at one file; [`hooks`] looks at the tests as a whole. A file or
//! function that breaks a rule about its size may be listed in `xtask/tidy-exceptions.txt`
//! ([`exceptions`]), a list that can only shrink.

mod exceptions;
mod hooks;
mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::paths;
use exceptions::Exceptions;
use source::Source;

/// Check the rules of this code base that no other tool checks.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// A rule broken somewhere.
pub(crate) struct Finding {
    /// Name of the rule.
    pub(crate) rule: &'static str,
    /// Line, from 1.
    pub(crate) line: usize,
    /// What is wrong, in words.
    pub(crate) message: String,
    /// For rules about size: what it is the size of (the file if empty), and the size.
    pub(crate) size: Option<(String, usize)>,
}

/// Runs the task.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    check()?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if a rule is broken, after it printed where.
pub(crate) fn check() -> Result<()> {
    let mut exceptions = Exceptions::read()?;
    let mut broken = 0;
    let mut tests = Vec::new();
    let files = files(paths::root())?;
    for path in &files {
        let text =
            fs::read_to_string(path).with_context(|| format!("read `{}`", path.display()))?;
        let name = path
            .strip_prefix(paths::root())
            .unwrap_or(path)
            .display()
            .to_string();
        let source = Source::new(text);
        if name.starts_with("tests/") {
            tests.extend(rules::functions_of(&source));
        }
        for finding in rules::check(&name, &source) {
            if !exceptions.covers(&name, &finding) {
                eprintln!(
                    "{name}:{}: {} [{}]",
                    finding.line, finding.message, finding.rule
                );
                broken += 1;
            }
        }
    }
    for complaint in hooks::untested(&tests)
        .into_iter()
        .chain(exceptions.complaints())
    {
        eprintln!("{complaint}");
        broken += 1;
    }
    if broken > 0 {
        bail!("{broken} findings in {} files", files.len());
    }
    Ok(())
}

/// Every Rust file of the workspace, sorted.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut look_at = vec![root.to_owned()];
    while let Some(dir) = look_at.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("list `{}`", dir.display()))? {
            let entry = entry.with_context(|| format!("list `{}`", dir.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry
                .file_type()
                .with_context(|| format!("stat `{name}`"))?;
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                look_at.push(entry.path());
            } else if kind.is_file() && name.ends_with(".rs") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
