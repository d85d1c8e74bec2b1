//! `reeve run`: creates a container, starts it and stays until it has ended.

use std::process::ExitCode;

use super::make::{MakeArgs, Manner};
use super::{Error, Global, say};
use crate::launch::seal;
use crate::timings;

/// Create a container from an OCI bundle, start it, and stay until it has ended
///
/// The exit status is that of the entry process, or 128 plus the number of the signal that ended
/// it; 1 if the container could not be started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve run -b web web                  # without a policy, as any runtime would
  reeve run -b web -p web.yaml web      # under a policy
  reeve run -b web --dry-run web        # what would be done, step by step")]
pub struct Args {
    #[command(flatten)]
    make: MakeArgs,
    /// Do not stay: return when the entry process runs
    #[arg(short, long)]
    detach: bool,
    /// Keep what is left of the container when it has ended, for `reeve delete`
    #[arg(long)]
    keep: bool,
    /// Accepted for compatibility: this process never adopts the container's orphans
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Print on standard error how long each phase of the start took
    #[arg(long)]
    timings: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// With `--dry-run`: print it as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
}

pub(super) fn run(args: Args, global: &Global) -> Result<ExitCode, Error> {
    timings::mark("begin");
    if !args.dry_run {
        seal()?;
    }
    let manner = match args.detach {
        true => Manner::Detached,
        false => Manner::Attached,
    };
    let (planned, making) = args.make.plan(manner, global)?;
    timings::mark("configuration and plan");
    if args.dry_run {
        let plan = &planned.plan;
        match args.json {
            true => say(serde_json::to_string_pretty(plan)?)?,
            false => say(plan.to_string().trim_end())?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (confined, console) = planned.confine(&global.root(), &making)?;
    let running = confined.release(console)?;
    if args.detach {
        running.leave();
        if args.timings {
            eprint!("{}", timings::report());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let exit = running.supervise(args.keep)?;
    if args.timings {
        eprint!("{}", timings::report());
    }
    Ok(exit.code())
}
