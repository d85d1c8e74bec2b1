//! Backups: a repository of chunks from which every point of a disk restores alone.
//!
//! A repository has objects of four kinds: `config`, `packs/…` (chunks of data and their index),
//! `snapshots/…` (a point: what it is, and a complete map from the disk to chunks) and
//! `manifests/…` (what it is alone). An object is durable before another names it, and nothing
//! that has been written is changed, but for maps when chunks move to other packs. A map is
//! complete, so no point needs another one, and removing a point cannot hurt the rest.
//!
//! Repositories are hostile input: everything that is read is checked against a digest first, and
//! no size in them is believed before it was compared with what is there.

mod damage;
mod draft;
mod envelope;
mod image;
mod index;
mod known;
mod lock;
mod manifest;
mod pack;
pub mod plain;
mod prune;
mod remote;
mod repack;
mod repo;
mod run;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod verify;

pub use envelope::Key;
pub use image::{Image, restore};
pub use lock::{Lock, Owner, locks, unlock};
pub use manifest::Manifest;
pub use prune::{Keep, Plan as PrunePlan, Pruned, prune};
pub use repo::Repository;
pub use run::{Plan, Progress, run};
pub use store::{Guard, Local, Store, open as open_store};
pub use verify::{Problem, verify};

use crate::disk::{Error, ErrorKind};

/// The store, or what is in it, does not answer as it should.
fn corrupt(name: &str, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("backup object `{name}`: {what}"),
    )
}
