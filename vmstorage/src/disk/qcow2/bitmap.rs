//! Persistent dirty bitmaps (qcow2 specification, "Bitmaps").
//!
//! A change of any of them writes a new directory, and the header's extension is switched to it
//! when all is durable: after a power loss bitmaps are as before or as after.

use super::header::{self, BITMAPS_EXTENSION};
use super::image::Image;
use super::layout::OFFSET_MASK;
use super::refcount::{bytes_of, words};
use crate::disk::{Durability, Error, ErrorKind, Extent, Result};
use crate::engine::{IoBuf, IoBufMut};

/// The bitmap's content is not to be trusted.
pub(super) const IN_USE: u32 = 1;
/// All writes must be noted in the bitmap.
pub(super) const AUTO: u32 = 2;
/// Extra data that is not known does not matter.
const EXTRA_COMPATIBLE: u32 = 4;
/// Longest directory, as in QEMU.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;
/// Largest bitmap that is held in memory.
const MAX_BITMAP_BYTES: u64 = 64 << 20;
/// Longest table of a bitmap.
pub(super) const MAX_TABLE_BYTES: u64 = 64 << 20;
/// Bytes of a directory entry before what varies.
const ENTRY_BYTES: usize = 24;

/// A persistent dirty bitmap, as the image's directory describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    /// Its name, unique in the image.
    pub name: String,
    /// Bytes of the disk that share a bit, a power of two.
    pub granularity_bytes: u64,
    /// All writes are noted in it from opening on.
    pub auto: bool,
    /// It was not stored at the end of its last use: what it says is not to be trusted.
    pub in_use: bool,
}

/// An entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) table_offset: u64,
    pub(super) table_entries: u32,
    pub(super) flags: u32,
    kind: u8,
    pub(super) granularity_bits: u8,
    extra: Vec<u8>,
    pub(super) name: String,
}

impl Entry {
    fn describe(&self) -> Bitmap {
        Bitmap {
            name: self.name.clone(),
            granularity_bytes: 1 << self.granularity_bits,
            auto: self.flags & AUTO != 0,
            in_use: self.flags & IN_USE != 0,
        }
    }

    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let fixed = bytes.get(..ENTRY_BYTES)?;
        let number = |from: usize, upto: usize| {
            let part = fixed[from..upto].iter();
            part.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let (name_len, extra_len) = (number(18, 20) as usize, number(20, 24) as usize);
        let names = ENTRY_BYTES.checked_add(extra_len)?;
        let end = names.checked_add(name_len)?;
        let name = std::str::from_utf8(bytes.get(names..end)?).ok()?;
        let entry = Self {
            table_offset: number(0, 8),
            table_entries: number(8, 12) as u32,
            flags: number(12, 16) as u32,
            kind: fixed[16],
            granularity_bits: fixed[17],
            extra: bytes[ENTRY_BYTES..names].to_vec(),
            name: name.to_owned(),
        };
        (entry.granularity_bits < 64).then_some((entry, end.next_multiple_of(8)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.table_offset.to_be_bytes());
        out.extend(self.table_entries.to_be_bytes());
        out.extend(self.flags.to_be_bytes());
        out.extend([self.kind, self.granularity_bits]);
        out.extend((self.name.len() as u16).to_be_bytes());
        out.extend((self.extra.len() as u32).to_be_bytes());
        out.extend(&self.extra);
        out.extend(self.name.as_bytes());
        out.resize(out.len().next_multiple_of(8), 0);
    }
}

impl Image {
    pub(super) fn has_bitmaps(&self) -> bool {
        self.directory_place().is_some()
    }

    /// Where the directory is and how long, whether or not it can be trusted.
    pub(super) fn directory_place(&self) -> Option<(u64, u64)> {
        let header = self.header.borrow();
        let words = words(header.extension(BITMAPS_EXTENSION)?);
        (words.len() == 3).then(|| (words[2], words[1]))
    }

    fn bitmaps_are_consistent(&self) -> bool {
        self.header.borrow().autoclear & header::BITMAPS != 0
    }

    /// The entries of the directory; none when the image says that it was not kept.
    pub(super) async fn directory(&self) -> Result<Vec<Entry>> {
        let Some((offset, len)) = self.directory_place() else {
            return Ok(Vec::new());
        };
        if !self.bitmaps_are_consistent() {
            return Ok(Vec::new());
        }
        let wrong = || Error::corrupt(format!("the bitmap directory at {offset:#x} is wrong"));
        if len > MAX_DIRECTORY_BYTES || self.layout.in_cluster(offset) != 0 {
            return Err(wrong());
        }
        let buf = IoBufMut::zeroed(len as usize);
        let bytes = self.file.read_table(offset, buf).await?;
        let mut entries = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (entry, used) = Entry::parse(&bytes[at..]).ok_or_else(wrong)?;
            at += used;
            entries.push(entry);
        }
        Ok(entries)
    }

    pub(super) async fn bitmaps(&self) -> Result<Vec<Bitmap>> {
        Ok(self
            .directory()
            .await?
            .iter()
            .map(Entry::describe)
            .collect())
    }

