//! Writes: in place where the cluster is the image's own, otherwise to new clusters.

use std::rc::Rc;

use super::image::Image;
use super::layout::{COPIED, Entry, Kind, OFFSET_MASK, SUBCLUSTERS};
use super::refcount::Run;
use crate::disk::{Durability, Error, Extent, Result};
use crate::engine::to_the_end;
use crate::engine::{IoBuf, IoBufMut};

/// Copied and new bytes of this much are written as one.
const ASSEMBLED_BYTES: u64 = 1 << 20;

/// Clusters that a write is about to fill.
struct Target {
    /// The cluster of the disk that is first.
    guest: u64,
    host: u64,
    /// Entries as they were.
    old: Vec<Entry>,
    /// Nothing was ever stored there.
    fresh: bool,
    /// The clusters are the old ones: they are not to be freed.
    kept: bool,
}

impl Image {
    pub(super) async fn write(
        self: &Rc<Self>,
        offset: u64,
        data: IoBuf,
        how: Durability,
    ) -> Result<()> {
        let len = data.len() as u64;
        self.extent_check(Extent::new(offset, len))?;
        if len == 0 {
            return Ok(());
        }
        if !self.note_change(offset, len) {
            self.start_noting(offset, len).await?;
        }
        let ticket = self.requests.start();
        let (kind, run) = self.find(offset, len).await?;
        if let Kind::Data { host, writable } = kind
            && writable
            && run == len
        {
            self.refuse_overlap(host, len)?;
            let durable = how == Durability::Durable;
            let at_once = durable && !self.has_changes();
            let how = if at_once { how } else { Durability::Volatile };
            ticket.pin();
            let answer = self.file.write(host, data, how).await;
            ticket.done();
            drop(ticket);
            answer?;
            // The way to the data may not be durable yet.
            return if durable && !at_once {
                self.flush().await
            } else {
                Ok(())
            };
        }
        drop(ticket);
        let image = Rc::clone(self);
        to_the_end(async move { image.write_locked(offset, data).await }).await?;
        match how {
            Durability::Durable => self.flush().await,
            Durability::Volatile => Ok(()),
        }
    }

    async fn write_locked(self: &Rc<Self>, offset: u64, data: IoBuf) -> Result<()> {
        self.make_room().await?;
        let bits = self.layout.cluster_bits;
        let last = (offset + data.len() as u64 - 1) >> bits;
        let _alone = self.changing.enter(offset >> bits, last + 1, true).await;
        // The disk may have shrunk meanwhile.
        self.extent_check(Extent::new(offset, data.len() as u64))?;
        let _ticket = self.requests.start();
        self.write_parts(offset, data).await
    }

