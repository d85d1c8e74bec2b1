//! Reference points: an instant of a disk, as numbers.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::inner::full_needed;
use super::root::Root;
use crate::disk::{Error, ErrorKind, Result};

/// An instant of a disk: the end of one epoch of its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The disk, from the beginning of its map on.
    pub disk_id: Uuid,
    /// Another one after a revert, a shrink or a change that was not tracked.
    pub generation: Uuid,
    /// From one opening of the map to the next; tells copies of a disk from each other.
    pub session: Uuid,
    /// The epoch that it ended.
    pub epoch: u32,
    /// Size of the disk then.
    pub size_bytes: u64,
    /// Bytes that an entry of the map stands for.
    pub block_bytes: u32,
}

/// A point with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefPoint {
    /// Of the point itself, wherever it travels.
    pub id: Uuid,
    /// For people; unique among the points of a disk.
    pub name: String,
    /// The instant.
    pub point: Point,
    /// Seconds since 1970 when it was made, by the clock of the machine; nothing depends on it.
    pub created_s: u64,
    /// It came from a dirty bitmap: what changed since is known, what changed before is not.
    #[serde(default)]
    pub imported: bool,
    /// BLAKE3 of the map's header as it was at the instant ([`Point::digest`]), in hex.
    pub digest: String,
}

impl Point {
    /// BLAKE3, in hex, of the header fields that the point stands on, in order and little-endian:
    /// disk id, generation, session, epoch, size, block size.
    pub fn digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for id in [self.disk_id, self.generation, self.session] {
            hash.update(id.as_bytes());
        }
        hash.update(&self.epoch.to_le_bytes());
        hash.update(&self.size_bytes.to_le_bytes());
        hash.update(&self.block_bytes.to_le_bytes());
        hash.finalize().to_hex().to_string()
    }
}

impl RefPoint {
    /// Names a point.
    pub fn new(name: impl Into<String>, point: Point) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            id: Uuid::new_v4(),
            name: name.into(),
            digest: point.digest(),
            point,
            created_s: now.map_or(0, |since| since.as_secs()),
            imported: false,
        }
    }

    /// Refuses a point whose fields are not those that it was made with, or a name that cannot be
    /// one: empty, longer than 255 bytes, with control characters or `/`, or the id of a point.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], [`ErrorKind::Unsupported`].
    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        if self.digest != self.point.digest() {
            return Err(Error::corrupt(format!(
                "the reference point `{}` is damaged: its digest does not agree",
                self.name.escape_default()
            )));
        }
        Ok(())
    }
}

/// Refuses what cannot name a point.
pub(super) fn check_name(name: &str) -> Result<()> {
    let wrong = |c: char| c.is_control() || c == '/';
    let is_id = Uuid::try_parse(name).is_ok();
    if name.is_empty() || name.len() > 255 || name.contains(wrong) || is_id {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "`{}` cannot name a reference point: 1 to 255 bytes, no `/`, no control \
                 characters, not an id",
                name.escape_default()
            ),
        ));
    }
    Ok(())
}

impl Root {
    /// Refuses a point of another disk, of an earlier generation, of a copy that went its own way,
    /// or yet to come.
    pub(super) fn check_point(&self, point: &Point) -> Result<()> {
        if point.disk_id != self.disk_id {
            return Err(full_needed(&format!(
                "the point is of disk {}, and this is disk {}",
                point.disk_id, self.disk_id
            )));
        }
        if point.generation != self.generation {
            return Err(full_needed(&format!(
                "the point is older than the disk's generation ({})",
                self.reason
            )));
        }
        if point.block_bytes != self.block_bytes || point.size_bytes > self.size_bytes {
            return Err(full_needed("the point's sizes are not those of this disk"));
        }
        let at = self
            .branches
            .iter()
            .position(|b| b.session == point.session);
        let Some(at) = at else {
            return Err(full_needed(
                "the point was made on a copy of this disk, or too many restarts ago",
            ));
        };
        let end = self
            .branches
            .get(at + 1)
            .map_or(self.epoch, |next| next.first_epoch);
        if point.epoch < self.branches[at].first_epoch || point.epoch >= end {
            return Err(full_needed(
                "the point was made on a copy of this disk that has gone its own way",
            ));
        }
        Ok(())
    }
}
