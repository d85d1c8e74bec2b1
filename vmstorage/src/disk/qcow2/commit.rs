//! How changes become durable.
//!
//! Requests change tables in memory only. A commit takes copies of all that was changed and writes
//! them in this order, with the file flushed wherever a line begins:
//!
//! 1. reference counts that went up (data and new, empty tables were written before), then
//! 2. the refcount table, if it was changed, and the header, if the table was moved, then
//! 3. L1 and L2 entries, then
//! 4. nothing more: what the old entries referred to is free for others.
//!
//! So whatever a power loss leaves is whole: an entry is old or new (it is within one sector), what
//! it refers to was durable before it, and what an old one refers to was not touched. Counts that
//! are too high are all that can be wrong, and they are only lost space.
//!
//! Clusters that were freed wait after step 4 for the requests that may still know them; then their
//! counts go down in memory, which the next commit makes durable.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::cache::Saved;
use super::header::SECTOR_BYTES;
use super::image::Image;
use super::refcount::{Run, TableChange, bytes_of};
use crate::disk::Ranges;
use crate::disk::{Durability, Result};
use crate::engine::IoBuf;
use crate::engine::to_the_end;

/// Writes of tables that are under way at the same time.
const AT_ONCE: usize = 16;
/// Freed runs of clusters that wait for a commit, at most about.
const MAX_FREED: usize = 16_384;

/// Commits that were made.
#[derive(Debug, Default)]
pub(super) struct Commits {
    lock: Ranges,
    begun: Cell<u64>,
    ended: Cell<u64>,
}

/// What a commit writes.
struct Work {
    counts: Vec<Saved>,
    table: TableChange,
    l1: Vec<(u64, IoBuf)>,
    l1_sectors: BTreeSet<u64>,
    l2: Vec<Saved>,
    freed: Vec<Run>,
}

impl Image {
    /// Makes all that was acknowledged durable.
    pub(super) async fn flush(self: &Rc<Self>) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        let image = Rc::clone(self);
        to_the_end(async move { image.commit().await }).await
    }

    /// Whether the way to any data is not durable yet.
    pub(super) fn has_changes(&self) -> bool {
        self.l2.is_dirty()
            || !self.l1_changed.borrow().is_empty()
            || !self.header_undo.borrow().is_empty()
            || self.commits.lock.is_busy()
    }

    /// Commits when there is much to do, so that memory is bounded.
    pub(super) async fn make_room(&self) -> Result<()> {
        let crowded = self.l2.is_crowded() || self.refcounts.cache.is_crowded();
        if crowded || self.freed.borrow().len() > MAX_FREED {
            self.commit().await?;
        }
        Ok(())
    }

    /// Makes everything durable that was changed before. It must not be dropped halfway.
    pub(super) async fn commit(&self) -> Result<()> {
        let commits = &self.commits;
        // One that begins from now on is enough; who waits may find that it was made.
        let needed = commits.begun.get() + 1;
        let _alone = commits.lock.enter_all().await;
        if commits.ended.get() >= needed {
            return Ok(());
        }
        let number = commits.begun.get() + 1;
        commits.begun.set(number);
        let work = self.take_work();
        if let Err(error) = self.carry_out(&work).await {
            self.restore(work);
            return Err(error.context("writing the image's tables"));
        }
        commits.ended.set(number);
        if !work.freed.is_empty() {
            let generation = self.requests.turn();
            let mut quarantine = self.quarantine.borrow_mut();
            quarantine.push_back((generation, work.freed));
        }
        self.release().await
    }

    fn take_work(&self) -> Work {
        let mut freed = std::mem::take(&mut *self.freed.borrow_mut());
        freed.append(&mut self.refcounts.replaced.borrow_mut());
        let l1_sectors = std::mem::take(&mut *self.l1_changed.borrow_mut());
        let table = self.l1.borrow();
        let per_sector = SECTOR_BYTES / 8;
        let l1 = l1_sectors.iter().map(|number| {
            let from = *number as usize * per_sector;
            let upto = (from + per_sector).min(table.len());
            let place = self.l1_offset.get() + number * SECTOR_BYTES as u64;
            (place, IoBuf::copy_of(&bytes_of(&table[from..upto])))
        });
        Work {
            counts: self.refcounts.cache.take_changed(),
            table: self.refcounts.take_table(),
            l1: l1.collect(),
            l1_sectors,
            l2: self.l2.take_changed(),
            freed,
        }
    }

    async fn carry_out(&self, work: &Work) -> Result<()> {
        work.table.check(&self.layout)?;
        self.secure_header().await?;
        self.write_slices(&work.counts).await?;
        if !work.table.sectors.is_empty() {
            self.file.flush().await?;
            self.write_all(&work.table.sectors).await?;
        }
        if work.table.moved {
            self.file.flush().await?;
            let (place, bits) = (work.table.place, self.layout.cluster_bits);
            self.change_header(|header| {
                header.reftable_offset = place.first << bits;
                header.reftable_clusters = place.count as u32;
            })
            .await?;
        }
        if !work.l1.is_empty() || !work.l2.is_empty() {
            self.file.flush().await?;
            self.write_all(&work.l1).await?;
            self.write_slices(&work.l2).await?;
        }
        self.file.flush().await
    }

    fn restore(&self, work: Work) {
        self.refcounts.cache.restore(&work.counts);
        self.refcounts.restore_table(&work.table);
        self.l1_changed.borrow_mut().extend(&work.l1_sectors);
        self.l2.restore(&work.l2);
        self.freed.borrow_mut().extend(work.freed);
    }

    async fn write_slices(&self, slices: &[Saved]) -> Result<()> {
        let writes: Vec<(u64, IoBuf)> = slices
            .iter()
            .map(|slice| (slice.offset, slice.bytes.clone()))
            .collect();
        self.write_all(&writes).await
    }

    async fn write_all(&self, writes: &[(u64, IoBuf)]) -> Result<()> {
        let writes: Vec<_> = writes.to_vec();
        stream::iter(writes)
            .map(|(offset, bytes)| self.file.write(offset, bytes, Durability::Volatile))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Lets others have clusters to which neither tables nor requests refer any more.
    async fn release(&self) -> Result<()> {
        while !self.refcounts.cache.is_crowded() {
            let next = {
                let mut quarantine = self.quarantine.borrow_mut();
                match quarantine.front() {
                    Some((generation, _)) if self.requests.have_ended(*generation) => {
                        quarantine.pop_front()
                    }
                    _ => None,
                }
            };
            let Some((_, runs)) = next else { break };
            for run in runs {
                self.refcounts.release(&self.file, run).await?;
            }
        }
        Ok(())
    }

    /// Makes everything durable, also that clusters are free, as far as requests have ended.
    pub(super) async fn settle(&self) -> Result<()> {
        self.commit().await?;
        let waiting = self.quarantine.borrow().len();
        if waiting > 0 {
            self.release().await?;
        }
        if self.refcounts.is_changed() {
            self.commit().await?;
        }
        Ok(())
    }
}
