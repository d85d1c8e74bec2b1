//! Storage services for virtual machines: disks served to QEMU and others with change tracking,
//! reference points, and backups made from them.
//!
//! Nothing here knows of containers. A disk, its filters and its clients belong to one thread with
//! an [`engine`] of its own; the control plane talks to that thread, never to the disk.
//!
//! In reading order: [`disk`] (the trait, back ends and formats), [`engine`] (I/O of a thread).

pub mod backup;
pub mod cli;
pub mod csi;
pub mod disk;
pub mod engine;
pub mod filter;
mod held;
pub mod nbd;
pub mod serve;
pub mod track;
pub mod vhost;
