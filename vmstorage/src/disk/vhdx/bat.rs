//! The block allocation table ([MS-VHDX] section 2.5): where each block is.

use std::cell::{Cell, RefCell};

use super::layout::{self, HEADER_SECTION_BYTES, MIB, PAGE_BYTES, Region};
use super::metadata::Metadata;
use super::space::Space;
use crate::disk::{Disk, Error, ErrorKind, Result};
use crate::engine::{IoBuf, IoBufMut};

pub(super) const ENTRY_BYTES: u64 = 8;
/// The most entries that are kept in memory (128 MiB): 16 TiB in blocks of 1 MiB, and the largest
/// disk in blocks of 4 MiB.
const MAX_ENTRIES: u64 = 17 << 20;
const READ_BYTES: usize = 4 << 20;
const STATE_BITS: u64 = 7;
const OFFSET_BITS: u64 = !(MIB - 1);
/// The state of a sector bitmap block that is in the file.
const BITMAP_PRESENT: u64 = 6;

/// What a payload block is ([MS-VHDX] section 2.5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Never written: zero, or what the parent has.
    NotPresent,
    /// Of no meaning; it is read as zeroes here.
    Undefined,
    /// Zeroes.
    Zero,
    /// Discarded; it is read as zeroes here.
    Unmapped,
    /// In the file.
    Present,
    /// Those sectors are in the file whose bits are set, the others are the parent's.
    Partial,
}

/// Where a payload block is and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) state: State,
    /// In the file in bytes; without meaning for blocks that are not in it.
    pub(super) offset: u64,
}

/// The table in memory.
#[derive(Debug)]
pub(super) struct Bat {
    entries: RefCell<Vec<u64>>,
    region: Cell<Region>,
    pub(super) block_bytes: u64,
    /// Payload blocks for each sector bitmap block.
    pub(super) ratio: u64,
    differencing: bool,
}

impl Entry {
    fn decode(raw: u64) -> Option<Self> {
        let state = match raw & STATE_BITS {
            0 => State::NotPresent,
            1 => State::Undefined,
            2 => State::Zero,
            3 => State::Unmapped,
            6 => State::Present,
            7 => State::Partial,
            _ => return None,
        };
        Some(Self {
            state,
            offset: raw & OFFSET_BITS,
        })
    }

    pub(super) fn encode(self) -> u64 {
        match self.state {
            State::NotPresent => 0,
            State::Undefined => 1,
            State::Zero => 2,
            State::Unmapped => 3,
            State::Present => self.offset | 6,
            State::Partial => self.offset | 7,
        }
    }

    /// Whether the block has space in the file.
    pub(super) fn in_file(self) -> bool {
        matches!(self.state, State::Present | State::Partial)
    }
}

/// How many entries a disk's table has.
pub(super) fn entry_count(metadata: &Metadata, disk_bytes: u64) -> u64 {
    let blocks = disk_bytes.div_ceil(metadata.block_bytes);
    let ratio = metadata.chunk_ratio();
    if metadata.locator.is_some() {
        blocks.div_ceil(ratio) * (ratio + 1)
    } else {
        blocks + blocks.saturating_sub(1) / ratio
    }
}

impl Bat {
    /// Reads the table, checks every entry, and marks in `space` what the blocks take.
    pub(super) async fn load(
        image: &dyn Disk,
        region: Region,
        metadata: &Metadata,
        space: &Space,
    ) -> Result<Self> {
        let count = entry_count(metadata, metadata.disk_bytes);
        if count * ENTRY_BYTES > region.len {
            return Err(Error::corrupt(format!(
                "the BAT at offset {:#x} has {} bytes, too few for {count} entries",
                region.offset, region.len
            )));
        }
        check_count(count)?;
        let mut entries = Vec::with_capacity(count as usize);
        while (entries.len() as u64) < count {
            let at = region.offset + entries.len() as u64 * ENTRY_BYTES;
            let len = ((count - entries.len() as u64) * ENTRY_BYTES).min(READ_BYTES as u64);
            let bytes = layout::read_at(image, "the BAT", at, len as usize).await?;
            entries.extend(bytes.chunks_exact(8).map(|raw| layout::u64_at(raw, 0)));
        }
        let bat = Self {
            entries: RefCell::new(entries),
            region: Cell::new(region),
            block_bytes: metadata.block_bytes,
            ratio: metadata.chunk_ratio(),
            differencing: metadata.locator.is_some(),
        };
        bat.check(image.geometry().size_bytes, space)?;
        Ok(bat)
    }

    fn check(&self, file_bytes: u64, space: &Space) -> Result<()> {
        let entries = self.entries.borrow();
        for (index, &raw) in (0..).zip(entries.iter()) {
            let place = if self.is_bitmap(index) {
                // Some programs leave garbage in the entries of bitmaps that no block can use.
                if !self.differencing || raw & STATE_BITS != BITMAP_PRESENT {
                    continue;
                }
                place(raw, MIB)
            } else {
                let entry = self.decode(index, raw)?;
                if !entry.in_file() {
                    continue;
                }
                if entry.state == State::Partial {
                    self.check_partial(index, &entries)?;
                }
                place(raw, self.block_bytes)
            };
            let end = place.offset.checked_add(place.len);
            let wrong =
                if place.offset < HEADER_SECTION_BYTES || end.is_none_or(|end| end > file_bytes) {
                    format!("is not within the file of {file_bytes} bytes")
                } else if !space.claim(place) {
                    "overlaps metadata or another block".into()
                } else {
                    continue;
                };
            let (at, block) = (self.file_offset(index), place.offset);
            return Err(Error::corrupt(format!(
                "the BAT entry at offset {at:#x} has its block at {block:#x}, which {wrong}"
            )));
        }
        // Space that a discarded block may get back from another program is not given away, unless
        // something else is there already.
        for (index, &raw) in (0..).zip(entries.iter()) {
            let place = place(raw, self.block_bytes);
            let entry = Entry::decode(raw);
            if entry.is_some_and(|entry| !entry.in_file() && entry.offset != 0)
                && !self.is_bitmap(index)
                && place.end() <= file_bytes
            {
                space.claim(place);
            }
        }
        Ok(())
    }

