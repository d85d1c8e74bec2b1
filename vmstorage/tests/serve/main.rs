//! The program `vmstorage serve` with clients that nobody here wrote: nbdcopy, nbdinfo, nbdsh,
//! qemu-io, qemu-img and fio. All of them have to be installed.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect has failed"
)]

#[path = "../vhost/boot.rs"]
mod boot;
mod checkpoints;
mod control;
mod crash;
mod crowd;
mod disks;
#[allow(dead_code, reason = "other tests drive more")]
#[path = "../vhost/driver.rs"]
mod driver;
mod guest;
mod secure;
mod service;
