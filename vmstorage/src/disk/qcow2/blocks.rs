//! Blocks of reference counts and the table of them: made where they are missing, and the table
//! moved to where it has room.

use std::rc::Rc;

use super::cache::Slice;
use super::file::ImageFile;
use super::header::{MAX_REFTABLE_BYTES, SECTOR_BYTES};
use super::layout::BLOCK_MASK;
use super::refcount::{Refcounts, Run, set_in, uncounted};
use crate::disk::{Durability, Error, ErrorKind, Result};
use crate::engine::IoBuf;

/// Clusters that are about to be taken, blocks for their counts first. What that needs is in the
/// file and in memory, so that it is one step: no commit sees a part of it.
struct Taking {
    run: Run,
    blocks: Vec<Block>,
    /// The slices of the run's counts, in order. They stay in memory while they are held, as only
    /// who makes blocks forgets any.
    slices: Vec<Rc<Slice>>,
}

/// A block that is new: its number in the table, and its cluster.
struct Block {
    index: u64,
    place: u64,
}

impl Refcounts {
    /// The block with the count of a cluster, made when it is missing.
    pub(super) async fn block_for(&self, file: &ImageFile, cluster: u64) -> Result<(u64, u64)> {
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
        let run = Run {
            first: place,
            count: 1,
        };
        let taking = self.prepare(file, run, vec![Block { index, place }]);
        self.take(&taking.await?);
        Ok((place << self.layout.cluster_bits, cluster % entries))
    }

    /// Makes what is needed to take a run: its new blocks, which are empty and not in use yet, and
    /// the slices of its counts.
    async fn prepare(&self, file: &ImageFile, run: Run, blocks: Vec<Block>) -> Result<Taking> {
        self.refuse_metadata(run)?;
        for block in &blocks {
            self.make_block(file, block.place).await?;
        }
        let (entries, per_slice) = (self.layout.block_entries(), self.per_slice());
        let last = run.first + run.count - 1;
        let mut slices = Vec::new();
        for number in run.first / per_slice..=last / per_slice {
            let cluster = number * per_slice;
            let new = blocks.iter().find(|new| new.index == cluster / entries);
            let block = match (new, self.find(cluster)?) {
                (Some(new), _) => new.place << self.layout.cluster_bits,
                (None, Some((block, _))) => block,
                (None, None) => return Err(uncounted(cluster)),
            };
            let at = self.byte_of(block, cluster % entries);
            slices.push(self.cache.get(file, at).await?);
        }
        Ok(Taking {
            run,
            blocks,
            slices,
        })
    }

    /// Fills a free cluster with counts of zero.
    async fn make_block(&self, file: &ImageFile, place: u64) -> Result<()> {
        let len = self.layout.cluster_bytes();
        let offset = place.checked_mul(len).ok_or_else(|| {
            Error::new(ErrorKind::NoSpace, "the image has no room for more counts")
        })?;
        file.reserve(offset, len).await?;
        if !file.claim(offset, len) {
            let zeroes = IoBuf::zeroed(len as usize);
            file.write(offset, zeroes, Durability::Volatile).await?;
        }
        self.cache.forget(offset, len);
        Ok(())
    }

    /// Takes what was prepared: its clusters behind the blocks.
    fn take(&self, taking: &Taking) -> Run {
        let Run { first, count } = taking.run;
        let mut table = self.table.borrow_mut();
        for Block { index, place } in &taking.blocks {
            if let Some(word) = table.get_mut(*index as usize) {
                *word = place << self.layout.cluster_bits;
            }
            self.metadata.borrow_mut().insert(*place);
            let sector = index * 8 / SECTOR_BYTES as u64;
            self.changed.borrow_mut().insert(sector);
        }
        let (order, per_slice) = (self.layout.refcount_order, self.per_slice());
        for (slice, number) in taking.slices.iter().zip(first / per_slice..) {
            let from = first.max(number * per_slice);
            let upto = (first + count).min((number + 1) * per_slice);
            let numbers = from % per_slice..from % per_slice + (upto - from);
            slice.with(|bytes| numbers.for_each(|number| set_in(bytes, number, order, 1)));
            self.cache.touch(slice);
        }
        let blocks = taking.blocks.len() as u64;
        Run {
            first: first + blocks,
            count: count - blocks,
        }
    }

    /// Takes `count` neighbouring clusters at the end of the file.
    pub(super) async fn allocate_exact(&self, file: &ImageFile, count: u64) -> Result<Run> {
        let _alone = self.alone.enter_all().await;
        self.take_exact(file, count).await
    }

    async fn take_exact(&self, file: &ImageFile, count: u64) -> Result<Run> {
        let (run, blocks) = loop {
            let (run, blocks) = self.plan(file, count).await?;
            let last = self.index_of_last(run);
            if last < self.table.borrow().len() as u64 {
                break (run, blocks);
            }
            self.grow_table(file, last).await?;
        };
        let taking = self.prepare(file, run, blocks).await?;
        Ok(self.take(&taking))
    }

    /// `count` neighbours at the end of the file, and before them the blocks that are missing for
    /// all. They may be beyond what the table counts.
    async fn plan(&self, file: &ImageFile, count: u64) -> Result<(Run, Vec<Block>)> {
        let first = self.end_of_counts(file).await?;
        let table = self.table.borrow();
        let is_missing = |index: &u64| {
            let word = table.get(*index as usize).copied().unwrap_or(0);
            word & BLOCK_MASK == 0
        };
        let mut blocks = Vec::new();
        loop {
            let run = Run {
                first,
                count: blocks.len() as u64 + count,
            };
            let indexes = first / self.layout.block_entries()..=self.index_of_last(run);
            let missing = indexes.filter(is_missing).zip(first..);
            let missing: Vec<Block> = missing
                .map(|(index, place)| Block { index, place })
                .collect();
            if missing.len() == blocks.len() {
                return Ok((run, missing));
            }
            // Blocks may need further ones.
            blocks = missing;
        }
    }

    /// Which block counts the last cluster of a run.
    fn index_of_last(&self, run: Run) -> u64 {
        (run.first + run.count - 1) / self.layout.block_entries()
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
        let mut index = index;
        let (len, run, blocks) = loop {
            let len = self.longer(index)?;
            let (run, blocks) = self.plan(file, len / per_cluster).await?;
            if self.index_of_last(run) < len {
                break (len, run, blocks);
            }
            index = self.index_of_last(run);
        };
        let taking = self.prepare(file, run, blocks).await?;
        // The table and its place change together: a commit in between would write the one's
        // sectors to the other's.
        self.table.borrow_mut().resize(len as usize, 0);
        let place = self.take(&taking);
        let mut metadata = self.metadata.borrow_mut();
        metadata.extend(place.first..place.first + place.count);
        self.replaced.borrow_mut().push(self.place.replace(place));
        self.moved.set(true);
        Ok(())
    }

    /// How many entries a table gets that has to have entry `index`.
    fn longer(&self, index: u64) -> Result<u64> {
        let per_cluster = self.layout.cluster_bytes() / 8;
        let old = self.table.borrow().len() as u64;
        let len = (index + 1 + (old / 2).max(per_cluster)).next_multiple_of(per_cluster);
        let len = len.min(MAX_REFTABLE_BYTES.max(self.layout.cluster_bytes()) / 8);
        if len <= index {
            return Err(Error::new(
                ErrorKind::NoSpace,
                "the refcount table cannot grow any more; help: use larger clusters",
            ));
        }
        Ok(len)
    }
}