    fn is_bitmap(&self, index: u64) -> bool {
        index % (self.ratio + 1) == self.ratio
    }

    /// Where in the file an entry is.
    fn file_offset(&self, index: u64) -> u64 {
        self.region.get().offset + index * ENTRY_BYTES
    }

    fn check_partial(&self, index: u64, entries: &[u64]) -> Result<()> {
        let at = self.file_offset(index);
        if !self.differencing {
            return Err(Error::corrupt(format!(
                "the BAT entry at offset {at:#x} has a block that is partially present, in a file \
                 that has no parent"
            )));
        }
        let bitmap = index / (self.ratio + 1) * (self.ratio + 1) + self.ratio;
        match entries.get(bitmap as usize) {
            Some(raw) if raw & STATE_BITS == BITMAP_PRESENT => Ok(()),
            _ => Err(Error::corrupt(format!(
                "the BAT entry at offset {at:#x} has a block that is partially present, and no \
                 sector bitmap"
            ))),
        }
    }

    fn decode(&self, index: u64, raw: u64) -> Result<Entry> {
        Entry::decode(raw).ok_or_else(|| {
            Error::corrupt(format!(
                "the BAT entry at offset {:#x} has the unknown state {}",
                self.file_offset(index),
                raw & STATE_BITS
            ))
        })
    }

    /// The entry of a payload block.
    pub(super) fn payload(&self, block: u64) -> Result<Entry> {
        let index = self.payload_index(block);
        let raw = self.entries.borrow().get(index as usize).copied();
        let raw = raw.ok_or_else(|| {
            Error::new(
                ErrorKind::OutOfRange,
                format!("block {block} is not within the disk"),
            )
        })?;
        self.decode(index, raw)
    }

    /// Changes the entry of a payload block; returns the page of the file that changes with it.
    pub(super) fn set_payload(&self, block: u64, entry: Entry) -> u64 {
        self.set(self.payload_index(block), entry.encode())
    }

    /// Where the sector bitmap of a chunk is.
    pub(super) fn bitmap(&self, chunk: u64) -> Option<u64> {
        let raw = *self
            .entries
            .borrow()
            .get(self.bitmap_index(chunk) as usize)?;
        (raw & STATE_BITS == BITMAP_PRESENT).then_some(raw & OFFSET_BITS)
    }

    /// Says where the sector bitmap of a chunk is; returns the page that changes with it.
    pub(super) fn set_bitmap(&self, chunk: u64, offset: u64) -> u64 {
        self.set(self.bitmap_index(chunk), offset | BITMAP_PRESENT)
    }

    /// How many entries the table has.
    pub(super) fn count(&self) -> u64 {
        self.entries.borrow().len() as u64
    }

    /// Where the table is.
    pub(super) fn region(&self) -> Region {
        self.region.get()
    }

    /// Says that the table has been moved.
    pub(super) fn moved(&self, region: Region) {
        self.region.set(region);
    }

    /// Adds entries of blocks that are not present, or takes entries away.
    pub(super) fn resize(&self, count: u64) -> Result<()> {
        check_count(count)?;
        self.entries.borrow_mut().resize(count as usize, 0);
        Ok(())
    }

    /// The bytes of the page that is `at` bytes from the table's start.
    pub(super) fn page(&self, at: u64) -> IoBuf {
        let mut page = IoBufMut::zeroed(PAGE_BYTES);
        let entries = self.entries.borrow();
        let first = ((at / ENTRY_BYTES) as usize).min(entries.len());
        for (bytes, entry) in page.chunks_exact_mut(8).zip(&entries[first..]) {
            bytes.copy_from_slice(&entry.to_le_bytes());
        }
        page.freeze()
    }

    fn set(&self, index: u64, raw: u64) -> u64 {
        if let Some(entry) = self.entries.borrow_mut().get_mut(index as usize) {
            *entry = raw;
        }
        let at = index * ENTRY_BYTES / PAGE_BYTES as u64 * PAGE_BYTES as u64;
        self.region.get().offset + at
    }

    fn payload_index(&self, block: u64) -> u64 {
        block + block / self.ratio
    }

    fn bitmap_index(&self, chunk: u64) -> u64 {
        chunk * (self.ratio + 1) + self.ratio
    }
}

pub(super) fn check_count(count: u64) -> Result<()> {
    if count <= MAX_ENTRIES {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the disk has {count} blocks, more than {MAX_ENTRIES}: use larger blocks"),
    ))
}

fn place(raw: u64, len: u64) -> Region {
    Region {
        offset: raw & OFFSET_BITS,
        len,
    }
}
