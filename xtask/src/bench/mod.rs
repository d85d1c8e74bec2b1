//! `cargo xtask bench`: measurements.
//!
//! Never a test: a number depends on the machine, and on what else it does. What is compared is
//! measured side by side in one run, in turn, and told as medians and ratios.
//!
//! Modules: [`runtime`], [`enforce`], [`block`] (the benchmarks); [`stats`] (samples to medians),
//! [`table`] (shows them), [`page`] (in the documentation), [`progress`], [`machine`] (where it was
//! measured), [`elf`].

mod block;
mod elf;
mod enforce;
mod guest;
mod machine;
mod page;
mod progress;
mod runtime;
mod stats;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

/// Run a benchmark, or list them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The benchmark to run; all are listed without it.
    #[command(subcommand)]
    name: Option<Name>,
}

#[derive(clap::Subcommand)]
enum Name {
    /// Measure `reeve` beside crun, runc and the least that a container costs.
    Runtime(runtime::Args),
    /// Measure what enforcement costs system calls, contained or not.
    Enforce(enforce::Args),
    /// Measure `vmstorage serve` beside qemu-nbd, qemu-storage-daemon and nbdkit.
    Block(block::Args),
    /// The half of `runtime` that measures; `runtime` starts it where nothing of it can stay.
    #[command(hide = true)]
    RuntimeEnclosed {
        /// What to measure.
        settings: PathBuf,
    },
}

/// Name, and what is measured against what.
const BENCHES: &[(&str, &str)] = &[
    (
        "runtime",
        "time, memory and system calls of reeve's commands, against crun, runc and a floor",
    ),
    (
        "enforce",
        "system calls under policies and beside them, against a kernel without programs",
    ),
    (
        "block",
        "a served disk: rates, p99 and processor time, against three other servers",
    ),
];

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.name {
        Some(Name::Runtime(args)) => runtime::run(args)?,
        Some(Name::Enforce(args)) => enforce::run(args)?,
        Some(Name::Block(args)) => block::run(args)?,
        Some(Name::RuntimeEnclosed { settings }) => runtime::run_enclosed(settings)?,
        None => {
            for (name, measures) in BENCHES {
                println!("{name:<12} {measures}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
