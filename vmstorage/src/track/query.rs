//! Answers: which parts of the disk changed from one point until another.

use super::inner::Inner;
use super::page::{ENTRIES, Entries, Summary};
use super::point::Point;
use super::tracker::Tracker;
use crate::disk::{Error, ErrorKind, Extent, Result};

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// What changed: in order, apart from each other.
    pub extents: Vec<Extent>,
    /// Where to ask for more; `None` when the range has no more.
    pub next_bytes: Option<u64>,
}

/// Epochs and sizes that an answer is for.
#[derive(Debug, Clone, Copy)]
struct Span {
    since: u32,
    until: u32,
    /// End of the disk at the earlier point, where the map's answer ends.
    old_end: u64,
    /// End of the range.
    end: u64,
    block: u64,
}

#[derive(Debug)]
struct Collector {
    changes: Changes,
    limit: usize,
}

impl Tracker {
    /// Refuses a point that the map cannot answer for.
    ///
    /// # Errors
    /// [`ErrorKind::FullNeeded`]: it is of another disk, an older generation, a copy of the disk
    /// that has gone its own way, or the map is damaged.
    pub fn check(&self, point: &Point) -> Result<()> {
        self.inner.check_void()?;
        self.inner.root.borrow().check_point(point)
    }

    /// What of `range` changed after `since` and not after `until`; until now without one. At most
    /// `limit` extents, at least one if anything changed; ask again from [`Changes::next_bytes`]
    /// on.
    ///
    /// The answer covers every byte that differs between the two instants. It names whole blocks,
    /// and only such as changed, unless the machine failed while they were hot, or a block changed
    /// in two epochs after `until`: such a block is named if it may have changed.
    ///
    /// # Errors
    /// As [`Tracker::check`]; [`ErrorKind::Unsupported`] when `until` is before `since`;
    /// [`ErrorKind::OutOfRange`] when the range begins beyond the disk.
    pub async fn changes(
        &self,
        since: &Point,
        until: Option<&Point>,
        range: Extent,
        limit: usize,
    ) -> Result<Changes> {
        self.check(since)?;
        if let Some(until) = until {
            self.check(until)?;
        }
        let span = self.inner.span(since, until, range)?;
        let mut found = Collector {
            changes: Changes::default(),
            limit: limit.max(1),
        };
        if span.since < span.until {
            self.inner
                .collect(span, range.offset_bytes, &mut found)
                .await?;
        }
        // A page that was read may have voided the map.
        self.check(since)?;
        Ok(found.changes)
    }
}

impl Inner {
    fn span(&self, since: &Point, until: Option<&Point>, range: Extent) -> Result<Span> {
        let now = self.now();
        let disk_end = until.map_or(now.size_bytes, |until| until.size_bytes);
        if range.offset_bytes > disk_end {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "byte {} is beyond the disk of {disk_end} bytes",
                    range.offset_bytes
                ),
            ));
        }
        if until.is_some_and(|until| until.epoch < since.epoch) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the point to answer until is older than the one to answer since",
            ));
        }
        let end = range.offset_bytes.saturating_add(range.len_bytes);
        Ok(Span {
            since: since.epoch,
            until: until.map_or(u32::MAX, |until| until.epoch),
            old_end: since.size_bytes.min(disk_end),
            end: end.min(disk_end),
            block: now.block_bytes.into(),
        })
    }

    async fn collect(
        self: &std::rc::Rc<Self>,
        span: Span,
        start: u64,
        found: &mut Collector,
    ) -> Result<()> {
        let page_bytes = span.block * ENTRIES as u64;
        let map_end = span.end.min(span.old_end);
        let mut at = start;
        while at < map_end {
            let page = (at / page_bytes) as u32;
            let Some(next) = self.table.borrow().next_page(page) else {
                break;
            };
            if next != page {
                at = u64::from(next) * page_bytes;
                continue;
            }
            if self.must_read(page, span) {
                self.load(page).await?;
                self.check_void()?;
                continue;
            }
            let end = ((u64::from(page) + 1) * page_bytes).min(map_end);
            let table = self.table.borrow();
            if let Some((summary, entries)) = table.look(page)
                && !found.page(span, (at, end), page, summary, entries)
            {
                return Ok(());
            }
            at = end;
        }
        // All that the disk grew by since then.
        found.add(start.max(span.old_end), span.end);
        Ok(())
    }

    /// The page's entries are needed and not in memory.
    fn must_read(&self, page: u32, span: Span) -> bool {
        let table = self.table.borrow();
        table.place_of(page).is_some()
            && table.look(page).is_some_and(|(summary, _)| {
                !summary.none_changed(span.since, span.until)
                    && !summary.all_changed(span.since, span.until)
            })
    }
}

impl Collector {
    /// Adds what changed in a part of a page. Answers `false` when there is no room.
    fn page(
        &mut self,
        span: Span,
        (start, end): (u64, u64),
        page: u32,
        summary: Summary,
        entries: Option<&Entries>,
    ) -> bool {
        if summary.none_changed(span.since, span.until) {
            return true;
        }
        if summary.all_changed(span.since, span.until) {
            return self.add(start, end);
        }
        let Some(entries) = entries else {
            // Uniform, and then one of the two above; if it were not, it may have changed.
            return self.add(start, end);
        };
        let base = u64::from(page) * ENTRIES as u64;
        for block in start / span.block..end.div_ceil(span.block) {
            let index = (block - base) as usize;
            let from = (block * span.block).max(start);
            let to = ((block + 1) * span.block).min(end);
            if entries[index].changed(span.since, span.until) && !self.add(from, to) {
                return false;
            }
        }
        true
    }

    fn add(&mut self, start: u64, end: u64) -> bool {
        if start >= end {
            return true;
        }
        let full = self.changes.extents.len() >= self.limit;
        match self.changes.extents.last_mut() {
            Some(last) if last.offset_bytes + last.len_bytes == start => {
                last.len_bytes = end - last.offset_bytes;
            }
            _ if full => {
                self.changes.next_bytes = Some(start);
                return false;
            }
            _ => self.changes.extents.push(Extent::new(start, end - start)),
        }
        true
    }
}
