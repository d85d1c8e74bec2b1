//! The generation map in memory: which entries are known, which pages are hot, what is to be
//! written. No I/O here, so nothing happens between two lines.

mod hot;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use super::page::{ENTRIES, Entries, Entry, PAGE_BYTES, RECORDS, Record, SEGMENT_BYTES, Summary};
use super::root::{DATA_START, page_count, segment_count};
use hot::HotPage;
pub(super) use stage::{Cool, Staged};

/// Neighbouring blocks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// The blocks of a range that lie in one page.
#[derive(Debug, Clone, Copy)]
struct Span {
    page: u32,
    lo: usize,
    hi: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    segments: Vec<Option<Box<Segment>>>,
    blocks: u64,
    cache: Cache,
    hot: BTreeMap<u32, HotPage>,
    dirty: BTreeSet<u32>,
    staged: BTreeSet<u32>,
    /// Slots of the file that were given to segments.
    slots: u32,
    /// Slots whose segments are whole in the file.
    pub(super) durable_slots: u32,
    /// Counts write-backs.
    clock: u64,
    max_hot: usize,
}

#[derive(Debug)]
struct Segment {
    slot: Option<u32>,
    /// The copy of the index page to write first: never the only good one.
    first_copy: u64,
    pages: Vec<Page>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Page {
    record: Record,
    cached: Option<u32>,
}

#[derive(Debug)]
struct Cache {
    slots: Vec<Cached>,
    limit: usize,
    hand: usize,
}

#[derive(Debug)]
struct Cached {
    page: Option<u32>,
    entries: Box<Entries>,
    used: bool,
}

impl Table {
    pub(super) fn new(
        size_bytes: u64,
        block_bytes: u32,
        cache_pages: usize,
        max_hot: usize,
    ) -> Self {
        let mut table = Self {
            segments: Vec::new(),
            blocks: 0,
            cache: Cache {
                slots: Vec::new(),
                limit: cache_pages,
                hand: 0,
            },
            hot: BTreeMap::new(),
            dirty: BTreeSet::new(),
            staged: BTreeSet::new(),
            slots: 0,
            durable_slots: 0,
            clock: 1,
            max_hot,
        };
        table.resize(size_bytes, block_bytes);
        table
    }

    /// An empty table for the same disk.
    pub(super) fn fresh(&self, size_bytes: u64, block_bytes: u32) -> Self {
        Self::new(size_bytes, block_bytes, self.cache.limit, self.max_hot)
    }

    /// The disk has grown to this size.
    pub(super) fn resize(&mut self, size_bytes: u64, block_bytes: u32) {
        self.blocks = size_bytes.div_ceil(block_bytes.into());
        let segments = segment_count(page_count(size_bytes, block_bytes));
        self.segments.resize_with(segments as usize, || None);
    }

    /// Takes a segment as it was found in a slot of the file; `newest` is the copy of its index
    /// page that was believed.
    ///
    /// Answers `false` when there is one already, or no place for it.
    pub(super) fn adopt(
        &mut self,
        slot: u32,
        number: u32,
        newest: u64,
        records: &[Record],
    ) -> bool {
        let Some(place @ None) = self.segments.get_mut(number as usize) else {
            return false;
        };
        let mut segment = Segment::new();
        segment.slot = Some(slot);
        segment.first_copy = 1 - newest;
        for (page, record) in segment.pages.iter_mut().zip(records) {
            page.record = *record;
        }
        *place = Some(Box::new(segment));
        self.slots = self.slots.max(slot + 1);
        self.durable_slots = self.slots;
        true
    }

    /// Those of the blocks that the disk has.
    pub(super) fn clip(&self, blocks: Blocks) -> Option<Blocks> {
        let last = blocks.last.min(self.blocks.checked_sub(1)?);
        (blocks.first <= last).then_some(Blocks { last, ..blocks })
    }

    fn spans(&self, blocks: Blocks) -> impl Iterator<Item = Span> + use<> {
        let entries = ENTRIES as u64;
        // Entries beyond the disk's end follow its last block, or its last page would never be
        // uniform.
        let last = if blocks.last + 1 >= self.blocks {
            (blocks.last / entries + 1) * entries - 1
        } else {
            blocks.last
        };
        (blocks.first / entries..=blocks.last / entries).map(move |page| Span {
            page: page as u32,
            lo: blocks.first.saturating_sub(page * entries) as usize,
            hi: (last - page * entries).min(entries - 1) as usize,
        })
    }

    fn page(&self, number: u32) -> Option<&Page> {
        let segment = self.segments.get(number as usize / RECORDS)?.as_ref()?;
        Some(&segment.pages[number as usize % RECORDS])
    }

    fn page_mut(&mut self, number: u32) -> &mut Page {
        let segment = &mut self.segments[number as usize / RECORDS];
        let segment = segment.get_or_insert_with(|| Box::new(Segment::new()));
        &mut segment.pages[number as usize % RECORDS]
    }

