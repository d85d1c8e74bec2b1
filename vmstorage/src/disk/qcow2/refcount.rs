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
use super::header::{Header, SECTOR_BYTES};
use super::layout::{BLOCK_MASK, Layout};
use crate::disk::Ranges;
use crate::disk::{Error, ErrorKind, Result};
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
    pub(super) layout: Layout,
    pub(super) table: RefCell<Vec<u64>>,
    pub(super) place: Cell<Run>,
    /// Sectors of the table that were changed.
    pub(super) changed: RefCell<BTreeSet<u64>>,
    pub(super) moved: Cell<bool>,
    pub(super) cache: Cache,
    /// No cluster before this is free.
    hint: Cell<u64>,
    pub(super) alone: Ranges,
    /// Clusters of metadata, which no data may be written to.
    pub(super) metadata: RefCell<HashSet<u64>>,
    /// Tables that were replaced, for the commit to free.
    pub(super) replaced: RefCell<Vec<Run>>,
}

/// What of the refcount table a commit has to write.
#[derive(Debug)]
pub(super) struct TableChange {
    pub(super) sectors: Vec<(u64, IoBuf)>,
    pub(super) place: Run,
    /// The table was elsewhere before.
    pub(super) moved: bool,
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
    pub(super) fn find(&self, cluster: u64) -> Result<Option<(u64, u64)>> {
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

    pub(super) fn byte_of(&self, block: u64, number: u64) -> u64 {
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

    /// Counts in a slice.
    pub(super) fn per_slice(&self) -> u64 {
        (self.layout.slice_bytes() * 8) >> self.layout.refcount_order
    }

    /// The number of a count within its slice.
    fn in_slice(&self, number: u64) -> u64 {
        number % self.per_slice()
    }

    /// Sets a count, whose block is there.
    pub(super) async fn set(&self, file: &ImageFile, cluster: u64, count: u64) -> Result<()> {
        let Some((block, number)) = self.find(cluster)? else {
            return Err(uncounted(cluster));
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
            let per_slice = self.per_slice();
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

    pub(super) fn refuse_metadata(&self, run: Run) -> Result<()> {
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

    /// Whether anything is to be written.
    pub(super) fn is_changed(&self) -> bool {
        self.cache.is_dirty() || self.moved.get() || !self.changed.borrow().is_empty()
    }

    /// Takes what a commit has to write of the table.
    pub(super) fn take_table(&self) -> TableChange {
        let table = self.table.borrow();
        let place = self.place.get();
        let start = place.first << self.layout.cluster_bits;
        let numbers = std::mem::take(&mut *self.changed.borrow_mut());
        let moved = self.moved.replace(false);
        let sectors = if moved {
            vec![(start, IoBuf::copy_of(&bytes_of(&table)))]
        } else {
            let per_sector = SECTOR_BYTES / 8;
            let sectors = numbers.iter().map(|number| {
                let from = *number as usize * per_sector;
                let upto = (from + per_sector).min(table.len());
                let bytes = bytes_of(&table[from..upto]);
                (start + number * SECTOR_BYTES as u64, IoBuf::copy_of(&bytes))
            });
            sectors.collect()
        };
        TableChange {
            sectors,
            place,
            moved,
            numbers,
        }
    }

    /// Notes that what was taken was not written.
    pub(super) fn restore_table(&self, change: &TableChange) {
        if change.moved {
            self.moved.set(true);
        }
        self.changed.borrow_mut().extend(&change.numbers);
    }
}

impl TableChange {
    /// Refuses to write anywhere but where the table is.
    pub(super) fn check(&self, layout: &Layout) -> Result<()> {
        let start = self.place.first << layout.cluster_bits;
        let end = start + (self.place.count << layout.cluster_bits);
        let is_outside = |(at, bytes): &&(u64, IoBuf)| *at < start || at + bytes.len() as u64 > end;
        match self.sectors.iter().find(is_outside) {
            None => Ok(()),
            Some((at, _)) => Err(Error::corrupt(format!(
                "the refcount table at {start:#x} would be written to {at:#x}, beyond its end; \
                 help: `qemu-img check`"
            ))),
        }
    }
}

pub(super) fn uncounted(cluster: u64) -> Error {
    Error::corrupt(format!("cluster {cluster:#x} has no reference count"))
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
