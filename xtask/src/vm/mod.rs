//! Test machines: boots a kernel with the cached Debian root and runs one job in it.
//!
//! [`Machine::run`] is the whole interface: a kernel, files under test, a job, and a time limit go
//! in, a verdict comes out. The guest speaks on three serial ports, so that the kernel's console,
//! the job's output and the init's reports never mix: see [`guest_init::layout`].
//!
//! A boot that never reached the init is tried again, because emulated kernels rarely but really
//! panic on their own; from the init's first word on, whatever happens is the result.
//!
//! Modules: [`run`], [`shell`] (commands), [`options`] (what they share); [`machine`], [`verdict`]
//! (the interface); [`files`]; [`accel`] (KVM or emulation); [`qemu`] (command line);
//! [`initramfs`]; [`monitor`] (watches a running machine), [`markers`] (what a kernel prints when
//! it dies), [`screen`] (shows the job's output).

mod accel;
mod files;
mod initramfs;
mod machine;
mod markers;
mod monitor;
mod options;
mod qemu;
mod run;
mod screen;
mod shell;
mod verdict;

use std::process::ExitCode;

use anyhow::Result;

use crate::setup::{self, Need, kernels};

pub(crate) use machine::Machine;
pub(crate) use options::batch;
pub(crate) use qemu::Root;
pub(crate) use screen::Show;
pub(crate) use verdict::{Ending, Verdict};

/// Boot test machines.
#[derive(clap::Subcommand)]
pub(crate) enum Task {
    /// Run one command in a machine.
    Run(run::Args),
    /// Open a shell on a machine's console.
    Shell(shell::Args),
}

/// Runs the task.
pub(crate) fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Run(args) => run::run(&args),
        Task::Shell(args) => shell::run(&args),
    }
}

/// Installs what booting a machine needs.
pub(crate) fn ensure() -> Result<()> {
    let kernels = (0..kernels::SOURCES.len()).map(Need::Kernel);
    let needs: Vec<Need> = [Need::Qemu, Need::BuildTools, Need::GuestRoot]
        .into_iter()
        .chain(kernels)
        .collect();
    setup::ensure(&needs)
}