    /// Writes with the clusters locked.
    pub(super) async fn write_parts(self: &Rc<Self>, offset: u64, data: IoBuf) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            let guest = offset + done as u64;
            let rest = data.slice(done..);
            let (kind, run) = self.find(guest, rest.len() as u64).await?;
            let Kind::Data {
                host,
                writable: true,
            } = kind
            else {
                done += self.write_new(guest, rest, run).await? as usize;
                continue;
            };
            self.refuse_overlap(host, run)?;
            let part = rest.slice(..run as usize);
            self.file.write(host, part, Durability::Volatile).await?;
            done += run as usize;
        }
        Ok(())
    }

    /// Writes the first of `data` to clusters that have to be allocated; how many bytes. The first
    /// `alike` bytes of the disk there are of one kind.
    async fn write_new(self: &Rc<Self>, guest: u64, data: IoBuf, alike: u64) -> Result<u64> {
        self.own_table(guest).await?;
        let target = self.target(guest, data.len() as u64).await?;
        let bits = self.layout.cluster_bits;
        let end = target.guest + ((target.old.len() as u64) << bits);
        let mut len = (end - guest).min(data.len() as u64);
        if target.kept {
            // Subclusters that are allocated are written in place, also by others at this moment.
            len = len.min(alike);
        }
        let data = data.slice(..len as usize);
        let answer = self.fill(&target, guest, data).await;
        let count = target.old.len() as u64;
        let (lo, hi) = match answer {
            Ok(filled) => filled,
            Err(error) => {
                if !target.kept {
                    self.free(target.host, count);
                }
                return Err(error);
            }
        };
        let new: Vec<Entry> = (0..count)
            .map(|number| self.filled_entry(&target, number, lo, hi))
            .collect();
        self.put_entries(target.guest, &new).await?;
        if !target.kept {
            target.old.iter().for_each(|entry| self.free_entry(*entry));
        }
        Ok(len)
    }

    /// Clusters for a write of `len` bytes at `guest`, or for the first of them.
    async fn target(&self, guest: u64, len: u64) -> Result<Target> {
        let layout = &self.layout;
        let start = layout.cluster_start(guest);
        let wanted = (guest + len - start).div_ceil(layout.cluster_bytes());
        let mut old = self.entries(start, wanted).await?;
        if old[0].is_own() {
            // It has a place already, as a zero cluster or for some subclusters.
            let host = old[0].host();
            self.refuse_overlap(host, layout.cluster_bytes())?;
            old.truncate(1);
            return Ok(Target {
                guest: start,
                host,
                old,
                fresh: false,
                kept: true,
            });
        }
        let needy = old.iter().take_while(|entry| !entry.is_own()).count();
        let run = self.allocate(needy as u64).await?;
        old.truncate(run.count as usize);
        let host = run.first << layout.cluster_bits;
        let bytes = run.count << layout.cluster_bits;
        let fresh = self.file.claim(host, bytes);
        let target = Target {
            guest: start,
            host,
            old,
            fresh,
            kept: false,
        };
        match self.file.reserve(host, bytes).await {
            Ok(()) => Ok(target),
            Err(error) => {
                self.free(host, run.count);
                Err(error)
            }
        }
    }

    pub(super) async fn allocate(&self, want: u64) -> Result<Run> {
        let run = self.refcounts.allocate(&self.file, want).await?;
        let end = (run.first + run.count) << self.layout.cluster_bits;
        if end > OFFSET_MASK {
            return Err(Error::new(
                crate::disk::ErrorKind::NoSpace,
                "the image has no room for another cluster",
            ));
        }
        Ok(run)
    }

    /// Writes the data and what its units keep of their old content. Which part was filled.
    async fn fill(&self, target: &Target, guest: u64, data: IoBuf) -> Result<(u64, u64)> {
        let end = guest + data.len() as u64;
        let head_entry = target.old[0];
        let last_entry = target.old[target.old.len() - 1];
        let lo = guest - guest % self.fill_bytes(head_entry, target);
        let hi = end.next_multiple_of(self.fill_bytes(last_entry, target));
        let head = self.old_content(lo, guest).await?;
        let tail = self.old_content(end, hi).await?;
        let host = |at: u64| target.host + (at - target.guest);
        let nothing = head.is_none() && tail.is_none();
        if (nothing && target.fresh) || (lo == guest && hi == end) {
            let how = Durability::Volatile;
            self.file.write(host(guest), data, how).await?;
            return Ok((lo, hi));
        }
        if hi - lo <= ASSEMBLED_BYTES {
            let mut whole = IoBufMut::zeroed((hi - lo) as usize);
            let (from, upto) = ((guest - lo) as usize, (end - lo) as usize);
            if let Some(head) = head {
                whole[..from].copy_from_slice(&head);
            }
            whole[from..upto].copy_from_slice(&data);
            if let Some(tail) = tail {
                whole[upto..].copy_from_slice(&tail);
            }
            let how = Durability::Volatile;
            self.file.write(host(lo), whole.freeze(), how).await?;
            return Ok((lo, hi));
        }
        let zeroes = |len: u64| IoBufMut::zeroed(len as usize);
        let head = head.unwrap_or_else(|| zeroes(guest - lo)).freeze();
        let tail = tail.unwrap_or_else(|| zeroes(hi - end)).freeze();
        for (at, part) in [(lo, head), (guest, data), (end, tail)] {
            if !part.is_empty() {
                self.file
                    .write(host(at), part, Durability::Volatile)
                    .await?;
            }
        }
        Ok((lo, hi))
    }

    /// What has to be filled together of a cluster: all of it, if it moves and is not empty.
    fn fill_bytes(&self, old: Entry, target: &Target) -> u64 {
        if old.has_data(&self.layout) && !target.kept {
            self.layout.cluster_bytes()
        } else {
            self.layout.unit_bytes()
        }
    }

    /// What the disk holds from `from` to `upto`, `None` when that is zeroes.
    async fn old_content(&self, from: u64, upto: u64) -> Result<Option<IoBufMut>> {
        let inside = upto.min(self.size_bytes.get());
        let mut at = from;
        while at < inside {
            let (kind, run) = self.find(at, inside - at).await?;
            let shown = kind != Kind::Backing || at < self.backing_bytes();
            if kind != Kind::Zero && shown {
                break;
            }
            at += run;
        }
        if at >= inside {
            return Ok(None);
        }
        let mut buf = IoBufMut::zeroed((upto - from) as usize);
        let head = buf.split_to((inside - from) as usize);
        let mut head = self.read_parts(from, head).await?;
        head.unsplit(buf);
        Ok(Some(head))
    }

    /// The entry of the target's cluster `number` when `lo` to `hi` was filled.
    fn filled_entry(&self, target: &Target, number: u64, lo: u64, hi: u64) -> Entry {
        let layout = &self.layout;
        let offset = number << layout.cluster_bits;
        let word = (target.host + offset) | COPIED;
        if !layout.extended {
            return Entry { word, bitmap: 0 };
        }
        let start = target.guest + offset;
        let unit = layout.unit_bytes();
        let from = lo.saturating_sub(start) / unit;
        let upto = (hi.saturating_sub(start) / unit).min(SUBCLUSTERS);
        let mask = ((1_u64 << upto) - 1) & !((1_u64 << from) - 1);
        let old = target.old[number as usize];
        // A compressed cluster has no bitmap, and is filled wholly.
        let bitmap = if old.is_compressed() { 0 } else { old.bitmap };
        Entry {
            word,
            bitmap: (bitmap | mask) & !(mask << SUBCLUSTERS),
        }
    }

    /// Gives back what an entry referred to.
    pub(super) fn free_entry(&self, entry: Entry) {
        if entry.is_compressed() {
            let place = self.layout.compressed(entry.word);
            let first = self.layout.cluster_start(place.offset_bytes);
            let last = place.offset_bytes + place.len_bytes - 1;
            let count = ((last - first) >> self.layout.cluster_bits) + 1;
            self.free(first, count);
            self.recent.forget();
        } else if entry.host() != 0 {
            self.free(entry.host(), 1);
        }
    }

    /// Makes sure that the part's L2 table may be changed: there, and nobody else's.
    pub(super) async fn own_table(&self, guest: u64) -> Result<()> {
        let index = (guest / self.layout.l2_span_bytes()) as usize;
        let entry = |image: &Self| image.l1.borrow().get(index).copied().unwrap_or(0);
        if entry(self) & COPIED != 0 && self.table_of(guest)?.is_some() {
            return Ok(());
        }
        let _alone = self.l2_making.enter_all().await;
        let old = self.table_of(guest)?;
        if entry(self) & COPIED != 0 && old.is_some() {
            return Ok(());
        }
        let len = self.layout.cluster_bytes();
        let run = self.allocate(1).await?;
        let host = run.first << self.layout.cluster_bits;
        let answer = self.make_table(host, old).await;
        if let Err(error) = answer {
            self.free(host, 1);
            return Err(error);
        }
        self.l2.forget(host, len);
        self.refcounts.metadata.borrow_mut().insert(run.first);
        if let Some(slot) = self.l1.borrow_mut().get_mut(index) {
            *slot = host | COPIED;
        }
        self.l1_changed.borrow_mut().insert(index as u64 / 64);
        if let Some(old) = old {
            self.free(old, 1);
        }
        Ok(())
    }

    /// Makes a cluster an L2 table: a copy of `old`, or an empty one.
    async fn make_table(&self, host: u64, old: Option<u64>) -> Result<()> {
        let len = self.layout.cluster_bytes();
        let fresh = self.file.claim(host, len);
        self.file.reserve(host, len).await?;
        let mut table = IoBufMut::zeroed(len as usize);
        if let Some(old) = old {
            table = self.file.read_table(old, table).await?;
        } else if fresh {
            return Ok(());
        }
        let how = Durability::Volatile;
        self.file.write(host, table.freeze(), how).await
    }
}