    /// The parts of the disk that are marked in a bitmap, in order.
    pub(super) async fn bitmap_extents(&self, name: &str) -> Result<Vec<Extent>> {
        let entries = self.directory().await?;
        let entry = entries.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no bitmap `{name}`"))
        })?;
        if !entry.extra.is_empty() && entry.flags & EXTRA_COMPATIBLE == 0 || entry.kind != 1 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the bitmap `{name}` is of an unknown sort"),
            ));
        }
        let bits = self.bits(entry).await?;
        Ok(extents_of(
            &bits,
            entry.granularity_bits,
            self.size_bytes.get(),
        ))
    }

    /// Bytes that a bitmap of this granularity has.
    pub(super) fn bitmap_bytes(&self, granularity_bits: u8) -> u64 {
        let size = self.size_bytes.get();
        size.div_ceil(1 << granularity_bits).div_ceil(8)
    }

    /// All bits of a bitmap, the first in the lowest bit of the first byte.
    pub(super) async fn bits(&self, entry: &Entry) -> Result<Vec<u8>> {
        let len = self.bitmap_bytes(entry.granularity_bits);
        let cluster = self.layout.cluster_bytes();
        let wrong = |what: &str| Error::corrupt(format!("the bitmap `{}` {what}", entry.name));
        if len > MAX_BITMAP_BYTES {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the bitmap `{}` has {len} bytes, which is too much",
                    entry.name
                ),
            ));
        }
        if u64::from(entry.table_entries) != len.div_ceil(cluster) {
            return Err(wrong("is not of the disk's size"));
        }
        let mut bits = Vec::with_capacity(len as usize);
        if len == 0 {
            return Ok(bits);
        }
        let buf = IoBufMut::zeroed(entry.table_entries as usize * 8);
        let table = self.file.read_table(entry.table_offset, buf).await?;
        for word in words(&table) {
            let part = cluster.min(len - bits.len() as u64) as usize;
            let place = word & OFFSET_MASK;
            if self.layout.in_cluster(place) != 0 {
                return Err(wrong("has data in the middle of a cluster"));
            }
            if place == 0 {
                let byte = if word & 1 != 0 { 0xff } else { 0 };
                bits.resize(bits.len() + part, byte);
            } else {
                let buf = self.file.read_table(place, IoBufMut::zeroed(part)).await?;
                bits.extend_from_slice(&buf);
            }
        }
        Ok(bits)
    }

    /// Stores bits in new clusters: where their table is, and how many entries it has.
    pub(super) async fn store_bits(&self, bits: &[u8]) -> Result<(u64, u32)> {
        let shift = self.layout.cluster_bits;
        let cluster = self.layout.cluster_bytes() as usize;
        let mut table = Vec::new();
        for part in bits.chunks(cluster) {
            if part.iter().all(|byte| *byte == 0) {
                table.push(0);
                continue;
            }
            let host = self.allocate(1).await?.first << shift;
            self.file.claim(host, cluster as u64);
            let mut bytes = part.to_vec();
            bytes.resize(cluster, 0);
            let data = IoBuf::copy_of(&bytes);
            self.file.write(host, data, Durability::Volatile).await?;
            table.push(host);
        }
        let offset = self.store_exact(&bytes_of(&table)).await?;
        Ok((offset, table.len() as u32))
    }

    /// Stores bytes in new neighbouring clusters.
    async fn store_exact(&self, bytes: &[u8]) -> Result<u64> {
        let clusters = self.layout.clusters(bytes.len() as u64).max(1);
        let run = self.refcounts.allocate_exact(&self.file, clusters).await?;
        let (offset, len) = (
            run.first << self.layout.cluster_bits,
            clusters << self.layout.cluster_bits,
        );
        self.file.claim(offset, len);
        let mut padded = bytes.to_vec();
        padded.resize(len as usize, 0);
        let data = IoBuf::copy_of(&padded);
        self.file.write(offset, data, Durability::Volatile).await?;
        let mut metadata = self.refcounts.metadata.borrow_mut();
        metadata.extend(run.first..run.first + run.count);
        Ok(offset)
    }

    /// Makes these the image's bitmaps, durably.
    pub(super) async fn put_directory(&self, entries: &[Entry]) -> Result<()> {
        // Clusters of bitmaps that were not kept may be somebody else's by now.
        let old = self
            .directory_place()
            .filter(|_| self.bitmaps_are_consistent());
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.write(&mut bytes));
        let extension = if entries.is_empty() {
            None
        } else {
            let offset = self.store_exact(&bytes).await?;
            let count = (entries.len() as u64) << 32;
            Some(bytes_of(&[count, bytes.len() as u64, offset]))
        };
        self.commit().await?;
        self.rewrite_header(|header| {
            match extension {
                Some(_) => header.autoclear |= header::BITMAPS,
                None => header.autoclear &= !header::BITMAPS,
            }
            header.set_extension(BITMAPS_EXTENSION, extension);
        })
        .await?;
        if let Some((offset, len)) = old {
            self.free(offset, self.layout.clusters(len).max(1));
        }
        Ok(())
    }

    /// Gives back a bitmap's table and data.
    pub(super) async fn free_bitmap(&self, entry: &Entry) -> Result<()> {
        let len = u64::from(entry.table_entries) * 8;
        if entry.table_offset == 0 {
            return Ok(());
        }
        if len > MAX_TABLE_BYTES {
            return Err(Error::corrupt(format!(
                "the table of the bitmap `{}` has {len} bytes",
                entry.name
            )));
        }
        let buf = IoBufMut::zeroed(len as usize);
        let table = self.file.read_table(entry.table_offset, buf).await?;
        for word in words(&table) {
            if word & OFFSET_MASK != 0 {
                self.free(word & OFFSET_MASK, 1);
            }
        }
        self.free(entry.table_offset, self.layout.clusters(len).max(1));
        Ok(())
    }

    /// Adds a bitmap, or replaces the one of that name.
    pub(super) async fn set_bitmap(&self, bitmap: &Bitmap, extents: &[Extent]) -> Result<()> {
        self.extent_check(Extent::new(0, 0))?;
        let granularity = bitmap.granularity_bytes;
        let valid_name = !bitmap.name.is_empty() && bitmap.name.len() <= 1023;
        if self.layout.version < 3
            || !granularity.is_power_of_two()
            || !(512..=2 << 30).contains(&granularity)
            || !valid_name
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a bitmap needs an image of version 3, a granularity from 512 bytes to 2 GiB, \
                 and a name of at most 1023 bytes",
            ));
        }
        let granularity_bits = granularity.trailing_zeros() as u8;
        let len = self.bitmap_bytes(granularity_bits);
        if len > MAX_BITMAP_BYTES {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the bitmap would be too large; help: use a coarser granularity",
            ));
        }
        let mut bits = vec![0; len as usize];
        for extent in extents {
            self.geometry().check(*extent)?;
            mark(
                &mut bits,
                granularity_bits,
                extent.offset_bytes,
                extent.len_bytes,
            );
        }
        let _alone = self.tracked.lock.enter_all().await;
        let (table_offset, table_entries) = self.store_bits(&bits).await?;
        let mut flags = 0;
        if bitmap.auto {
            flags |= AUTO;
        }
        if bitmap.in_use {
            flags |= IN_USE;
        }
        let entry = Entry {
            table_offset,
            table_entries,
            flags,
            kind: 1,
            granularity_bits,
            extra: Vec::new(),
            name: bitmap.name.clone(),
        };
        self.replace_bitmap(&bitmap.name, Some(entry)).await?;
        self.track_again(
            &bitmap.name,
            (bitmap.auto, bitmap.in_use),
            granularity_bits,
            bits,
        )
        .await
    }

    /// Takes a bitmap away.
    pub(super) async fn remove_bitmap(&self, name: &str) -> Result<()> {
        self.extent_check(Extent::new(0, 0))?;
        let _alone = self.tracked.lock.enter_all().await;
        self.tracked.forget(name);
        self.replace_bitmap(name, None).await
    }

    async fn replace_bitmap(&self, name: &str, new: Option<Entry>) -> Result<()> {
        let mut entries = self.directory().await?;
        let old = entries.iter().position(|entry| entry.name == name);
        let old = old.map(|at| entries.remove(at));
        if old.is_none() && new.is_none() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no bitmap `{name}`"),
            ));
        }
        entries.extend(new);
        self.put_directory(&entries).await?;
        if let Some(old) = old {
            self.free_bitmap(&old).await?;
        }
        Ok(())
    }
}

