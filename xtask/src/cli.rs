//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{bench, demo, docs, ebpf, setup, test, tidy, vm};

/// Development tasks of the Reeve workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

/// One task. Each installs what it needs before it starts.
#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need, or say what is missing.
    Setup(setup::Args),
    /// Build the eBPF programs.
    Ebpf(ebpf::Args),
    /// Boot test machines.
    #[command(subcommand)]
    Vm(vm::Task),
    /// Show a privileged container that a policy file holds.
    Demo(demo::Args),
    /// Run all checks and tests, or some of them.
    Test(test::Args),
    /// Run a benchmark, or list them.
    Bench(bench::Args),
    /// Check the rules of this code base that no other tool checks.
    Tidy(tidy::Args),
    /// Write the reference pages that are made from code.
    Docs(docs::Args),
}

/// Parses the command line and runs the task.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Task::Setup(args) => setup::run(&args),
        Task::Ebpf(args) => ebpf::run(&args),
        Task::Vm(task) => vm::run(task),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Tidy(args) => tidy::run(&args),
        Task::Docs(args) => docs::run(&args),
    }
}
