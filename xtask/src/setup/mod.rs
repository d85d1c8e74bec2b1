//! `cargo xtask setup`: what building and testing need on this machine, and how to get it.
//!
//! [`Need`] is the list. Each need is looked at first and installed only when it is missing, so
//! setting up twice costs nothing. Other tasks call [`ensure`] with what they need themselves.
//! Packages come through [`apt`], which leaves the machine's own sources alone; everything else is
//! in the cache directory ([`paths::cache`]), which may be removed at any time.

pub(crate) mod apt;
mod compiler;
pub(crate) mod guest_root;
pub(crate) mod kernels;
mod need;
mod packages;
pub(crate) mod peers;
mod tools;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::paths;

pub(crate) use compiler::Compiler;
pub(crate) use need::Need;
pub(crate) use packages::{llvm_strip, qemu_version};
pub(crate) use tools::{bpf_linker, cargo_deny};

/// Install what building and testing need, or say what is missing.
///
/// Lists every tool with what it is for. Run it as often as you like: what is there is left alone.
/// It installs packages on Debian 12 only, and never edits apt sources.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; exit with 1 if something is missing.
    #[arg(long)]
    check: bool,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.check {
        return check();
    }
    install(&Need::all(), Report::Everything)?;
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing among `needs` and what those need in turn; silent if nothing is.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    install(&Need::with_prerequisites(needs), Report::Changes)
}

fn check() -> Result<ExitCode> {
    let mut missing = 0;
    for need in Need::all() {
        let found = need.find()?;
        missing += u32::from(found.is_none());
        println!("{}", line(need, found.as_deref().unwrap_or("missing")));
    }
    if missing == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{missing} missing\nhelp: `cargo xtask setup` installs them");
    Ok(ExitCode::FAILURE)
}

/// What is printed about needs that are already met.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Report {
    Everything,
    Changes,
}

fn install(needs: &[Need], report: Report) -> Result<()> {
    let mut lock = None;
    for &need in needs {
        if let Some(found) = need.find()? {
            if report == Report::Everything {
                println!("{}", line(need, &found));
            }
            continue;
        }
        if lock.is_none() {
            lock = Some(paths::lock_cache()?);
        }
        // Another process may have installed it while this one waited for the lock.
        if need.find()?.is_none() {
            eprintln!("{}", line(need, "installing…"));
            let start = Instant::now();
            need.install()
                .with_context(|| format!("install {}", need.name()))?;
            let found = need.find()?;
            let found = found.with_context(|| format!("{} is not there after all", need.name()))?;
            let state = format!("{found} ({:.0} s)", start.elapsed().as_secs_f32());
            eprintln!("{}", line(need, &state));
        }
    }
    Ok(())
}

fn line(need: Need, state: &str) -> String {
    format!("{:<15} {:<44} {state}", need.name(), need.purpose())
}
