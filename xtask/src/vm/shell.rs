//! `cargo xtask vm shell`: a shell on a machine's console.

use std::process::ExitCode;

use anyhow::{Result, bail};
use guest_init::{Job, Kind};

use super::options::{self, Options};
use crate::setup::kernels;

/// Open a shell on a machine's console.
///
/// The machine powers off when the shell ends; Ctrl-A X ends it at once.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    super::ensure()?;
    let mut kernels = kernels::named(&args.options.kernel)?;
    let (Some(kernel), true) = (kernels.pop(), kernels.is_empty()) else {
        bail!("a shell needs one kernel, not `{}`", args.options.kernel);
    };
    let payload = args.options.payload()?;
    let mut job = Job {
        kind: Kind::Shell,
        ..options::batch(vec!["/bin/bash".to_owned()], 0)
    };
    if let Ok(terminal) = std::env::var("TERM") {
        job.env.insert("TERM".to_owned(), terminal);
    }
    args.options.machine(kernel, &payload, job).shell()?;
    Ok(ExitCode::SUCCESS)
}
