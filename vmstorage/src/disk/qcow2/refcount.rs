//! Reference counts of the file's clusters, and who gets a cluster (qcow2 specification, "Host
//! cluster management").
//!
//! A count in memory is never lower than what the durable tables refer to: it goes up before
//! anything refers to the cluster, and down only when [`super::commit`] has made durable that
//! nothing does. So a count of zero means that the cluster can be used.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};

use super::cache::Cache;
use super::file::ImageFile;
use super::header::{Header, MAX_REFTABLE_BYTES, SECTOR_BYTES};
use super::layout::{BLOCK_MASK, Layout};
use crate::disk::Ranges;
use crate::disk::{Durability, Error, ErrorKind, Result};
use crate::engine::{IoBuf, IoBufMut};

/// Memory for refcount blocks.
const CACHE_BYTES: u64 = 4 << 20;

/// Neighbouring clusters of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) count: u64,
}

/// The reference counts.
#[derive(Debug)]
pub(super) struct Refcounts {
    layout: Layout,
    table: RefCell<Vec<u64>>,
    place: Cell<Run>,
    /// Sectors of the table that were changed.
    changed: RefCell<BTreeSet<u64>>,
    moved: Cell<bool>,
    pub(super) cache: Cache,
    /// No cluster before this is free.
    hint: Cell<u64>,
    alone: Ranges,
    /// Clusters of metadata, which no data may be written to.
    pub(super) metadata: RefCell<HashSet<u64>>,
    /// Tables that were replaced, for the commit to free.
    pub(super) replaced: RefCell<Vec<Run>>,
}

/// What of the refcount table a commit has to write.
#[derive(Debug, Default)]
pub(super) struct TableChange {
    pub(super) sectors: Vec<(u64, IoBuf)>,
    /// Where the table is from now on.
    pub(super) moved_to: Option<Run>,
    numbers: BTreeSet<u64>,
}

impl Refcounts {
    pub(super) async fn load(file: &ImageFile, header: &Header) -> Result<Self> {
        let layout = header.layout();
        let buf = IoBufMut::zeroed(header.reftable_bytes() as usize);
        let bytes = file.read_table(header.reftable_offset, buf).await;
        let bytes = bytes.map_err(|error| error.context("the refcount table"))?;
        let table = words(&bytes);
        Ok(Self {
            layout,
            place: Cell::new(Run {
                first: header.reftable_offset >> layout.cluster_bits,
                count: u64::from(header.reftable_clusters),
            }),
            table: RefCell::new(table),
            changed: RefCell::default(),
            moved: Cell::new(false),
            cache: Cache::new(layout.slice_bytes(), CACHE_BYTES),
            hint: Cell::new(0),
            alone: Ranges::default(),
            metadata: RefCell::default(),
            replaced: RefCell::default(),
        })
    }

    /// Offsets of the refcount blocks, with zeroes for those that are not there.
    pub(super) fn blocks(&self) -> Vec<u64> {
        self.table.borrow().iter().map(|w| w & BLOCK_MASK).collect()
    }

    /// Where the count of a cluster is: offset of the block, and the number within.
    fn find(&self, cluster: u64) -> Result<Option<(u64, u64)>> {
        let entries = self.layout.block_entries();
        let index = cluster / entries;
        let block = match self.table.borrow().get(index as usize) {
            Some(word) => word & BLOCK_MASK,
            None => 0,
        };
        if block == 0 {
            return Ok(None);
        }
        if self.layout.in_cluster(block) != 0 {
            return Err(Error::corrupt(format!(
                "entry {index} of the refcount table, {block:#x}, is not a cluster's offset"
            )));
        }
        Ok(Some((block, cluster % entries)))
    }

    fn byte_of(&self, block: u64, number: u64) -> u64 {
        block + ((number << self.layout.refcount_order) >> 3)
    }

    /// The reference count of a cluster.
    pub(super) async fn count(&self, file: &ImageFile, cluster: u64) -> Result<u64> {
        let Some((block, number)) = self.find(cluster)? else {
            return Ok(0);
        };
        let slice = self.cache.get(file, self.byte_of(block, number)).await?;
        let number = self.in_slice(number);
        Ok(slice.with(|bytes| count_in(bytes, number, self.layout.refcount_order)))
    }

