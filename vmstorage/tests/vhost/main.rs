//! vhost-user-blk with a front end that the test drives itself, and with QEMU's.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect has failed"
)]

mod boot;
mod driver;
mod qemu;
mod requests;
mod served;
