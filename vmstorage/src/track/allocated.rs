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
        self.check(point)?;
        let (mut parts, mut at) = (Vec::new(), offset_bytes);
        while at < size && parts.len() < limit {
            let before = at;
            for part in self.status(Extent::new(at, size - at), PARTS).await? {
                at = part.extent.end_bytes();
                if part.allocated && !part.zero {
                    parts.push(part.extent);
                }
            }
            if at <= before {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("the disk does not say what it has at byte {before}"),
                ));
            }
        }
        // Asked for last: what was discarded before the disk told what it has is among it.
        let told = Extent::new(offset_bytes, at.saturating_sub(offset_bytes));
        let changed = self.changes(point, None, told, limit).await?;
        let known_end = changed.next_bytes.unwrap_or(size).min(at);
        parts.extend(changed.extents);
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
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::disk::memory::Memory;
    use crate::disk::{Answer, Durability, Geometry, Status, Zeroes};
    use crate::engine::{IoBuf, IoBufMut, run};
    use crate::track::{Fingerprint, Options, open};

    const BLOCK: u64 = 4096;

    /// A disk whose first block is discarded while it is asked what it has.
    #[derive(Debug, Default)]
    struct Vanishing(RefCell<Option<Tracker>>);

    fn done<T: 'static>(value: T) -> Answer<'static, T> {
        Box::pin(std::future::ready(Ok(value)))
    }

    impl Disk for Vanishing {
        fn name(&self) -> String {
            "vanishing".into()
        }

        fn geometry(&self) -> Geometry {
            Geometry {
                size_bytes: 10 * BLOCK,
                min_block_bytes: 1,
                preferred_block_bytes: 4096,
                read_only: false,
            }
        }

        fn read(&self, _: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
            done(buf)
        }

        fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
            done(())
        }

        fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
            done(())
        }

        fn discard(&self, _: Extent) -> Answer<'_, ()> {
            done(())
        }

        fn flush(&self) -> Answer<'_, ()> {
            done(())
        }

        fn status(&self, extent: Extent, _: usize) -> Answer<'_, Vec<Status>> {
            Box::pin(async move {
                let tracker = self.0.borrow().clone();
                if let Some(tracker) = tracker {
                    tracker.discard(Extent::new(0, BLOCK)).await?;
                }
                Ok(vec![Status {
                    extent,
                    allocated: false,
                    zero: true,
                }])
            })
        }

        fn resize(&self, _: u64) -> Answer<'_, ()> {
            done(())
        }
    }

    #[test]
    fn what_is_discarded_while_it_is_asked_for_was_allocated() {
        run(async {
            let disk = Rc::new(Vanishing::default());
            let options = Options {
                block_bytes: BLOCK as u32,
                ..Options::default()
            };
            let map = Rc::new(Memory::new(0));
            let opened = open(disk.clone(), map, &Fingerprint::new(), &options).await;
            let (tracker, _) = opened.unwrap();
            let point = tracker.checkpoint().await.unwrap();
            *disk.0.borrow_mut() = Some(tracker.clone());
            let all = tracker.allocated(&point, 0, 9).await.unwrap();
            assert_eq!(all.extents, [Extent::new(0, BLOCK)]);
            disk.0.take();
        })
        .unwrap();
    }

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