    /// The number of a count within its slice.
    fn in_slice(&self, number: u64) -> u64 {
        number % ((self.layout.slice_bytes() * 8) >> self.layout.refcount_order)
    }

    /// Sets a count, whose block is there.
    pub(super) async fn set(&self, file: &ImageFile, cluster: u64, count: u64) -> Result<()> {
        let Some((block, number)) = self.find(cluster)? else {
            return Err(Error::corrupt(format!(
                "cluster {cluster:#x} has no reference count"
            )));
        };
        if count > self.layout.max_refcount() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("cluster {cluster:#x} would have more references than can be counted"),
            ));
        }
        let slice = self.cache.get(file, self.byte_of(block, number)).await?;
        let number = self.in_slice(number);
        slice.with(|bytes| set_in(bytes, number, self.layout.refcount_order, count));
        self.cache.touch(&slice);
        if count == 0 {
            self.hint.set(self.hint.get().min(cluster));
            self.metadata.borrow_mut().remove(&cluster);
        }
        Ok(())
    }

    /// Takes one reference from each cluster of a run; storage of those that are free then is given
    /// back before anybody else can have them.
    pub(super) async fn release(&self, file: &ImageFile, run: Run) -> Result<()> {
        let _alone = self.alone.enter_all().await;
        let bits = self.layout.cluster_bits;
        let mut unused: Vec<Run> = Vec::new();
        for cluster in run.first..run.first + run.count {
            match self.count(file, cluster).await? {
                0 => tracing::warn!(cluster, "a cluster was freed that had no reference"),
                1 => match unused.last_mut() {
                    Some(last) if last.first + last.count == cluster => last.count += 1,
                    _ => unused.push(Run {
                        first: cluster,
                        count: 1,
                    }),
                },
                count => self.set(file, cluster, count - 1).await?,
            }
        }
        for run in unused {
            file.discard(run.first << bits, run.count << bits).await;
            for cluster in run.first..run.first + run.count {
                self.set(file, cluster, 0).await?;
            }
        }
        Ok(())
    }

    /// The cluster that a missing block for this cluster would be put to; `None` if it is there.
    pub(super) fn missing_block(&self, cluster: u64) -> Result<Option<u64>> {
        let entries = self.layout.block_entries();
        if self.find(cluster)?.is_some() {
            return Ok(None);
        }
        if cluster / entries >= self.table.borrow().len() as u64 {
            return Err(Error::corrupt(format!(
                "the refcount table is too short for cluster {cluster:#x}; \
                 help: `qemu-img check -r all`"
            )));
        }
        Ok(Some(cluster / entries * entries))
    }

    /// Sets a count that was found to be wrong, making its block when that is missing.
    pub(super) async fn correct(&self, file: &ImageFile, cluster: u64, count: u64) -> Result<()> {
        let _alone = self.alone.enter_all().await;
        self.block_for(file, cluster).await?;
        self.set(file, cluster, count).await
    }

    /// Takes the first free clusters, at most `want` neighbours.
    pub(super) async fn allocate(&self, file: &ImageFile, want: u64) -> Result<Run> {
        let _alone = self.alone.enter_all().await;
        let mut cluster = self.hint.get();
        loop {
            let (block, number) = self.block_for(file, cluster).await?;
            let slice = self.cache.get(file, self.byte_of(block, number)).await?;
            let order = self.layout.refcount_order;
            let per_slice = (self.layout.slice_bytes() * 8) >> order;
            let from = number % per_slice;
            let found = slice.with(|bytes| free_in(bytes, from..per_slice, order, want));
            let Some((at, count)) = found else {
                cluster += per_slice - from;
                continue;
            };
            let run = Run {
                first: cluster + at - from,
                count,
            };
            self.refuse_metadata(run)?;
            slice.with(|bytes| (at..at + count).for_each(|n| set_in(bytes, n, order, 1)));
            self.cache.touch(&slice);
            self.hint.set(run.first + count);
            return Ok(run);
        }
    }

    fn refuse_metadata(&self, run: Run) -> Result<()> {
        let metadata = self.metadata.borrow();
        let used = (run.first..run.first + run.count).find(|cluster| metadata.contains(cluster));
        match used {
            None => Ok(()),
            Some(cluster) => Err(Error::corrupt(format!(
                "metadata at {:#x} is counted as free; help: `qemu-img check -r all`",
                cluster << self.layout.cluster_bits
            ))),
        }
    }

    /// The block with the count of a cluster, made when it is missing.
    async fn block_for(&self, file: &ImageFile, cluster: u64) -> Result<(u64, u64)> {
        if let Some(found) = self.find(cluster)? {
            return Ok(found);
        }
        let entries = self.layout.block_entries();
        let index = cluster / entries;
        if index >= self.table.borrow().len() as u64 {
            self.grow_table(file, index).await?;
        }
        if let Some(found) = self.find(cluster)? {
            return Ok(found);
        }
        // The block describes itself: none of its clusters can be in use.
        let place = index * entries;
        self.add_block(file, index, place).await?;
        self.set(file, place, 1).await?;
        Ok((place << self.layout.cluster_bits, cluster % entries))
    }

    /// Makes cluster `place` block `index`. Its own count is the caller's to set.
    async fn add_block(&self, file: &ImageFile, index: u64, place: u64) -> Result<()> {
        self.refuse_metadata(Run {
            first: place,
            count: 1,
        })?;
        let (offset, len) = (
            place << self.layout.cluster_bits,
            self.layout.cluster_bytes(),
        );
        file.reserve(offset, len).await?;
        if !file.claim(offset, len) {
            let zeroes = IoBuf::zeroed(len as usize);
            file.write(offset, zeroes, Durability::Volatile).await?;
        }
        self.cache.forget(offset, len);
        self.metadata.borrow_mut().insert(place);
        self.table.borrow_mut()[index as usize] = offset;
        self.changed
            .borrow_mut()
            .insert(index * 8 / SECTOR_BYTES as u64);
        Ok(())
    }

    /// Takes `count` neighbouring clusters at the end of the file.
    pub(super) async fn allocate_exact(&self, file: &ImageFile, count: u64) -> Result<Run> {
        let _alone = self.alone.enter_all().await;
        self.take_exact(file, count).await
    }

    async fn take_exact(&self, file: &ImageFile, count: u64) -> Result<Run> {
        let entries = self.layout.block_entries();
        let start = self.end_of_counts(file).await?;
        // Blocks that are missing for the run come before it, and may need further ones.
        let mut blocks = 0;
        loop {
            let last = start + blocks + count - 1;
            if last / entries >= self.table.borrow().len() as u64 {
                Box::pin(self.grow_table(file, last / entries)).await?;
                return Box::pin(self.take_exact(file, count)).await;
            }
            let missing = (start / entries..=last / entries)
                .filter(|index| self.table.borrow()[*index as usize] & BLOCK_MASK == 0)
                .count() as u64;
            if missing == blocks {
                break;
            }
            blocks = missing;
        }
        let last = start + blocks + count - 1;
        let mut place = start;
        for index in start / entries..=last / entries {
            if self.table.borrow()[index as usize] & BLOCK_MASK == 0 {
                self.add_block(file, index, place).await?;
                place += 1;
            }
        }
        let run = Run {
            first: start + blocks,
            count,
        };
        self.refuse_metadata(run)?;
        for cluster in start..=last {
            self.set(file, cluster, 1).await?;
        }
        Ok(run)
    }

    /// The first cluster from which on all are free.
    async fn end_of_counts(&self, file: &ImageFile) -> Result<u64> {
        let entries = self.layout.block_entries();
        let last = self
            .table
            .borrow()
            .iter()
            .rposition(|w| w & BLOCK_MASK != 0);
        let Some(last) = last else { return Ok(0) };
        let first = last as u64 * entries;
        for cluster in (first..first + entries).rev() {
            if self.count(file, cluster).await? != 0 {
                return Ok(cluster + 1);
            }
        }
        Ok(first)
    }

    /// Makes the table long enough for entry `index`, in another place.
    async fn grow_table(&self, file: &ImageFile, index: u64) -> Result<()> {
        let per_cluster = self.layout.cluster_bytes() / 8;
        let old = self.table.borrow().len() as u64;
        let len = (index + 1 + (old / 2).max(per_cluster)).next_multiple_of(per_cluster);
        let limit = MAX_REFTABLE_BYTES.max(self.layout.cluster_bytes()) / 8;
        let len = len.min(limit);
        if len <= index {
            return Err(Error::new(
                ErrorKind::NoSpace,
                "the refcount table cannot grow any more; help: use larger clusters",
            ));
        }
        self.table.borrow_mut().resize(len as usize, 0);
        let place = Box::pin(self.take_exact(file, len / per_cluster)).await?;
        let mut metadata = self.metadata.borrow_mut();
        metadata.extend(place.first..place.first + place.count);
        self.replaced.borrow_mut().push(self.place.replace(place));
        self.moved.set(true);
        Ok(())
    }

    /// Whether anything is to be written.
    pub(super) fn is_changed(&self) -> bool {
        self.cache.is_dirty() || self.moved.get() || !self.changed.borrow().is_empty()
    }

    /// Takes what a commit has to write of the table.
    pub(super) fn take_table(&self) -> TableChange {
        let table = self.table.borrow();
        let start = self.place.get().first << self.layout.cluster_bits;
        let numbers = std::mem::take(&mut *self.changed.borrow_mut());
        if self.moved.replace(false) {
            return TableChange {
                sectors: vec![(start, IoBuf::copy_of(&bytes_of(&table)))],
                moved_to: Some(self.place.get()),
                numbers,
            };
        }
        let per_sector = SECTOR_BYTES / 8;
        let sectors = numbers.iter().map(|number| {
            let from = *number as usize * per_sector;
            let upto = (from + per_sector).min(table.len());
            let bytes = bytes_of(&table[from..upto]);
            (start + number * SECTOR_BYTES as u64, IoBuf::copy_of(&bytes))
        });
        TableChange {
            sectors: sectors.collect(),
            moved_to: None,
            numbers,
        }
    }

    /// Notes that what was taken was not written.
    pub(super) fn restore_table(&self, change: &TableChange) {
        if change.moved_to.is_some() {
            self.moved.set(true);
        }
        self.changed.borrow_mut().extend(&change.numbers);
    }
}

