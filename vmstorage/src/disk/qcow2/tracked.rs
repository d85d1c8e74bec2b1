//! Keeping the bitmaps of others true: those that are to note all writes do.
//!
//! As the format asks, the first change marks them as in use, durably; [`Image::close`] stores them
//! and takes the mark away. An image that was not closed has bitmaps that nobody trusts.
//!
//! [`Image::close`]: super::Qcow2::close

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::bitmap::{AUTO, IN_USE, mark};
use super::header;
use super::image::Image;
use crate::disk::Ranges;
use crate::disk::Result;
use crate::engine::to_the_end;

/// The bitmaps that note all writes.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// They are in memory, and marked in the file.
    ready: Cell<bool>,
    live: RefCell<Vec<Live>>,
    pub(super) lock: Ranges,
}

#[derive(Debug)]
struct Live {
    name: String,
    granularity_bits: u8,
    bits: Vec<u8>,
}

impl Tracked {
    pub(super) fn forget(&self, name: &str) {
        self.live.borrow_mut().retain(|live| live.name != name);
    }
}

impl Image {
    /// Clears what the format says that who writes must clear.
    pub(super) async fn start_tracking(&self) -> Result<()> {
        if self.header.borrow().autoclear & !header::BITMAPS != 0 {
            self.change_header(|header| header.autoclear &= header::BITMAPS)
                .await?;
        }
        let entries = self.directory().await?;
        let live = entries
            .iter()
            .any(|entry| entry.flags & (AUTO | IN_USE) == AUTO);
        self.tracked.ready.set(!live);
        Ok(())
    }

    /// Notes a change. It fails before [`Image::start_noting`].
    pub(super) fn note_change(&self, offset: u64, len: u64) -> bool {
        let tracked = &self.tracked;
        if tracked.ready.get() {
            for live in tracked.live.borrow_mut().iter_mut() {
                mark(&mut live.bits, live.granularity_bits, offset, len);
            }
        }
        tracked.ready.get()
    }

    /// Marks the bitmaps also when the request is dropped, and notes a change.
    pub(super) async fn start_noting(self: &Rc<Self>, offset: u64, len: u64) -> Result<()> {
        let image = Rc::clone(self);
        to_the_end(async move { image.mark_tracked(offset, len).await }).await
    }

    /// Takes the bitmaps into memory, and notes a change.
    async fn mark_tracked(&self, offset: u64, len: u64) -> Result<()> {
        let alone = self.tracked.lock.enter_all().await;
        if !self.tracked.ready.get() {
            let mut entries = self.directory().await?;
            let mut loaded = Vec::new();
            for entry in &mut entries {
                if entry.flags & (AUTO | IN_USE) != AUTO {
                    continue;
                }
                match self.bits(entry).await {
                    Ok(bits) => loaded.push(Live {
                        name: entry.name.clone(),
                        granularity_bits: entry.granularity_bits,
                        bits,
                    }),
                    Err(error) => {
                        tracing::warn!(name = entry.name, %error, "a bitmap is given up");
                    }
                }
                entry.flags |= IN_USE;
            }
            self.put_directory(&entries).await?;
            self.tracked.live.replace(loaded);
            self.tracked.ready.set(true);
        }
        drop(alone);
        self.note_change(offset, len);
        Ok(())
    }

    /// A bitmap was made or replaced: from now on it notes changes, or does not.
    pub(super) async fn track_again(
        &self,
        name: &str,
        (auto, in_use): (bool, bool),
        granularity_bits: u8,
        bits: Vec<u8>,
    ) -> Result<()> {
        self.tracked.forget(name);
        if !auto || in_use {
            return Ok(());
        }
        if !self.tracked.ready.get() {
            return Ok(());
        }
        let mut entries = self.directory().await?;
        for entry in entries.iter_mut().filter(|entry| entry.name == name) {
            entry.flags |= IN_USE;
        }
        self.put_directory(&entries).await?;
        self.tracked.live.borrow_mut().push(Live {
            name: name.to_owned(),
            granularity_bits,
            bits,
        });
        Ok(())
    }

    /// Stores the bitmaps; they can be trusted from then on.
    pub(super) async fn finish_tracking(&self) -> Result<()> {
        let _alone = self.tracked.lock.enter_all().await;
        let live = std::mem::take(&mut *self.tracked.live.borrow_mut());
        if live.is_empty() {
            return Ok(());
        }
        let mut entries = self.directory().await?;
        let mut old = Vec::new();
        for live in &live {
            let Some(entry) = entries.iter_mut().find(|entry| entry.name == live.name) else {
                continue;
            };
            old.push(entry.clone());
            (entry.table_offset, entry.table_entries) = self.store_bits(&live.bits).await?;
            entry.flags &= !IN_USE;
        }
        self.put_directory(&entries).await?;
        self.tracked.ready.set(false);
        for entry in &old {
            self.free_bitmap(entry).await?;
        }
        Ok(())
    }
}
