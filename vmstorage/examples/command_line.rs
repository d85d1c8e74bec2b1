//! The command line of `vmstorage` for `cargo xtask docs`: see [`cli_docs`].

use std::process::ExitCode;

const OPENING: &str = "\
<!-- Made by `cargo xtask docs` from the command line of `vmstorage/src/cli`. -->

# Command line of `vmstorage`

Exit status 0 is success, 1 a failure, 2 wrong usage. Commands that take long show a progress bar on
a terminal and plain lines elsewhere; with `--json` they print one JSON value a line on standard
output and nothing else.
";

fn main() -> ExitCode {
    let command = vmstorage::cli::command();
    cli_docs::main(OPENING, &command, &command)
}