/// Big-endian words.
pub(super) fn words(bytes: &[u8]) -> Vec<u64> {
    let chunks = bytes.chunks_exact(8);
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        u64::from_be_bytes(word)
    };
    chunks.map(word).collect()
}

/// The bytes of big-endian words.
pub(super) fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The `number`th count of a slice, of `1 << order` bits.
pub(super) fn count_in(bytes: &[u8], number: u64, order: u32) -> u64 {
    if order < 3 {
        let bit = number << order;
        let mask = (1_u8 << (1 << order)) - 1;
        return u64::from(bytes[(bit / 8) as usize] >> (bit % 8) & mask);
    }
    let width = 1_usize << (order - 3);
    let at = number as usize * width;
    let value = bytes[at..at + width].iter();
    value.fold(0, |count, byte| count << 8 | u64::from(*byte))
}

/// Sets the `number`th count of a slice.
pub(super) fn set_in(bytes: &mut [u8], number: u64, order: u32, count: u64) {
    if order < 3 {
        let bit = number << order;
        let mask = ((1_u8 << (1 << order)) - 1) << (bit % 8);
        let byte = &mut bytes[(bit / 8) as usize];
        *byte = *byte & !mask | ((count as u8) << (bit % 8)) & mask;
        return;
    }
    let width = 1_usize << (order - 3);
    let at = number as usize * width;
    bytes[at..at + width].copy_from_slice(&count.to_be_bytes()[8 - width..]);
}

/// The first free ones of the counts in `range`, at most `want`: where, and how many.
fn free_in(bytes: &[u8], range: std::ops::Range<u64>, order: u32, want: u64) -> Option<(u64, u64)> {
    let mut range = range;
    let end = range.end;
    let at = range.find(|number| count_in(bytes, *number, order) == 0)?;
    let stop = (at + want).min(end);
    let count = (at..stop)
        .take_while(|number| count_in(bytes, *number, order) == 0)
        .count();
    Some((at, count as u64))
}
