//! The `reeve` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::cmd::main()
}
