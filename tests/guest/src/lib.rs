//! What the virtual machine runner and the init inside the machine say to each other.
//!
//! The runner writes a [`Job`] into the initramfs; the init answers with [`Report`] lines on a
//! serial port of their own. Both sides use these types, so the two cannot drift apart. The init
//! itself is the binary of this package; nothing else of it is visible here.
//!
//! Modules in reading order: [`job`] (runner to init), [`report`] (init to runner), [`layout`]
//! (paths and devices both sides rely on).

pub mod job;
pub mod layout;
pub mod report;

pub use job::{Job, Kind};
pub use report::{Outcome, Report};
