//! The block service: disks, their exports, and the control socket.
//!
//! The control plane is one thread with tokio ([`run`]). Every disk lives on a thread with an
//! engine of its own ([`worker`]), where its layers and its front ends are ([`host`], [`served`]);
//! disks that share an address share the thread, as a connection stays on the thread that took it.
//! What the control plane wants of a disk it sends to that thread.

mod answer;
mod checkpoint;
mod client;
pub mod config;
pub mod control;
pub(crate) mod front;
mod group;
mod host;
mod notify;
mod report;
mod served;
mod service;
mod socket;
#[cfg(test)]
mod tests;
mod tracking;
mod worker;

pub use client::{Client, ClientError};
pub use service::{ServeError, Setup, run};
