//! Change tracking: which blocks changed since which reference point.
//!
//! A [`Tracker`] is a filter over a disk. Its generation map, in a file beside the disk, holds for
//! every block the tracking epoch of its last change; a checkpoint ends an epoch. "Changed since R"
//! is then `epoch > R`, so a reference point costs nothing but its name. The map may claim more
//! than what changed, after a crash for instance, and never less: what it cannot know it answers
//! with [`crate::disk::ErrorKind::FullNeeded`]. `docs/reference/change-tracking.md` has the format
//! byte by byte, and why no change is missed.
//!
//! In reading order: [`page`] and [`root`] (the map's bytes), [`table`] (the map in memory, without
//! I/O), [`inner`] (what is written when), [`tracker`] (the filter), [`open`], [`query`], [`store`]
//! (reference points by name), [`catalog`] (what the command line and the server call).

mod allocated;
pub mod catalog;
mod cut;
mod device;
mod fingerprint;
mod flights;
mod inner;
mod mark;
mod offline;
mod open;
mod page;
mod point;
mod query;
mod root;
mod settle;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod tracker;

pub use fingerprint::Fingerprint;
pub use mark::Mark;
pub use offline::Offline;
pub use open::{Beginning, MapInfo, Options, inspect, open, open_marked, peek};
pub use point::{Point, RefPoint};
pub use query::Changes;
pub use store::{Store, lock_map};
pub use tracker::{Hold, Tracker};

/// The flag of an extent that changed since the point, as in QEMU's `qemu:dirty-bitmap:` contexts.
pub const CHANGED: u32 = 1;

/// Block size of a new map unless another is asked for.
pub const DEFAULT_BLOCK_BYTES: u32 = 64 << 10;
/// Smallest block.
pub const MIN_BLOCK_BYTES: u32 = 4 << 10;
/// Largest block.
pub const MAX_BLOCK_BYTES: u32 = 1 << 20;
