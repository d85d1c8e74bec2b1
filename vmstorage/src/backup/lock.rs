//! Locks of a repository in a bucket: objects, which stay when who made them is killed.
//!
//! Who comes puts its own first and looks for others then, so of two at least one sees the other;
//! that takes a bucket whose listings show what was put before, as those of S3 do.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::remote::Remote;
use super::store::{Guard, Store};
use crate::disk::{Error, ErrorKind, Result};

const FOLDER: &str = "locks";
/// No content of a lock is longer.
const MAX_BYTES: usize = 4096;

/// Who made a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// Name of its machine.
    pub host: String,
    /// Number of its process there; 0 when it is not known.
    pub process: u32,
    /// When, in milliseconds since 1970 by that machine's clock.
    pub time_ms: u64,
}

impl Owner {
    fn own() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let host = rustix::system::uname();
        Self {
            host: host.nodename().to_string_lossy().into_owned(),
            process: std::process::id(),
            time_ms: now.map_or(0, |now| now.as_millis() as u64),
        }
    }

    /// What the object says; a lock counts whatever it says.
    fn read(store: &dyn Store, name: &str) -> Option<Self> {
        let len = usize::try_from(store.len_bytes(name).ok()?).ok()?;
        let text = store.read(name, 0, len.min(MAX_BYTES)).ok()?;
        let mut owner: Self = serde_json::from_slice(&text).ok()?;
        // Anybody who may write to the bucket says this to a terminal.
        owner.host.retain(|letter| !letter.is_control());
        Some(owner)
    }
}

/// A lock in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// Its object.
    pub name: String,
    /// Nobody else may use the repository.
    pub exclusive: bool,
    /// Who made it.
    #[serde(flatten)]
    pub owner: Owner,
}

/// The locks that are in a repository. A directory has none: its lock ends with the process.
///
/// # Errors
/// Of the store.
pub fn locks(store: &dyn Store) -> Result<Vec<Lock>> {
    let lock = |name: String| Lock {
        exclusive: is_exclusive(&name),
        owner: Owner::read(store, &name).unwrap_or_default(),
        name,
    };
    Ok(store.list(FOLDER)?.into_iter().map(lock).collect())
}

/// Removes a lock, whose command must not run any more: `prune` would remove what it writes.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no lock of that name; of the store.
pub fn unlock(store: &dyn Store, name: &str) -> Result<()> {
    let object = match name.strip_prefix(FOLDER) {
        Some(_) => name.to_owned(),
        None => format!("{FOLDER}/{name}"),
    };
    if !store.list(FOLDER)?.contains(&object) {
        let message = format!("there is no lock `{object}`; help: without a name all are listed");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    store.delete(&object)
}

/// Keeps others from removing what is read, where something can be written.
///
/// # Errors
/// When somebody removes; of the store.
pub(super) fn lock_to_read(store: &dyn Store) -> Result<Option<Box<dyn Guard>>> {
    match store.lock(false) {
        Err(error) if error.kind() == ErrorKind::ReadOnly => {
            tracing::debug!(%error, "read without a lock");
            Ok(None)
        }
        locked => locked.map(Some),
    }
}

/// Makes a lock object, which the guard removes. The error names one that a dead process left.
pub(super) fn lock(store: &Remote, exclusive: bool) -> Result<Box<dyn Guard>> {
    let kind = if exclusive { "exclusive" } else { "shared" };
    let name = format!("{FOLDER}/{}-{kind}", uuid::Uuid::new_v4());
    let content = serde_json::to_vec(&Owner::own())
        .map_err(|error| Error::io(format!("write `{name}`"), error.into()))?;
    store.put(&name, &content)?;
    let held = Held {
        store: store.clone(),
        name: name.clone(),
    };
    let others = store.list(FOLDER)?;
    let in_the_way = |other: &String| *other != name && (exclusive || is_exclusive(other));
    match others.into_iter().find(in_the_way) {
        None => Ok(Box::new(held)),
        Some(other) => {
            let owner = Owner::read(store, &other).map_or_else(String::new, |owner| {
                format!(" of process {} on `{}`", owner.process, owner.host)
            });
            let message = format!(
                "the repository is in use by `{other}`{owner}; help: if that command does not run \
                 any more, remove its lock with `vmstorage backup unlock`"
            );
            Err(Error::new(ErrorKind::Io, message))
        }
    }
}

fn is_exclusive(name: &str) -> bool {
    name.ends_with("-exclusive")
}

#[derive(Debug)]
struct Held {
    store: Remote,
    name: String,
}

impl Guard for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.store.delete(&self.name) {
            tracing::warn!(%error, "a lock was left in the repository");
        }
    }
}
