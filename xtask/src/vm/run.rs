//! `cargo xtask vm run`: one command in a machine, one verdict line a kernel.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::options::{self, Options};
use crate::setup::kernels;

/// Run one command in a machine.
///
/// Prints the command's output as it comes, then a verdict line for each kernel. The exit status is
/// the command's; 124 if it ran out of time, 125 if the machine failed.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Seconds the command may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Variable of the command's environment; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    super::ensure()?;
    let payload = args.options.payload()?;
    let mut job = options::batch(args.command.clone(), args.timeout);
    for pair in &args.env {
        let (key, value) = pair.split_once('=').context("`--env` takes KEY=VALUE")?;
        job.env.insert(key.to_owned(), value.to_owned());
    }
    let mut status = 0;
    for kernel in kernels::named(&args.options.kernel)? {
        let verdict = args.options.machine(kernel, &payload, job.clone()).run()?;
        verdict.print("");
        if status == 0 {
            status = verdict.exit_status();
        }
    }
    Ok(ExitCode::from(status))
}
