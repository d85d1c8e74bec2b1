//! The `reeve` command.

use std::process::ExitCode;

use clap::Parser;
use runtime::cmd::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", error.report().trim_end());
            error.code()
        }
    }
}
