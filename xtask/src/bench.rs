//! `cargo xtask bench`: measurements.

use std::process::ExitCode;

use anyhow::{Result, bail};

/// Run a benchmark, or list them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The benchmark to run; all are listed without it.
    name: Option<String>,
}

/// A measurement.
struct Bench {
    name: &'static str,
    /// What is measured, and against what.
    measures: &'static str,
    run: fn() -> Result<()>,
}

/// Every benchmark there is.
const BENCHES: &[Bench] = &[];

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.name {
        None => list(),
        Some(name) => {
            let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
                bail!("no benchmark `{name}`\nhelp: `cargo xtask bench` lists them");
            };
            (bench.run)()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list() {
    for bench in BENCHES {
        println!("{:<12} {}", bench.name, bench.measures);
    }
    if BENCHES.is_empty() {
        println!("no benchmarks yet");
    }
}
