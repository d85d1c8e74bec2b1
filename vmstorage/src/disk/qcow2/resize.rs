//! Changes of the disk's size.

use std::rc::Rc;

use super::image::Image;
use super::layout::{COPIED, Entry, OFFSET_MASK};
use super::refcount::bytes_of;
use crate::disk::{Durability, Error, ErrorKind, Extent, Result};
use crate::engine::IoBuf;
use crate::engine::to_the_end;

/// Most entries of an L1 table, as in QEMU.
const MAX_L1_ENTRIES: u64 = (32 << 20) / 8;

impl Image {
    pub(super) async fn resize(self: &Rc<Self>, size_bytes: u64) -> Result<()> {
        self.extent_check(Extent::new(0, 0))?;
        let limit = MAX_L1_ENTRIES.saturating_mul(self.layout.l2_span_bytes());
        if size_bytes > limit.min(1 << 56) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("a disk of {size_bytes} bytes needs larger clusters"),
            ));
        }
        if self.has_bitmaps() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the image has bitmaps of its size; help: remove them first",
            ));
        }
        let image = Rc::clone(self);
        to_the_end(async move {
            let _alone = image.changing.enter_all().await;
            let old = image.size_bytes.get();
            if size_bytes < old {
                image.shrink(size_bytes).await
            } else {
                image.grow(old, size_bytes).await
            }
        })
        .await
    }

    async fn grow(self: &Rc<Self>, old: u64, new: u64) -> Result<()> {
        self.commit().await?;
        let needed = self.layout.l1_entries(new);
        if needed > self.l1.borrow().len() as u64 {
            self.grow_l1(needed).await?;
        }
        // What the last cluster, or the backing disk, has beyond the old end must not show.
        let below = self.backing.as_ref();
        let hidden = below.map_or(0, |disk| disk.geometry().size_bytes.min(new));
        let end = hidden.max(old.next_multiple_of(self.layout.cluster_bytes()).min(new));
        self.size_bytes.set(new);
        let zeroed = match end > old {
            true => self.zero(Extent::new(old, end - old), false).await,
            false => Ok(()),
        };
        let done = match zeroed {
            Ok(()) => self.commit().await,
            Err(error) => Err(error),
        };
        let done = match done {
            Ok(()) => self.change_header(|header| header.size_bytes = new).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.size_bytes.set(old);
        }
        done
    }

    /// Moves the L1 table to where there is room for `entries`. Nothing else changes tables now.
    async fn grow_l1(&self, entries: u64) -> Result<()> {
        let bits = self.layout.cluster_bits;
        let per_cluster = self.layout.cluster_bytes() / 8;
        let roomy = (entries + entries / 8).next_multiple_of(per_cluster);
        let len = roomy.min(MAX_L1_ENTRIES).max(entries);
        let clusters = self.layout.clusters(len * 8);
        let run = self.refcounts.allocate_exact(&self.file, clusters).await?;
        let offset = run.first << bits;
        let mut table = self.l1.borrow().clone();
        let (old_offset, old_len) = (self.l1_offset.get(), table.len() as u64 * 8);
        table.resize(len as usize, 0);
        if let Err(error) = self.move_l1(offset, &table).await {
            self.free(offset, clusters);
            return Err(error);
        }
        let mut metadata = self.refcounts.metadata.borrow_mut();
        metadata.extend(run.first..run.first + run.count);
        self.l1.replace(table);
        self.l1_offset.set(offset);
        if old_len > 0 {
            self.free(old_offset, self.layout.clusters(old_len));
        }
        Ok(())
    }

    /// Writes an L1 table that is the image's from then on.
    async fn move_l1(&self, offset: u64, table: &[u64]) -> Result<()> {
        let mut bytes = bytes_of(table);
        let len = bytes
            .len()
            .next_multiple_of(self.layout.cluster_bytes() as usize);
        bytes.resize(len, 0);
        self.file.claim(offset, len as u64);
        let bytes = IoBuf::copy_of(&bytes);
        self.file.write(offset, bytes, Durability::Volatile).await?;
        self.commit().await?;
        self.change_header(|header| {
            header.l1_offset = offset;
            header.l1_entries = table.len() as u32;
        })
        .await
    }

    async fn shrink(self: &Rc<Self>, new: u64) -> Result<()> {
        let layout = &self.layout;
        let old = self.size_bytes.get();
        let mut at = new.next_multiple_of(layout.cluster_bytes());
        while at < old {
            self.make_room().await?;
            let span = layout.l2_span_bytes();
            if self.table_of(at)?.is_none() {
                at += span - at % span;
                continue;
            }
            if at.is_multiple_of(span) {
                self.drop_table(at).await?;
                at += span;
                continue;
            }
            let count = self.clusters_in_slice(at);
            let entries = self.entries(at, count).await?;
            self.own_table(at).await?;
            let empty = vec![Entry::default(); entries.len()];
            self.put_entries(at, &empty).await?;
            entries.iter().for_each(|entry| self.free_entry(*entry));
            at += count * layout.cluster_bytes();
        }
        self.commit().await?;
        self.change_header(|header| header.size_bytes = new).await?;
        self.size_bytes.set(new);
        Ok(())
    }

    /// Gives up an L2 table with all that it refers to.
    async fn drop_table(&self, guest: u64) -> Result<()> {
        let layout = &self.layout;
        let index = (guest / layout.l2_span_bytes()) as usize;
        let entry = self.l1.borrow().get(index).copied().unwrap_or(0);
        let mut dropped = Vec::new();
        let mut at = guest;
        while at < guest + layout.l2_span_bytes() {
            let count = self.clusters_in_slice(at);
            dropped.append(&mut self.entries(at, count).await?);
            at += count * layout.cluster_bytes();
        }
        // Nothing waits from here on: a commit must not free what the table still leads to. A table
        // of a snapshot's too keeps its clusters; all have a reference for each.
        dropped.iter().for_each(|entry| self.free_entry(*entry));
        if let Some(slot) = self.l1.borrow_mut().get_mut(index) {
            *slot = 0;
        }
        if entry & COPIED != 0 {
            self.l2.forget(entry & OFFSET_MASK, layout.cluster_bytes());
        }
        self.l1_changed.borrow_mut().insert(index as u64 / 64);
        self.free(entry & OFFSET_MASK, 1);
        Ok(())
    }
}
