//! How changes of metadata become durable.
//!
//! Requests change the BAT and the sector bitmaps in memory and note the changed pages. A commit
//! writes these pages as one entry into the log, flushes, and then writes them in place; the entry
//! is replayed until a later flush has made the writes in place durable. The log is written from
//! its start to its end and then begun anew under another identifier, once all it holds is durable
//! in place: programs that sort the entries of a ring by their places alone (QEMU 7.2 does) replay
//! it rightly too.
//!
//! Blocks of a disk without parent need no flush before their entries: until their data is durable
//! they are zero, as they were before. Where that is not so (a block of a differencing disk, or one
//! in space that was used before) a barrier flushes the data first.

use std::cell::Cell;
use std::rc::Rc;

use uuid::Uuid;

use super::image::Image;
use super::layout::{PAGE_BYTES, Region};
use super::lock::COMMIT;
use super::log::{EntryHeader, Update, encode, entry_bytes};
use crate::disk::{Durability, Error, ErrorKind, Result};
use crate::engine::to_the_end;

/// So many changed pages are committed before there are more: with what one request adds they fit
/// one entry of the smallest log, so every commit is whole or not at all.
const MAX_DIRTY_PAGES: usize = 128;

/// Where the log stands.
#[derive(Debug)]
pub(super) struct LogState {
    region: Region,
    /// What its entries carry; nil when it is empty.
    id: Cell<Uuid>,
    sequence: Cell<u64>,
    /// Where the next entry goes.
    next: Cell<u64>,
    /// The oldest entry that may not be durable in place.
    oldest: Cell<Option<u64>>,
    /// Counts the times that writing in place began.
    applied: Cell<u64>,
    /// The file is durably so long.
    durable_bytes: Cell<u64>,
}

impl LogState {
    pub(super) fn new(region: Region, durable_bytes: u64) -> Self {
        Self {
            region,
            id: Cell::new(Uuid::nil()),
            sequence: Cell::new(0),
            next: Cell::new(0),
            oldest: Cell::new(None),
            applied: Cell::new(0),
            durable_bytes: Cell::new(durable_bytes),
        }
    }
}

/// Where the page begins that an offset of the file is in.
pub(super) fn page_of(offset: u64) -> u64 {
    offset / PAGE_BYTES as u64 * PAGE_BYTES as u64
}

impl Image {
    /// Notes that a page of the file is to be committed.
    pub(super) fn mark(&self, page: u64) {
        self.dirty.borrow_mut().insert(page);
    }

    /// Whether metadata in memory is newer than what is durable.
    pub(super) fn unsettled(&self) -> bool {
        self.committing.get() || !self.dirty.borrow().is_empty()
    }

    /// Waits until there is room for the changes of one request. They must be made without another
    /// wait.
    pub(super) async fn make_room(self: &Rc<Self>) -> Result<()> {
        while self.dirty.borrow().len() >= MAX_DIRTY_PAGES {
            self.commit(Vec::new()).await?;
        }
        Ok(())
    }

