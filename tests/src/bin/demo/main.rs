//! The main job on real input: a container with every capability and the host's file system backs
//! up a virtual disk, and then tries ten things that a privileged container can do to its host.
//!
//! `demo [--size MIB]` needs root, `reeve`, the probe and `qemu-img`. It prints a row for each
//! attempt with what it comes to without a policy, for an unprivileged user, and under the policy,
//! and ends with 0 only if the first succeeds and the other two agree in every row.
//!
//! Reading order: [`stage`] the disk, the policy and the containers; [`attempts`] the ten;
//! [`columns`] running them; [`table`] showing them.

mod attempts;
mod columns;
mod failure;
mod show;
mod stage;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    match show::run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("demo: {failure}");
            ExitCode::from(2)
        }
    }
}
