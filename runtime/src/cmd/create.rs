//! `reeve create`: makes a container whose entry process waits for `reeve start`.

use std::process::ExitCode;

use super::make::{MakeArgs, Manner};
use super::{Error, Global};
use crate::launch::seal;

/// Create a container from an OCI bundle; its entry process waits for `reeve start`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve create -b web web                         # then `reeve start web`
  reeve create -b web -p web.yaml web             # under a policy
  reeve create -b web --console-socket s web      # with a terminal for who listens at s")]
pub struct Args {
    #[command(flatten)]
    make: MakeArgs,
}

pub(super) fn run(args: Args, global: &Global) -> Result<ExitCode, Error> {
    seal()?;
    let (planned, making) = args.make.plan(Manner::Create, global)?;
    let (confined, console) = planned.confine(&global.root(), &making)?;
    confined.release(console)?.leave();
    Ok(ExitCode::SUCCESS)
}