    /// Makes all that was acknowledged durable.
    pub(super) async fn flush(self: &Rc<Self>) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.usable()?;
        if self.unsettled() {
            self.commit(Vec::new()).await
        } else {
            self.sync().await
        }
    }

    /// Commits the changed pages, and `extra` ones with them.
    pub(super) async fn commit(self: &Rc<Self>, extra: Vec<Update>) -> Result<()> {
        let image = Rc::clone(self);
        to_the_end(async move { image.commit_alone(extra).await }).await
    }

    /// Commits everything and empties the log, so that other programs find the file clean.
    pub(super) async fn close(self: &Rc<Self>) -> Result<()> {
        self.flush().await?;
        if self.read_only {
            return Ok(());
        }
        let image = Rc::clone(self);
        to_the_end(async move {
            let _alone = image.locks.exclusive(COMMIT).await;
            image.empty_log().await
        })
        .await
    }

    async fn commit_alone(&self, updates: Vec<Update>) -> Result<()> {
        let _alone = self.locks.exclusive(COMMIT).await;
        self.commit_locked(updates).await
    }

    /// Commits while the caller holds the commit lock.
    pub(super) async fn commit_locked(&self, mut updates: Vec<Update>) -> Result<()> {
        self.usable()?;
        let pages = std::mem::take(&mut *self.dirty.borrow_mut());
        let freed = std::mem::take(&mut *self.freed.borrow_mut());
        let barrier = self.barrier.replace(false);
        for &offset in &pages {
            let bat = self.bat.region();
            let page = if bat.contains(offset) {
                Some(self.bat.page(offset - bat.offset))
            } else {
                self.bitmaps.content(offset)
            };
            updates.extend(page.map(|page| Update { offset, page }));
        }
        self.committing.set(true);
        let result = if updates.is_empty() {
            self.sync().await
        } else {
            self.record(&updates, barrier || self.parent.is_some())
                .await
        };
        self.committing.set(false);
        if result.is_ok() {
            freed
                .into_iter()
                .for_each(|place| self.space.release(place));
        } else {
            self.dirty.borrow_mut().extend(pages);
            self.freed.borrow_mut().extend(freed);
            self.barrier.set(barrier || self.barrier.get());
        }
        result
    }

    /// Writes one entry into the log and its pages in place.
    async fn record(&self, updates: &[Update], barrier: bool) -> Result<()> {
        if barrier {
            self.sync().await?;
        }
        let log = &self.log;
        let len = entry_bytes(updates.len()) as u64;
        if len > log.region.len {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{len} bytes do not fit the log of {}", log.region.len),
            ));
        }
        if log.next.get() + len > log.region.len {
            self.empty_log().await?;
        }
        let fresh = log.id.get().is_nil();
        let id = if fresh { Uuid::new_v4() } else { log.id.get() };
        let at = log.next.get();
        let header = EntryHeader {
            sequence: log.sequence.get() + 1,
            tail: log.oldest.get().unwrap_or(at) as u32,
            log: id,
            flushed_file_bytes: log.durable_bytes.get(),
            last_file_bytes: self.file.geometry().size_bytes,
        };
        // If this fails, the next commit writes over it.
        let bytes = encode(&header, updates);
        self.file
            .write(log.region.offset + at, bytes, Durability::Volatile)
            .await?;
        let applied = async {
            self.sync().await?;
            if fresh {
                self.update_headers(|next| next.log = id).await?;
            }
            log.id.set(id);
            log.sequence.set(header.sequence);
            log.next.set(at + len);
            log.oldest.set(log.oldest.get().or(Some(at)));
            log.applied.set(log.applied.get() + 1);
            for Update { offset, page } in updates {
                self.file
                    .write(*offset, page.clone(), Durability::Volatile)
                    .await?;
            }
            Ok(())
        };
        applied.await.map_err(|error| self.break_down(error))
    }

    /// Makes what the log holds durable in place and says that it is empty.
    pub(super) async fn empty_log(&self) -> Result<()> {
        if self.log.id.get().is_nil() {
            return Ok(());
        }
        let emptied = async {
            self.sync().await?;
            self.update_headers(|next| next.log = Uuid::nil()).await
        };
        emptied.await.map_err(|error| self.break_down(error))?;
        self.log.id.set(Uuid::nil());
        self.log.next.set(0);
        Ok(())
    }

    /// Flushes the file, and notes what is durable thereby.
    async fn sync(&self) -> Result<()> {
        let log = &self.log;
        let (applied, size) = (log.applied.get(), self.file.geometry().size_bytes);
        self.file.flush().await?;
        log.durable_bytes.set(log.durable_bytes.get().max(size));
        if log.applied.get() == applied {
            log.oldest.set(None);
        }
        Ok(())
    }

    /// After this only another opening, which replays the log, tells what the file holds.
    pub(super) fn break_down(&self, error: Error) -> Error {
        self.broken
            .borrow_mut()
            .get_or_insert_with(|| error.clone());
        error
    }
}
