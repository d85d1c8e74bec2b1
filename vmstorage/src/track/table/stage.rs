//! Write-backs: what goes to the file, and what may cool once it is there.

use uuid::Uuid;

use super::{Page, Table, page_place, slot_place};
use crate::track::page::{Label, PAGE_BYTES, RECORDS, Record, Summary, encode_index, encode_page};

/// Which hot pages a write-back lets cool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::track) enum Cool {
    /// Those that had no new change since the last write-back.
    Idle,
    /// All that are whole in the file.
    All,
}

/// A write-back: what goes where.
#[derive(Debug)]
pub(in crate::track) struct Staged {
    /// Pages of entries by their place in the file.
    pub(in crate::track) pages: Vec<(u64, Vec<u8>)>,
    /// Index pages: place of the copy to write first, of the other, bytes.
    pub(in crate::track) indexes: Vec<(u64, u64, Vec<u8>)>,
    segments: Vec<u32>,
    numbers: Vec<u32>,
    /// Bytes that the file must have.
    pub(in crate::track) file_bytes: u64,
    slots: u32,
}

impl Table {
    /// What has to be written so that the file is up to date; changes from now on are for the next.
    pub(in crate::track) fn stage(&mut self, generation: Uuid, stamp: u64) -> Staged {
        let numbers: Vec<u32> = std::mem::take(&mut self.dirty).into_iter().collect();
        self.staged.extend(&numbers);
        self.clock += 1;
        let mut segments: Vec<u32> = numbers.iter().map(|&p| p / RECORDS as u32).collect();
        segments.dedup();
        for &segment in &segments {
            if let Some(segment) = &mut self.segments[segment as usize]
                && segment.slot.is_none()
            {
                segment.slot = Some(self.slots);
                self.slots += 1;
            }
        }
        let mut pages = Vec::new();
        for &number in &numbers {
            pages.extend(self.stage_page(number, generation, stamp));
        }
        let mut indexes = Vec::new();
        for &number in &segments {
            let Some(segment) = &self.segments[number as usize] else {
                continue;
            };
            let label = Label {
                stamp,
                generation,
                number,
            };
            let records = segment.pages.iter().map(|page| page.record);
            let bytes = encode_index(label, records);
            let base = slot_place(segment.slot.unwrap_or_default());
            let first = base + segment.first_copy * PAGE_BYTES as u64;
            let second = base + (1 - segment.first_copy) * PAGE_BYTES as u64;
            indexes.push((first, second, bytes));
        }
        Staged {
            pages,
            indexes,
            segments,
            numbers,
            file_bytes: slot_place(self.slots),
            slots: self.slots,
        }
    }

    fn stage_page(&mut self, number: u32, generation: Uuid, stamp: u64) -> Option<(u64, Vec<u8>)> {
        let page = *self.page_mut(number);
        let slot = page.cached?;
        let entries = &self.cache.slots[slot as usize].entries;
        let summary = Summary::of(entries);
        if summary.one().is_some() {
            self.cache.slots[slot as usize].page = None;
            *self.page_mut(number) = Page {
                record: Record {
                    summary,
                    crc: 0,
                    stored: false,
                },
                cached: None,
            };
            return None;
        }
        let label = Label {
            stamp,
            generation,
            number,
        };
        let (bytes, crc) = encode_page(label, entries);
        self.page_mut(number).record = Record {
            summary,
            crc,
            stored: true,
        };
        let segment = self.segments[number as usize / RECORDS].as_ref()?;
        Some((page_place(segment.slot?, number), bytes))
    }

    /// The first copies of the index pages are durable.
    pub(in crate::track) fn first_copies_written(&mut self, staged: &Staged) {
        for &number in &staged.segments {
            if let Some(segment) = &mut self.segments[number as usize] {
                segment.first_copy = 1 - segment.first_copy;
            }
        }
    }

    /// All of the write-back is durable, or not: then all of it is due again.
    pub(in crate::track) fn settled(&mut self, staged: &Staged, durable: bool, cool: Cool) {
        for number in &staged.numbers {
            self.staged.remove(number);
        }
        if !durable {
            self.dirty.extend(&staged.numbers);
            return;
        }
        self.durable_slots = staged.slots;
        let (clock, dirty) = (self.clock, &self.dirty);
        self.hot.retain(|page, hot| {
            let idle = hot.durable == hot.wanted && (cool == Cool::All || hot.used + 1 < clock);
            dirty.contains(page) || !idle
        });
    }

    /// Whether anything is hot or to be written.
    pub(in crate::track) fn is_settled(&self) -> bool {
        self.hot.is_empty() && self.dirty.is_empty()
    }
}
