//! The program `vmstorage serve` with clients that nobody here wrote: nbdcopy, nbdinfo, nbdsh,
//! qemu-io, qemu-img and fio. All of them have to be installed.

mod checkpoints;
mod control;
mod crash;
mod disks;
mod service;
