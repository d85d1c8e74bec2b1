//! What a benchmark of container runtimes needs next to the runtimes themselves: a stopwatch that
//! weighs little, the least that a container costs, and a place that takes everything away again.
//!
//! - `measure time LIMIT -- COMMAND…` runs a command with silent standard streams and prints one
//!   line of JSON: wall time, processor time and peak memory of it and the children it waited for.
//!   It is killed after LIMIT seconds.
//! - `measure compare ROUNDS -- COMMAND… -- COMMAND…` runs two commands in turn, and prints the
//!   wall times of both as JSON.
//! - `measure floor ROOT COMMAND…` runs a command in namespaces, mounts and devices like those of
//!   a container, with nothing around them.
//! - `measure enclose [--hide DIR]… -- COMMAND…` runs a command in a mount and a pid namespace of
//!   its own; whatever it leaves running ends with it.
//! - `measure calls LABEL BATCHES DIR PROGRAM` prints what single system calls cost this process,
//!   as JSON; `measure prepare-calls DIR` makes the files for it.
//!
//! Linked statically and started for each measurement, so that what it measures is not charged for
//! the size of the caller: a new process counts its parent's memory as its own until it executes.
//!
//! Reading order: [`command`], [`timed`], [`compare`], [`calls`], [`floor`], [`enclose`]; [`sys`].

mod calls;
mod command;
mod compare;
mod enclose;
mod failure;
mod floor;
mod sys;
mod timed;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run().unwrap_or_else(|failure| {
        eprintln!("measure: {}", failure::chain(&failure));
        // As env(1) and timeout(1) tell their own failures from those of the command.
        ExitCode::from(125)
    })
}
