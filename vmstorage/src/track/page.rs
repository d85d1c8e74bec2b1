//! The parts of a map file that repeat: pages of entries, and the index pages that sum them up.

use uuid::Uuid;

use crate::disk::{Error, Result};

/// Size of a page in the file.
pub(super) const PAGE_BYTES: usize = 4096;
/// Blocks that a page has entries for.
pub(super) const ENTRIES: usize = 504;
/// Pages that an index page has records for; with it they make a segment.
pub(super) const RECORDS: usize = 168;
/// Parts of a page that can be hot on their own.
pub(super) const PARTS: usize = 28;
/// Blocks in such a part.
pub(super) const PART_BLOCKS: usize = ENTRIES / PARTS;
/// All parts of a page.
pub(super) const ALL_PARTS: u32 = (1 << PARTS) - 1;
/// Bytes of a segment: two copies of its index page, then its pages.
pub(super) const SEGMENT_BYTES: u64 = ((2 + RECORDS) * PAGE_BYTES) as u64;

const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 8;
const RECORD_BYTES: usize = 24;
const STORED: u32 = 1;

const _: () = assert!(HEADER_BYTES + ENTRIES * ENTRY_BYTES == PAGE_BYTES);
const _: () = assert!(HEADER_BYTES + RECORDS * RECORD_BYTES == PAGE_BYTES);
const _: () = assert!(PART_BLOCKS * PARTS == ENTRIES);

/// When a block changed. On disk: `last` at byte 0, `before` at byte 4, both little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Entry {
    /// Epoch of the last change; 0 when it never changed in this generation.
    pub(super) last: u32,
    /// Epoch of the change before that, in an earlier epoch. It keeps "changed from R until S"
    /// exact while S is being backed up and its blocks are written anew.
    pub(super) before: u32,
}

/// Bounds of the entries of a page. The lower ones may be too low, the upper ones too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Summary {
    pub(super) last_min: u32,
    pub(super) last_max: u32,
    pub(super) before_min: u32,
    pub(super) before_max: u32,
}

/// What an index page says of one page. On disk 24 bytes: `last_min`, `last_max`, `before_min`,
/// `before_max`, `crc`, flags (bit 0: stored), each 4 bytes little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Record {
    pub(super) summary: Summary,
    /// Checksum of the page as it was last written.
    pub(super) crc: u32,
    /// The page is in the file; otherwise all of its entries are equal, as the summary says.
    pub(super) stored: bool,
}

/// The entries of a page.
pub(super) type Entries = [Entry; ENTRIES];

/// What a page and an index page begin with, 64 bytes: magic (4), CRC-32C of the page with this
/// field zero (4), stamp (8), generation (16), number (4), 28 bytes of zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    /// Grows with every write of the map, so that of two index pages the newer one is known.
    pub(super) stamp: u64,
    /// The generation that it belongs to.
    pub(super) generation: Uuid,
    /// Of the page or the segment.
    pub(super) number: u32,
}

const PAGE_MAGIC: &[u8; 4] = b"RMPG";
const INDEX_MAGIC: &[u8; 4] = b"RMIX";

impl Entry {
    /// Whether the block may have changed after epoch `since` and not after `until`.
    pub(super) fn changed(self, since: u32, until: u32) -> bool {
        self.last > since && (self.last <= until || self.before > since)
    }

    /// Notes a change in `epoch`.
    pub(super) fn touch(&mut self, epoch: u32) {
        if self.last < epoch {
            *self = Self {
                last: epoch,
                before: self.last,
            };
        }
    }
}

impl Summary {
    /// Of a page with these entries, exactly.
    pub(super) fn of(entries: &Entries) -> Self {
        let mut all = Self::uniform(entries[0]);
        for entry in entries {
            all.last_min = all.last_min.min(entry.last);
            all.last_max = all.last_max.max(entry.last);
            all.before_min = all.before_min.min(entry.before);
            all.before_max = all.before_max.max(entry.before);
        }
        all
    }