/// Sets the bits of a part of the disk.
pub(super) fn mark(bits: &mut [u8], granularity_bits: u8, offset: u64, len: u64) {
    if len == 0 {
        return;
    }
    let last = (offset + len - 1) >> granularity_bits;
    for bit in offset >> granularity_bits..=last {
        if let Some(byte) = bits.get_mut((bit / 8) as usize) {
            *byte |= 1 << (bit % 8);
        }
    }
}

/// The parts of the disk whose bits are set.
fn extents_of(bits: &[u8], granularity_bits: u8, size_bytes: u64) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    let granularity = 1_u64 << granularity_bits;
    let count = size_bytes.div_ceil(granularity);
    for (index, byte) in bits.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        for bit in (0..8).filter(|bit| byte >> bit & 1 != 0) {
            let number = index as u64 * 8 + bit;
            if number >= count {
                break;
            }
            let start = number << granularity_bits;
            let end = start.saturating_add(granularity).min(size_bytes);
            match extents.last_mut() {
                Some(last) if last.end_bytes() == start => last.len_bytes += end - start,
                _ => extents.push(Extent::new(start, end - start)),
            }
        }
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_that_stand_for_more_than_there_is_end_with_the_disk() {
        for size_bytes in [1, 1 << 40, 1 << 56] {
            let whole = [Extent::new(0, size_bytes)];
            for granularity_bits in 57..64 {
                assert_eq!(extents_of(&[0xff], granularity_bits, size_bytes), whole);
            }
        }
        let parts = [Extent::new(0, 512), Extent::new(1024, 76)];
        assert_eq!(extents_of(&[0b1111_1101], 9, 1100), parts);
    }
}
