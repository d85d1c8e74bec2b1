//! The command line of `reeve` for `cargo xtask docs`: see [`cli_docs`].

use std::process::ExitCode;

use clap::CommandFactory as _;
use runtime::cmd::{Cli, command};

const OPENING: &str = "\
<!-- Made by `cargo xtask docs` from the command line of `runtime/src/cmd`. -->

# Command line

Names, options, output and exit statuses are those of runc wherever it has them. Every command takes
the [global options](#global-options), before its name or after it. Exit status 0 is success, and 1
every failure of `reeve` itself, wrong usage too; commands that run a process pass on its status, or
128 and the number of the signal that ended it.
";

fn main() -> ExitCode {
    cli_docs::main(OPENING, &command(), &Cli::command())
}
