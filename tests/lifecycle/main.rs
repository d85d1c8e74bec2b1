//! The life of a container from `reeve run` to its end: what it passes through, and that it leaves
//! nothing behind, whoever is killed and when.
//!
//! Runs as root in a machine to throw away, one test at a time and in order: those in [`alone`]
//! come first, since they want Reeve's programs to be loaded by their own containers; for all
//! others they stay loaded.

mod alone;
mod cleanup;
mod flood;
mod killed;
mod process;
mod replace;
mod soak;
mod starved;
mod status;
mod support;
mod terminal;
