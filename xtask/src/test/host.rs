//! The tests that run on this machine: plain `cargo test`, as anybody without this program has it.

use anyhow::{Result, bail};

use super::step::{Failed, Steps, results};
use crate::cmd::Cmd;
use crate::paths;
use crate::setup::{self, Need};

/// Runs the step.
pub(crate) fn run(steps: &mut Steps) {
    steps.run_tests("host tests", cargo_test);
}

fn cargo_test() -> Result<String> {
    setup::ensure(&[Need::StorageTools])?;
    let cargo = Cmd::new("cargo").args(["test", "--workspace", "--no-fail-fast"]);
    let cargo = cargo.dir(paths::root()).env("CARGO_TERM_COLOR", "never");
    let (output, succeeded) = cargo.tee()?;
    if !succeeded {
        return Err(Failed {
            what: "`cargo test` failed".to_owned(),
            output,
        }
        .into());
    }
    if results(&output).is_empty() {
        bail!("`cargo test` ran no test");
    }
    Ok(output)
}
