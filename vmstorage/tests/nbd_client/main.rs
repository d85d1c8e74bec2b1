//! The NBD client with servers that nobody here wrote: nbdkit, qemu-nbd, qemu-storage-daemon.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect has failed"
)]

mod breaking;
mod contexts;
mod requests;
mod secure;
mod servers;
