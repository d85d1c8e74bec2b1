//! The command line of `vmstorage`.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Storage services for virtual machines.
#[derive(Debug, Parser)]
#[command(name = "vmstorage", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What to do; one module each.
#[derive(Debug, Subcommand)]
enum Command {}

/// Runs the command line of the process.
pub fn main() -> ExitCode {
    match Args::parse().command {}
}

/// The model of the command line, for its documentation.
pub fn command() -> clap::Command {
    Args::command()
}
