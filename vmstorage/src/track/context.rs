//! Changes as a metadata context of Network Block Device, `reeve:changes:<point>`.

use super::point::Point;
use super::tracker::Tracker;
use crate::disk::{ErrorKind, Extent, Result};

/// The flag of an extent that changed since the point, as in QEMU's `qemu:dirty-bitmap:` contexts.
pub const CHANGED: u32 = 1;

/// Lengths and flags of at most `limit` neighbouring extents from the start of `range`.
///
/// A server should not offer the context when [`Tracker::check`] refuses the point. Should the map
/// be found damaged later, while a client has the context, all of the range counts as changed.
///
/// # Errors
/// As [`Tracker::changes`], without [`ErrorKind::FullNeeded`].
pub async fn context_extents(
    tracker: &Tracker,
    since: &Point,
    range: Extent,
    limit: usize,
) -> Result<Vec<(u64, u32)>> {
    let limit = limit.max(1);
    let changes = match tracker.changes(since, None, range, limit).await {
        Err(error) if error.kind() == ErrorKind::FullNeeded => {
            return Ok(vec![(range.len_bytes, CHANGED)]);
        }
        changes => changes?,
    };
    let known_end = range.offset_bytes.saturating_add(range.len_bytes);
    let known_end = changes.next_bytes.unwrap_or(known_end);
    let mut extents = Vec::new();
    let mut at = range.offset_bytes;
    for changed in &changes.extents {
        if changed.offset_bytes > at {
            extents.push((changed.offset_bytes - at, 0));
        }
        extents.push((changed.len_bytes, CHANGED));
        at = changed.end_bytes();
    }
    if at < known_end {
        extents.push((known_end - at, 0));
    }
    extents.truncate(limit);
    Ok(extents)
}