    fn span_covered(&self, span: Span, epoch: u32) -> bool {
        let Some(page) = self.page(span.page) else {
            return false;
        };
        if page.record.summary.last_min >= epoch {
            return true;
        }
        page.cached.is_some_and(|slot| {
            let entries = &self.cache.slots[slot as usize].entries[span.lo..=span.hi];
            entries.iter().all(|entry| entry.last >= epoch)
        })
    }

    /// Whether the entries of all of these blocks are of this epoch.
    pub(super) fn covered(&self, blocks: Blocks, epoch: u32) -> bool {
        self.spans(blocks)
            .all(|span| self.span_covered(span, epoch))
    }

    /// The first of these blocks that are not covered, in at most `limit` pages.
    pub(super) fn uncovered(&self, blocks: Blocks, epoch: u32, limit: usize) -> Option<Blocks> {
        let mut spans = self
            .spans(blocks)
            .skip_while(|&s| self.span_covered(s, epoch));
        let first = u64::from(spans.next()?.page) * ENTRIES as u64;
        // Fewer than there is room for, or two steps would take each other's pages away for ever.
        let limit = limit.min(self.max_hot / 2).min(self.cache.limit / 2).max(1);
        let end = first + (limit * ENTRIES) as u64;
        Some(Blocks {
            first: first.max(blocks.first),
            last: blocks.last.min(end - 1),
        })
    }

    /// The first page of these blocks that is not covered, if its entries must be read before that
    /// is known.
    pub(super) fn unread(&self, blocks: Blocks, epoch: u32) -> Option<u32> {
        let mut spans = self.spans(blocks);
        let first = spans.find(|&span| !self.span_covered(span, epoch))?;
        self.is_unread(first.page).then_some(first.page)
    }

    fn is_unread(&self, page: u32) -> bool {
        self.page(page)
            .is_some_and(|page| page.record.stored && page.cached.is_none())
    }

    /// Sets the entries of blocks that are hot, up to the first page whose entries are to be read
    /// before: to read all at first would not do, since a page makes room for another.
    pub(super) fn touch(&mut self, blocks: Blocks, epoch: u32) {
        for span in self.spans(blocks) {
            if !self.span_covered(span, epoch) {
                if self.is_unread(span.page) {
                    return;
                }
                self.touch_span(span, epoch);
                self.dirty.insert(span.page);
                if let Some(hot) = self.hot.get_mut(&span.page) {
                    hot.used = self.clock;
                }
            }
        }
    }

    fn touch_span(&mut self, span: Span, epoch: u32) {
        let whole = span.lo == 0 && span.hi == ENTRIES - 1;
        let page = *self.page_mut(span.page);
        if let (None, true, Some(mut entry)) = (page.cached, whole, page.record.summary.one()) {
            entry.touch(epoch);
            self.page_mut(span.page).record = Record {
                summary: Summary::uniform(entry),
                crc: 0,
                stored: false,
            };
            return;
        }
        let slot = match page.cached {
            Some(slot) => slot,
            None => {
                // If it has entries that are not here, they count as changed in every epoch.
                let entry = page.record.summary.one().unwrap_or(Entry {
                    last: epoch,
                    before: epoch.saturating_sub(1),
                });
                self.place(span.page, Box::new([entry; ENTRIES]))
            }
        };
        let cached = &mut self.cache.slots[slot as usize];
        cached.used = true;
        for entry in &mut cached.entries[span.lo..=span.hi] {
            entry.touch(epoch);
        }
        let summary = &mut self.page_mut(span.page).record.summary;
        summary.touch(epoch);
        if whole {
            summary.last_min = epoch;
        }
    }

    /// All blocks of a page count as changed in every epoch.
    pub(super) fn claim_all(&mut self, page: u32, epoch: u32) {
        if let Some(slot) = self.page_mut(page).cached.take() {
            self.cache.slots[slot as usize].page = None;
        }
        let before = epoch.saturating_sub(1);
        self.page_mut(page).record = Record {
            summary: Summary::uniform(Entry {
                last: epoch,
                before,
            }),
            crc: 0,
            stored: false,
        };
    }

    /// Where a page is in the file and its checksum, if it is there and not in memory.
    pub(super) fn place_of(&self, page: u32) -> Option<(u64, u32)> {
        let segment = self.segments.get(page as usize / RECORDS)?.as_ref()?;
        let known = &segment.pages[page as usize % RECORDS];
        let wanted = known.record.stored && known.cached.is_none();
        let slot = segment.slot?;
        wanted.then(|| (page_place(slot, page), known.record.crc))
    }

    /// Takes the entries of a page that was read, unless another reader was faster.
    pub(super) fn insert(&mut self, page: u32, crc: u32, entries: Box<Entries>) {
        if self.place_of(page).is_some_and(|(_, known)| known == crc) {
            self.place(page, entries);
        }
    }

    /// Takes the entries of a hot page after a crash, whatever the index says: it may be older.
    pub(super) fn trust(&mut self, page: u32, crc: u32, entries: Box<Entries>) {
        let record = &mut self.page_mut(page).record;
        (record.crc, record.summary) = (crc, Summary::of(&entries));
        self.insert(page, crc, entries);
    }

