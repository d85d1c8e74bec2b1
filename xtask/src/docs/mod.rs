//! `cargo xtask docs`: reference pages that are made from code.

mod command_line;
mod conformance;
mod escape;
mod hooks;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// Write the reference pages that are made from code.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if a page is not up to date.
    #[arg(long)]
    check: bool,
    /// Write manual pages and completions there, laid out as below `/usr/share`.
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    share: Option<PathBuf>,
}

/// A page of documentation with one source of truth in code.
struct Page {
    /// Path in the workspace.
    path: &'static str,
    /// Makes its whole text.
    text: fn() -> Result<String>,
}

/// Every page.
const PAGES: &[Page] = &[
    Page {
        path: "docs/reference/hooks.md",
        text: hooks::page,
    },
    Page {
        path: "docs/reference/cli.md",
        text: command_line::reeve,
    },
    Page {
        path: "docs/reference/vmstorage.md",
        text: command_line::vmstorage,
    },
    Page {
        path: "docs/reference/conformance.md",
        text: conformance::page,
    },
    Page {
        path: "docs/reference/escape.md",
        text: escape::attempts,
    },
    Page {
        path: "docs/reference/errno.md",
        text: escape::errnos,
    },
];

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.check {
        check()?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(dir) = &args.share {
        command_line::share(dir)?;
        return Ok(ExitCode::SUCCESS);
    }
    for page in stale()? {
        let path = paths::root().join(page.path);
        paths::create_dir(path.parent().unwrap_or(&path))?;
        fs::write(&path, (page.text)()?).with_context(|| format!("write `{}`", page.path))?;
        println!("{}", page.path);
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails if a page is not what its code says.
pub(crate) fn check() -> Result<()> {
    let stale: Vec<&str> = stale()?.iter().map(|page| page.path).collect();
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "not up to date: {}\nhelp: run `cargo xtask docs`",
        stale.join(", ")
    )
}

/// The pages whose file has another text, or is not there.
fn stale() -> Result<Vec<&'static Page>> {
    let mut stale = Vec::new();
    for page in PAGES {
        let text = (page.text)().with_context(|| format!("make `{}`", page.path))?;
        let current = fs::read_to_string(paths::root().join(page.path));
        if current.ok().as_deref() != Some(&text) {
            stale.push(page);
        }
    }
    Ok(stale)
}
