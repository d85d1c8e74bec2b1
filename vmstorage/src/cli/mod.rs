//! The command line of `vmstorage`.

pub mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
