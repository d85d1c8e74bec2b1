//! Zeroes and discards.

use std::rc::Rc;

use super::image::Image;
use super::layout::{ALL_ZERO, COPIED, Entry, Kind, SUBCLUSTERS, ZERO};
use crate::disk::{Durability, Error, ErrorKind, Extent, Result, Zeroes};
use crate::engine::IoBuf;
use crate::engine::to_the_end;

/// Zeroes that are written at once where a table cannot say it.
const CHUNK_BYTES: u64 = 1 << 20;

impl Image {
    pub(super) async fn write_zeroes(self: &Rc<Self>, extent: Extent, how: Zeroes) -> Result<()> {
        self.extent_check(extent)?;
        if extent.len_bytes == 0 {
            return Ok(());
        }
        if how.fast_only && self.layout.version < 3 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "images of version 2 have no zero clusters",
            ));
        }
        self.change_zeroes(extent, how.may_unmap).await?;
        match how.durability {
            Durability::Durable => self.flush().await,
            Durability::Volatile => Ok(()),
        }
    }

    pub(super) async fn discard(self: &Rc<Self>, extent: Extent) -> Result<()> {
        self.extent_check(extent)?;
        let cluster = self.layout.cluster_bytes();
        let start = extent.offset_bytes.next_multiple_of(cluster);
        let mut end = self.layout.cluster_start(extent.end_bytes());
        if extent.end_bytes() == self.size_bytes.get() {
            end = extent.end_bytes();
        }
        // Without zero clusters the backing disk's content would come back.
        let shows = self.layout.version < 3 && self.backing.is_some();
        if start >= end || shows {
            return Ok(());
        }
        self.change_zeroes(Extent::new(start, end - start), true)
            .await
    }

    async fn change_zeroes(self: &Rc<Self>, extent: Extent, unmap: bool) -> Result<()> {
        if !self.note_change(extent.offset_bytes, extent.len_bytes) {
            self.start_noting(extent.offset_bytes, extent.len_bytes)
                .await?;
        }
        let image = Rc::clone(self);
        to_the_end(async move {
            let bits = image.layout.cluster_bits;
            let last = (extent.end_bytes() - 1) >> bits;
            let range = extent.offset_bytes >> bits..last + 1;
            let _alone = image.changing.enter(range.start, range.end, true).await;
            // The disk may have shrunk meanwhile.
            image.extent_check(extent)?;
            image.zero(extent, unmap).await
        })
        .await
    }

    /// Makes a part zeroes, with its clusters locked.
    pub(super) async fn zero(self: &Rc<Self>, extent: Extent, unmap: bool) -> Result<()> {
        let (mut at, end) = (extent.offset_bytes, extent.end_bytes());
        while at < end {
            self.make_room().await?;
            // Not for longer: a commit could not give anything back.
            let _ticket = self.requests.start();
            at += self.zero_some(at, end, unmap).await?;
        }
        Ok(())
    }

    async fn zero_some(self: &Rc<Self>, at: u64, end: u64, unmap: bool) -> Result<u64> {
        let (kind, run) = self.find(at, end - at).await?;
        let shows = kind == Kind::Backing && at < self.backing_bytes();
        if kind == Kind::Zero && !unmap || kind == Kind::Backing && !shows {
            return Ok(run);
        }
        let layout = &self.layout;
        let whole = layout.cluster_bytes();
        let reaches_end = end >= self.size_bytes.get();
        let upto = if reaches_end {
            end.next_multiple_of(whole)
        } else {
            end
        };
        let clusters = (upto - layout.cluster_start(at)) / whole;
        if layout.in_cluster(at) == 0 && clusters > 0 {
            if layout.version >= 3 || unmap && self.backing.is_none() {
                let clusters = clusters.min(self.clusters_in_slice(at));
                self.zero_clusters(at, clusters, unmap).await?;
                return Ok((clusters * whole).min(end - at));
            }
        } else if kind == Kind::Zero {
            return Ok(run);
        } else if layout.extended
            && let Some(done) = self.zero_subclusters(at, end).await?
        {
            return Ok(done);
        }
        let mut len = run.min(CHUNK_BYTES).min(whole - layout.in_cluster(at));
        if layout.extended {
            let unit = layout.unit_bytes();
            if !at.is_multiple_of(unit) {
                len = len.min(unit - at % unit);
            }
        }
        self.write_parts(at, IoBuf::zeroed(len as usize)).await?;
        Ok(len)
    }

    async fn zero_clusters(&self, guest: u64, count: u64, unmap: bool) -> Result<()> {
        let old = self.entries(guest, count).await?;
        let new: Vec<Entry> = old.iter().map(|e| self.zeroed(*e, unmap)).collect();
        if old == new {
            return Ok(());
        }
        self.own_table(guest).await?;
        self.put_entries(guest, &new).await?;
        for (old, new) in old.iter().zip(&new) {
            if old.is_compressed() || old.host() != new.host() {
                self.free_entry(*old);
            }
        }
        Ok(())
    }

    /// What the entry of a cluster becomes that is to read as zeroes.
    fn zeroed(&self, old: Entry, unmap: bool) -> Entry {
        let kept = if old.is_own() && !unmap {
            old.host() | COPIED
        } else {
            0
        };
        if old == Entry::default() && self.backing.is_none() {
            return old;
        }
        match (self.layout.version, self.layout.extended) {
            (2, _) => Entry::default(),
            (_, true) => Entry {
                word: kept,
                bitmap: ALL_ZERO,
            },
            (_, false) => Entry {
                word: kept | ZERO,
                bitmap: 0,
            },
        }
    }

    /// Makes whole subclusters of one cluster zeroes; how many bytes.
    async fn zero_subclusters(&self, at: u64, end: u64) -> Result<Option<u64>> {
        let layout = &self.layout;
        let unit = layout.unit_bytes();
        let start = layout.cluster_start(at);
        let from = (at - start) / unit;
        let upto = ((end - start) / unit).min(SUBCLUSTERS);
        let mut entry = self.entries(at, 1).await?[0];
        if !at.is_multiple_of(unit) || from >= upto || entry.is_compressed() {
            return Ok(None);
        }
        self.own_table(at).await?;
        let mask = ((1_u64 << upto) - 1) & !((1_u64 << from) - 1);
        entry.bitmap = (entry.bitmap & !mask) | (mask << SUBCLUSTERS);
        self.put_entries(at, &[entry]).await?;
        Ok(Some((upto - from) * unit))
    }
}
