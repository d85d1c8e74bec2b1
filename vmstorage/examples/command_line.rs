//! The command line of `vmstorage` for `cargo xtask docs`: see [`cli_docs`].

use std::process::ExitCode;

const OPENING: &str = "\
<!-- Made by `cargo xtask docs` from the command line of `vmstorage/src/cli`. -->

# Command line of `vmstorage`

Exit status: 0 done, 1 the answer is no, 2 wrong usage, 3 only a full backup is right, 4 failed.
Commands that take long show a progress bar on a terminal and plain lines elsewhere; with `--json`
they print JSON on standard output and nothing else. Messages go to standard error.
";

fn main() -> ExitCode {
    let command = vmstorage::cli::command();
    cli_docs::main(OPENING, &command, &command)
}
