//! Where a part of the disk is.

use std::rc::Rc;

use super::cache::Slice;
use super::image::Image;
use super::layout::{Entry, Kind, OFFSET_MASK};
use crate::disk::{Error, Result};

impl Image {
    /// What the part's first byte is backed by, and for how many bytes.
    pub(super) async fn find(&self, guest: u64, len: u64) -> Result<(Kind, u64)> {
        let Some(table) = self.table_of(guest)? else {
            let span = self.layout.l2_span_bytes();
            return Ok((Kind::Backing, len.min(span - guest % span)));
        };
        let place = table + self.layout.place_in_l2(guest);
        let slice = match self.l2.peek(place) {
            Some(slice) => slice,
            None => self.l2.get(&self.file, place).await?,
        };
        self.find_in(&slice, place, guest, len)
    }

    /// The offset of the L2 table of a part of the disk.
    pub(super) fn table_of(&self, guest: u64) -> Result<Option<u64>> {
        let index = guest / self.layout.l2_span_bytes();
        let entry = self.l1.borrow().get(index as usize).copied().unwrap_or(0);
        let table = entry & OFFSET_MASK;
        if self.layout.in_cluster(table) != 0 {
            return Err(Error::corrupt(format!(
                "entry {index} of the L1 table, {entry:#x}, is not a cluster's offset"
            )));
        }
        Ok((table != 0).then_some(table))
    }

    pub(super) fn entry_at(&self, slice: &Slice, place: u64) -> Entry {
        Entry {
            word: slice.word(place),
            bitmap: if self.layout.extended {
                slice.word(place + 8)
            } else {
                0
            },
        }
    }

    fn find_in(&self, slice: &Slice, place: u64, guest: u64, len: u64) -> Result<(Kind, u64)> {
        let layout = &self.layout;
        let end = (place & !(layout.slice_bytes() - 1)) + layout.slice_bytes();
        let mut place = place;
        let (mut total, mut first) = (0, Kind::Zero);
        while place < end && total < len {
            let mut at = layout.in_cluster(guest + total);
            let entry = self.entry_at(slice, place);
            entry.check(layout, layout.cluster_start(guest + total))?;
            // Within a cluster there are several kinds only with extended entries.
            while at < layout.cluster_bytes() && total < len {
                let (kind, run) = entry.kind_at(layout, at);
                if total == 0 {
                    first = kind;
                } else if !first.goes_on(total, kind) {
                    return Ok((first, total));
                }
                total += run;
                at += run;
            }
            place += layout.entry_bytes();
        }
        Ok((first, total.min(len)))
    }

    /// The entries of at most `count` clusters from `guest` on, of one slice.
    pub(super) async fn entries(&self, guest: u64, count: u64) -> Result<Vec<Entry>> {
        let count = count.min(self.clusters_in_slice(guest));
        let Some(table) = self.table_of(guest)? else {
            return Ok(vec![Entry::default(); count as usize]);
        };
        let place = table + self.layout.place_in_l2(guest);
        let slice = self.l2.get(&self.file, place).await?;
        let mut entries = Vec::with_capacity(count as usize);
        for number in 0..count {
            let entry = self.entry_at(&slice, place + number * self.layout.entry_bytes());
            let cluster = guest + (number << self.layout.cluster_bits);
            entry.check(&self.layout, self.layout.cluster_start(cluster))?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Clusters from `guest` to the end of what one slice describes.
    pub(super) fn clusters_in_slice(&self, guest: u64) -> u64 {
        let span = self.layout.slice_span_bytes();
        let start = self.layout.cluster_start(guest);
        (span - start % span) >> self.layout.cluster_bits
    }

    /// Puts entries in place, from the cluster at `guest` on. All are of one slice of a table that
    /// is the active table's own.
    pub(super) async fn put_entries(&self, guest: u64, entries: &[Entry]) -> Result<()> {
        let Some(table) = self.table_of(guest)? else {
            return Err(Error::corrupt(format!("no L2 table for {guest:#x}")));
        };
        let place = table + self.layout.place_in_l2(guest);
        let slice: Rc<Slice> = self.l2.get(&self.file, place).await?;
        for (number, entry) in entries.iter().enumerate() {
            let at = place + number as u64 * self.layout.entry_bytes();
            slice.set_word(at, entry.word);
            if self.layout.extended {
                slice.set_word(at + 8, entry.bitmap);
            }
        }
        self.l2.touch(&slice);
        Ok(())
    }
}