    /// Of a page whose entries are all `entry`.
    pub(super) fn uniform(entry: Entry) -> Self {
        Self {
            last_min: entry.last,
            last_max: entry.last,
            before_min: entry.before,
            before_max: entry.before,
        }
    }

    /// The entry that all are, if they are equal.
    pub(super) fn one(&self) -> Option<Entry> {
        let equal = self.last_min == self.last_max && self.before_min == self.before_max;
        equal.then_some(Entry {
            last: self.last_max,
            before: self.before_max,
        })
    }

    /// Takes account of a change of some blocks in `epoch`.
    pub(super) fn touch(&mut self, epoch: u32) {
        self.before_max = self
            .before_max
            .max(self.last_max.min(epoch.saturating_sub(1)));
        self.last_max = self.last_max.max(epoch);
    }

    /// No block changed.
    pub(super) fn none_changed(&self, since: u32, until: u32) -> bool {
        self.last_max <= since || (self.last_min > until && self.before_max <= since)
    }

    /// Every block changed.
    pub(super) fn all_changed(&self, since: u32, until: u32) -> bool {
        self.last_min > since && (self.last_max <= until || self.before_min > since)
    }
}

/// The bytes of a page of entries, and their checksum.
pub(super) fn encode_page(label: Label, entries: &Entries) -> (Vec<u8>, u32) {
    let mut bytes = head(PAGE_MAGIC, label);
    for entry in entries {
        bytes.extend(entry.last.to_le_bytes());
        bytes.extend(entry.before.to_le_bytes());
    }
    let crc = seal(&mut bytes);
    (bytes, crc)
}

/// Reads a page of entries of `epoch` or earlier.
///
/// # Errors
/// When it is none, or not the one that was asked for.
pub(super) fn decode_page(
    bytes: &[u8],
    generation: Uuid,
    number: u32,
    epoch: u32,
) -> Result<(Box<Entries>, u32)> {
    let (label, crc) = check(bytes, PAGE_MAGIC)?;
    if label.generation != generation || label.number != number {
        return Err(Error::corrupt("it is a page of another place"));
    }
    let mut entries = Box::new([Entry::default(); ENTRIES]);
    let parts = bytes[HEADER_BYTES..].chunks_exact(ENTRY_BYTES);
    for (entry, part) in entries.iter_mut().zip(parts) {
        *entry = Entry {
            last: word(part, 0),
            before: word(part, 4),
        };
        let ordered = entry.before < entry.last || *entry == Entry::default();
        if entry.last > epoch || !ordered {
            return Err(Error::corrupt("an entry is of an epoch yet to come"));
        }
    }
    Ok((entries, crc))
}

/// The bytes of an index page.
pub(super) fn encode_index(label: Label, records: impl Iterator<Item = Record>) -> Vec<u8> {
    let mut bytes = head(INDEX_MAGIC, label);
    for record in records {
        let Summary {
            last_min,
            last_max,
            before_min,
            before_max,
        } = record.summary;
        let flags = if record.stored { STORED } else { 0 };
        for field in [
            last_min, last_max, before_min, before_max, record.crc, flags,
        ] {
            bytes.extend(field.to_le_bytes());
        }
    }
    bytes.resize(PAGE_BYTES, 0);
    seal(&mut bytes);
    bytes
}

/// Reads an index page.
///
/// # Errors
/// When it is none, or none of this generation.
pub(super) fn decode_index(
    bytes: &[u8],
    generation: Uuid,
    epoch: u32,
) -> Result<(Label, Vec<Record>)> {
    let (label, _) = check(bytes, INDEX_MAGIC)?;
    if label.generation != generation {
        return Err(Error::corrupt("it is an index page of another generation"));
    }
    let mut records = Vec::with_capacity(RECORDS);
    for part in bytes[HEADER_BYTES..].chunks_exact(RECORD_BYTES) {
        let summary = Summary {
            last_min: word(part, 0),
            last_max: word(part, 4),
            before_min: word(part, 8),
            before_max: word(part, 12),
        };
        let record = Record {
            summary,
            crc: word(part, 16),
            stored: word(part, 20) & STORED != 0,
        };
        let ordered = summary.last_min <= summary.last_max
            && summary.before_min <= summary.before_max
            && summary.last_max <= epoch;
        if !ordered || (!record.stored && summary.one().is_none()) {
            return Err(Error::corrupt(
                "a record of an index page contradicts itself",
            ));
        }
        records.push(record);
    }
    Ok((label, records))
}

