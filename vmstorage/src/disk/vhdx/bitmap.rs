//! Sector bitmaps of a differencing disk: which sectors of a block are in this file ([MS-VHDX]
//! section 2.4).

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::image::Image;
use super::layout::{self, MIB, PAGE_BYTES};
use super::metadata::Metadata;
use crate::disk::Ranges;
use crate::disk::{Error, Result};
use crate::engine::{IoBuf, IoBufMut};

/// Pages that are kept (8 MiB); each tells of 16 MiB of a disk of 512-byte sectors. Tests have few,
/// so that they go and come back.
const MAX_PAGES: usize = if cfg!(test) { 3 } else { 2048 };
const PAGE_BITS: u64 = PAGE_BYTES as u64 * 8;

/// The pages in memory.
#[derive(Debug)]
pub(super) struct Bitmaps {
    pages: RefCell<HashMap<u64, Page>>,
    /// One task at a time reads a page, so that none puts an old one in the place of a newer.
    loading: Ranges,
    sector_bytes: u64,
    block_sectors: u64,
}

type Page = Rc<RefCell<IoBufMut>>;

/// Bits of one page that belong to a range of sectors.
#[derive(Debug)]
pub(super) struct Bits {
    page: Page,
    offset: u64,
    bits: Range<usize>,
}

impl Bitmaps {
    pub(super) fn new(metadata: &Metadata) -> Self {
        let sector_bytes = u64::from(metadata.logical_bytes);
        Self {
            pages: RefCell::default(),
            loading: Ranges::default(),
            sector_bytes,
            block_sectors: metadata.block_bytes / sector_bytes,
        }
    }

    /// A page's bytes, if it is in memory.
    pub(super) fn content(&self, offset: u64) -> Option<IoBuf> {
        let pages = self.pages.borrow();
        let page = pages.get(&offset)?.borrow();
        Some(IoBuf::copy_of(&page))
    }

    /// The sectors that a part of a block touches.
    pub(super) fn sectors(&self, within: u64, len: u64) -> Range<u64> {
        within / self.sector_bytes..(within + len).div_ceil(self.sector_bytes)
    }
}

impl Image {
    /// The bits of some sectors of a block, whose chunk has a bitmap.
    pub(super) async fn bits(&self, block: u64, sectors: Range<u64>) -> Result<Vec<Bits>> {
        let chunk = block / self.bat.ratio;
        let bitmap = self.bat.bitmap(chunk).ok_or_else(|| {
            Error::corrupt(format!(
                "block {block} is partially present without a sector bitmap"
            ))
        })?;
        let first = block % self.bat.ratio * self.bitmaps.block_sectors;
        let (mut bit, end) = (first + sectors.start, first + sectors.end);
        let mut parts = Vec::new();
        while bit < end {
            let offset = bitmap + bit / PAGE_BITS * PAGE_BYTES as u64;
            let upto = end.min((bit / PAGE_BITS + 1) * PAGE_BITS);
            let start = (bit % PAGE_BITS) as usize;
            parts.push(Bits {
                page: self.bitmap_page(offset).await?,
                offset,
                bits: start..start + (upto - bit) as usize,
            });
            bit = upto;
        }
        Ok(parts)
    }

    /// All bits of a block.
    pub(super) async fn block_bits(&self, block: u64) -> Result<Vec<Bits>> {
        self.bits(block, 0..self.bitmaps.block_sectors).await
    }

    /// Sets or clears bits.
    pub(super) fn set_bits(&self, parts: &[Bits], value: bool) {
        for part in parts {
            if fill(&mut part.page.borrow_mut(), part.bits.clone(), value) {
                // It may have been dropped from memory while the caller held it.
                let mut pages = self.bitmaps.pages.borrow_mut();
                pages
                    .entry(part.offset)
                    .or_insert_with(|| Rc::clone(&part.page));
                self.mark(part.offset);
            }
        }
    }

    /// Parts of a range of a block, one after the other: how many bytes, and whether they are in
    /// this file.
    pub(super) async fn runs(&self, block: u64, within: u64, len: u64) -> Result<Vec<(u64, bool)>> {
        let sectors = self.bitmaps.sectors(within, len);
        let mut runs: Vec<(u64, bool)> = Vec::new();
        let mut end = sectors.start * self.bitmaps.sector_bytes;
        for part in self.bits(block, sectors).await? {
            let page = part.page.borrow();
            for bit in part.bits {
                let here = page[bit / 8] & 1 << (bit % 8) != 0;
                let start = end.max(within);
                end += self.bitmaps.sector_bytes;
                let bytes = end.min(within + len) - start;
                match runs.last_mut() {
                    Some((run, was_here)) if *was_here == here => *run += bytes,
                    _ => runs.push((bytes, here)),
                }
            }
        }
        Ok(runs)
    }

    async fn bitmap_page(&self, offset: u64) -> Result<Page> {
        let known = || self.bitmaps.pages.borrow().get(&offset).map(Rc::clone);
        if let Some(page) = known() {
            return Ok(page);
        }
        let _alone = self.bitmaps.loading.enter(offset, offset + 1, true).await;
        if let Some(page) = known() {
            return Ok(page);
        }
        let page = layout::read_at(&*self.file, "a sector bitmap", offset, PAGE_BYTES).await?;
        let mut pages = self.bitmaps.pages.borrow_mut();
        // Pages that a commit is writing must not be read from the file until they are there.
        if pages.len() >= MAX_PAGES && !self.committing.get() {
            let dirty = self.dirty.borrow();
            pages.retain(|at, page| dirty.contains(at) || Rc::strong_count(page) > 1);
        }
        let page = pages
            .entry(offset)
            .or_insert_with(|| Rc::new(RefCell::new(page)));
        Ok(Rc::clone(page))
    }

    /// Has a chunk have a sector bitmap.
    pub(super) async fn ensure_bitmap(self: &Rc<Self>, block: u64) -> Result<()> {
        /// Locks of chunks are told from those of blocks by this.
        const CHUNK: u64 = 1 << 62;
        let chunk = block / self.bat.ratio;
        let _alone = self.locks.exclusive(CHUNK | chunk).await;
        if self.bat.bitmap(chunk).is_none() {
            let offset = self.allocate(MIB).await?;
            self.make_room().await?;
            self.mark(self.bat.set_bitmap(chunk, offset));
        }
        Ok(())
    }
}

/// Whether every bit is set.
pub(super) fn all_set(parts: &[Bits]) -> bool {
    parts.iter().all(|part| {
        let page = part.page.borrow();
        let Range { start, end } = part.bits;
        let mut bit = start;
        while bit < end {
            if bit % 8 == 0 && end - bit >= 8 {
                if page[bit / 8] != 0xff {
                    return false;
                }
                bit += 8;
            } else if page[bit / 8] & 1 << (bit % 8) == 0 {
                return false;
            } else {
                bit += 1;
            }
        }
        true
    })
}

/// Gives bits a value; whether any had the other one.
fn fill(page: &mut [u8], bits: Range<usize>, value: bool) -> bool {
    let mut changed = false;
    for bit in bits {
        let byte = &mut page[bit / 8];
        let mask = 1 << (bit % 8);
        changed |= (*byte & mask != 0) != value;
        *byte = if value { *byte | mask } else { *byte & !mask };
    }
    changed
}
