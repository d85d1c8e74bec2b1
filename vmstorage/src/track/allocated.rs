//! What of a disk was allocated at a point, though nothing of the disk as it was then is kept.

use super::point::Point;
use super::query::Changes;
use super::tracker::Tracker;
use crate::disk::{Disk, Error, ErrorKind, Extent, Result};

/// Parts of the disk that are asked for at once.
const PARTS: usize = 1024;

impl Tracker {
    /// From a byte to the disk's end at `point`, what was allocated then: what is allocated and not
    /// zero now, and what changed since. What is neither was a hole then, as it is now.
    ///
    /// # Errors
    /// As [`Tracker::changes`], and of the disk.
    pub async fn allocated(
        &self,
        point: &Point,
        offset_bytes: u64,
        limit: usize,
    ) -> Result<Changes> {
        let limit = limit.max(1);
        let size = point.size_bytes;
        let rest = Extent::new(offset_bytes, size.saturating_sub(offset_bytes));
        let changed = self.changes(point, None, rest, limit).await?;
        let mut parts = changed.extents;
        let mut known_end = changed.next_bytes.unwrap_or(size);
        let mut at = offset_bytes;
        let mut found = 0;
        while at < known_end && found < limit {
            let asked = Extent::new(at, known_end - at);
            let before = at;
            for part in self.status(asked, PARTS).await? {
                at = part.extent.end_bytes();
                if part.allocated && !part.zero {
                    parts.push(part.extent);
                    found += 1;
                }
            }
            if at <= before {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("the disk does not say what it has at byte {before}"),
                ));
            }
        }
        known_end = known_end.min(at.max(offset_bytes));
        Ok(union(parts, known_end, size, limit))
    }
}

/// Joins parts in any order as far as all of them are known.
fn union(mut parts: Vec<Extent>, known_end: u64, size: u64, limit: usize) -> Changes {
    parts.sort_by_key(|part| part.offset_bytes);
    let mut all = Changes {
        extents: Vec::new(),
        next_bytes: (known_end < size).then_some(known_end),
    };
    for part in parts {
        let (start, end) = (part.offset_bytes, part.end_bytes().min(known_end));
        if start >= end {
            continue;
        }
        let full = all.extents.len() == limit;
        match all.extents.last_mut() {
            Some(last) if start <= last.end_bytes() => {
                last.len_bytes = end.max(last.end_bytes()) - last.offset_bytes;
            }
            _ if full => {
                all.next_bytes = Some(start);
                break;
            }
            _ => all.extents.push(Extent::new(start, end - start)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_as_far_as_they_are_known() {
        let part = Extent::new;
        let parts = vec![
            part(10, 10),
            part(15, 10),
            part(0, 5),
            part(40, 9),
            part(25, 1),
        ];
        let all = union(parts.clone(), 45, 100, 9);
        assert_eq!(all.extents, [part(0, 5), part(10, 16), part(40, 5)]);
        assert_eq!(all.next_bytes, Some(45));
        let some = union(parts, 100, 100, 2);
        assert_eq!(some.extents, [part(0, 5), part(10, 16)]);
        assert_eq!(some.next_bytes, Some(40));
    }
}