fn head(magic: &[u8; 4], label: Label) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PAGE_BYTES);
    bytes.extend(magic);
    bytes.extend([0; 4]);
    bytes.extend(label.stamp.to_le_bytes());
    bytes.extend(label.generation.as_bytes());
    bytes.extend(label.number.to_le_bytes());
    bytes.resize(HEADER_BYTES, 0);
    bytes
}

/// Puts the checksum in its place.
fn seal(bytes: &mut [u8]) -> u32 {
    let crc = crc32c::crc32c(bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    crc
}

fn check(bytes: &[u8], magic: &[u8; 4]) -> Result<(Label, u32)> {
    if bytes.len() != PAGE_BYTES || &bytes[..4] != magic {
        return Err(Error::corrupt("there is no page of a map"));
    }
    let crc = word(bytes, 4);
    let mut sum = crc32c::crc32c(&bytes[..4]);
    sum = crc32c::crc32c_append(sum, &[0; 4]);
    sum = crc32c::crc32c_append(sum, &bytes[8..]);
    if sum != crc {
        return Err(Error::corrupt("the checksum of a page does not agree"));
    }
    let mut generation = [0; 16];
    generation.copy_from_slice(&bytes[16..32]);
    let label = Label {
        stamp: long(bytes, 8),
        generation: Uuid::from_bytes(generation),
        number: word(bytes, 32),
    };
    Ok((label, crc))
}

/// The little-endian number of 4 bytes at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

/// The little-endian number of 8 bytes at `at`.
pub(super) fn long(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_knows_its_last_two_changes() {
        let mut entry = Entry::default();
        for epoch in [2, 2, 5] {
            entry.touch(epoch);
        }
        assert_eq!(entry, Entry { last: 5, before: 2 });
        assert!(entry.changed(4, 5) && entry.changed(1, 3) && entry.changed(1, 9));
        assert!(!entry.changed(2, 4) && !entry.changed(5, 9));
    }

    #[test]
    fn a_flipped_bit_is_found_in_every_byte() {
        let label = Label {
            stamp: 7,
            generation: Uuid::from_u128(9),
            number: 3,
        };
        let entries = [Entry { last: 2, before: 1 }; ENTRIES];
        let (page, crc) = encode_page(label, &entries);
        let read = decode_page(&page, label.generation, 3, 2).unwrap();
        assert_eq!((*read.0, read.1), (entries, crc));
        decode_page(&page, label.generation, 3, 1).unwrap_err();
        decode_page(&page, label.generation, 4, 2).unwrap_err();
        for at in 0..page.len() {
            let mut damaged = page.clone();
            damaged[at] ^= 0x10;
            decode_page(&damaged, label.generation, 3, 2).unwrap_err();
        }
        let record = Record {
            summary: Summary::of(&entries),
            crc,
            stored: true,
        };
        let index = encode_index(label, std::iter::repeat_n(record, RECORDS));
        let (found, records) = decode_index(&index, label.generation, 2).unwrap();
        assert_eq!((found, records[167]), (label, record));
        for at in 0..index.len() {
            let mut damaged = index.clone();
            damaged[at] ^= 1;
            decode_index(&damaged, label.generation, 2).unwrap_err();
        }
    }

    #[test]
    fn a_summary_never_says_more_than_it_knows() {
        let mut entries = [Entry { last: 6, before: 2 }; ENTRIES];
        entries[9] = Entry { last: 3, before: 1 };
        let summary = Summary::of(&entries);
        for since in 0..7 {
            for until in since + 1..8 {
                let changed = entries.iter().filter(|entry| entry.changed(since, until));
                let count = changed.count();
                assert!(!summary.none_changed(since, until) || count == 0);
                assert!(!summary.all_changed(since, until) || count == ENTRIES);
            }
        }
    }
}
