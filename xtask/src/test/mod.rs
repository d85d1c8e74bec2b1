//! `cargo xtask test`: everything that is checked, on the host and in machines.
//!
//! Three parts, in the order of how soon they fail: [`lint`], the tests on this machine ([`host`]
//! and [`oci`]), and what needs machines: the suites on real kernels ([`suites`]), and guests whose
//! disks are served ([`guests`]). A failed step does not stop the
//! others; the summary at the end has one line a step and repeats what the test runners said.

mod guests;
mod host;
mod lint;
mod oci;
mod step;
mod suites;

use std::process::ExitCode;

use anyhow::Result;

use crate::ebpf;
use step::Steps;

/// Run all checks and tests, or some of them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Formatting, clippy, tidiness, dependencies.
    #[arg(long)]
    lint: bool,
    /// Tests that run on this machine.
    #[arg(long)]
    host: bool,
    /// The conformance suite on this machine.
    #[arg(long)]
    conformance: bool,
    /// Suites that run in machines.
    #[arg(long)]
    vm: bool,
    /// Kernel of the machines: 6.1, 6.12, newest, a release, or `all`.
    #[arg(long, default_value = "all")]
    kernel: String,
    /// Only this suite in machines.
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Arguments for the suites' test runner, such as a test's name.
    #[arg(last = true, value_name = "ARGS")]
    runner: Vec<String>,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let some = args.lint || args.host || args.conformance || args.vm || args.suite.is_some();
    let everything = !some;
    let mut steps = Steps::start();
    // The loader embeds the object, so nothing else compiles without it.
    steps.run("ebpf", || ebpf::build().map(drop));
    if args.lint || everything {
        lint::run(&mut steps);
    }
    if args.host || everything {
        host::run(&mut steps);
    }
    if args.conformance || everything {
        oci::run(&mut steps, &args.runner);
    }
    if args.vm || args.suite.is_some() || everything {
        let wanted = suites::Wanted {
            kernel: &args.kernel,
            suite: args.suite.as_deref(),
            runner: &args.runner,
        };
        suites::run(&mut steps, &wanted);
    }
    Ok(steps.finish())
}
