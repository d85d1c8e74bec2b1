//! Development tasks for this workspace: `cargo xtask help` lists them.
//!
//! Everything a developer or a build server does here goes through this program, so that there is
//! one description of it and it works on a machine that has nothing but a Rust toolchain. It has no
//! part in what is shipped, uses no `unsafe`, and never edits the machine's apt sources.
//!
//! Modules in reading order: [`cli`]; [`setup`] (what a machine needs and how to get it);
//! [`ebpf`], [`build`]; [`vm`] (boots a machine and runs a job in it); the tasks [`test`],
//! [`tidy`], [`docs`], [`demo`], [`bench`]; the helpers [`cmd`], [`paths`], [`scratch`],
//! [`digest`].

mod bench;
mod build;
mod cli;
mod cmd;
mod demo;
mod digest;
mod docs;
mod ebpf;
mod paths;
mod scratch;
mod setup;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run().unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