    fn place(&mut self, page: u32, entries: Box<Entries>) -> u32 {
        let cached = Cached {
            page: Some(page),
            entries,
            used: true,
        };
        let slot = match self.victim() {
            Some(slot) => {
                if let Some(old) = self.cache.slots[slot].page {
                    self.page_mut(old).cached = None;
                }
                self.cache.slots[slot] = cached;
                slot
            }
            None => {
                self.cache.slots.push(cached);
                self.cache.slots.len() - 1
            }
        };
        self.page_mut(page).cached = Some(slot as u32);
        slot as u32
    }

    /// A slot of the cache to use anew: never that of a page which differs from the file.
    fn victim(&mut self) -> Option<usize> {
        let count = self.cache.slots.len();
        if count < self.cache.limit {
            return None;
        }
        for _ in 0..2 * count {
            let at = self.cache.hand;
            self.cache.hand = (at + 1) % count;
            let cached = &mut self.cache.slots[at];
            let Some(page) = cached.page else {
                return Some(at);
            };
            let used = std::mem::replace(&mut cached.used, false);
            if !used && !self.dirty.contains(&page) && !self.staged.contains(&page) {
                return Some(at);
            }
        }
        None
    }

    /// What is known of a page: its bounds and, if they are in memory, its entries. `None` when no
    /// block of its segment ever changed.
    pub(super) fn look(&self, page: u32) -> Option<(Summary, Option<&Entries>)> {
        let page = self.page(page)?;
        let cached = page
            .cached
            .map(|slot| &*self.cache.slots[slot as usize].entries);
        Some((page.record.summary, cached))
    }

    /// The first page from `page` on whose segment exists.
    pub(super) fn next_page(&self, page: u32) -> Option<u32> {
        let from = page as usize / RECORDS;
        if self.segments.get(from)?.is_some() {
            return Some(page);
        }
        let found = self.segments[from..].iter().position(Option::is_some)?;
        Some(((from + found) * RECORDS) as u32)
    }

    /// Bytes of memory that the table may take at most with the segments it has.
    pub(super) fn memory_bytes(&self) -> usize {
        let segments = self.segments.iter().flatten().count();
        let cache = self.cache.slots.len().max(self.cache.limit) * size_of::<Entries>();
        self.segments.len() * size_of::<usize>()
            + segments * (size_of::<Segment>() + RECORDS * size_of::<Page>())
            + cache
    }
}

impl Segment {
    fn new() -> Self {
        Self {
            slot: None,
            first_copy: 0,
            pages: vec![Page::default(); RECORDS],
        }
    }
}

/// Where a slot of the file begins.
pub(super) fn slot_place(slot: u32) -> u64 {
    DATA_START + u64::from(slot) * SEGMENT_BYTES
}

fn page_place(slot: u32, page: u32) -> u64 {
    slot_place(slot) + ((2 + page as usize % RECORDS) * PAGE_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::hot::parts;
    use super::*;
    use crate::track::page::ALL_PARTS;

    fn blocks(first: u64, last: u64) -> Blocks {
        Blocks { first, last }
    }

    /// Heats blocks and notes a change of them in epoch 1.
    fn change(table: &mut Table, changed: Blocks) {
        assert!(table.heat(changed, 1));
        let list = table.hot_list();
        table.hot_is_durable(&list);
        assert!(table.is_hot(changed, 1));
        table.touch(changed, 1);
    }

    #[test]
    fn what_changes_during_a_write_back_stays_hot() {
        let mut table = Table::new(4096 * 10_000, 4096, 16, 8);
        change(&mut table, blocks(0, 3));
        let staged = table.stage(Uuid::nil(), 1);
        assert_eq!((staged.pages.len(), staged.indexes.len()), (1, 1));
        change(&mut table, blocks(7, 7));
        table.settled(&staged, true, Cool::All);
        assert_eq!(table.hot_count(), 1);
        let staged = table.stage(Uuid::nil(), 2);
        table.settled(&staged, false, Cool::All);
        assert_eq!(table.hot_count(), 1, "it failed");
        let staged = table.stage(Uuid::nil(), 3);
        table.settled(&staged, true, Cool::All);
        assert!(table.is_settled());
        assert!(table.covered(blocks(0, 3), 1) && !table.covered(blocks(0, 4), 1));
        assert!(!table.is_hot(blocks(4, 4), 1));
    }

    #[test]
    fn a_change_of_whole_pages_is_a_number_each() {
        let mut table = Table::new(4096 * 1000, 4096, 16, 8);
        change(&mut table, blocks(0, 999));
        let staged = table.stage(Uuid::nil(), 1);
        assert!(staged.pages.is_empty());
        assert_eq!(staged.indexes.len(), 1);
        assert!(table.covered(blocks(0, 999), 1));
    }

    #[test]
    fn parts_are_those_of_the_blocks() {
        assert_eq!(parts(0, 0), 1);
        assert_eq!(parts(17, 18), 0b11);
        assert_eq!(parts(503, 503), 1 << 27);
        assert_eq!(parts(0, 503), ALL_PARTS);
    }
}
