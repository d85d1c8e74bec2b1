//! The NBD server with clients that nobody here wrote: libnbd's tools, QEMU's, fio's.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect has failed"
)]

mod disks;
mod nbdsh;
mod running;
mod secure;
mod tools;
