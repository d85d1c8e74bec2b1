//! Rewriting the first cluster, which must be whole after a power loss at any moment.
//!
//! Only one sector is written atomically, and extensions need more than one. So new extensions are
//! written to a free part of the cluster, and then the first sector is changed to skip what is
//! between: it names that a padding extension, which others keep as one that they do not know.
//!
//! When a write fails, the file may hold the old header or the new one. The image goes on with the
//! old one, which is written again before anything else that builds on it.

use super::header::{Header, PADDING, SECTOR_BYTES};
use super::image::Image;
use crate::disk::{Durability, Error, ErrorKind, Result};
use crate::engine::{IoBuf, IoBufMut};

impl Image {
    /// Changes fields of the header, durably.
    pub(super) async fn change_header(&self, change: impl FnOnce(&mut Header)) -> Result<()> {
        let _alone = self.header_lock.enter_all().await;
        self.undo_header().await?;
        let mut header = self.header.borrow().clone();
        change(&mut header);
        let old = self.sector.borrow().clone();
        let mut new = old.clone();
        let fields = header.fields(Header::name_at(&old));
        let len = fields.len().min(SECTOR_BYTES);
        new[..len].copy_from_slice(&fields[..len]);
        self.write_sectors(&old, &new, &[0]).await?;
        self.header.replace(header);
        self.sector.replace(new);
        Ok(())
    }

    /// Makes sure that the file has the header that the image goes by.
    pub(super) async fn secure_header(&self) -> Result<()> {
        if self.header_undo.borrow().is_empty() {
            return Ok(());
        }
        let _alone = self.header_lock.enter_all().await;
        self.undo_header().await
    }

    /// Takes back what may have been written of the header; with its lock.
    async fn undo_header(&self) -> Result<()> {
        let parts = self.header_undo.borrow().clone();
        if parts.is_empty() {
            return Ok(());
        }
        for (at, bytes) in parts {
            self.file.write(at, bytes, Durability::Volatile).await?;
        }
        self.file.flush().await?;
        self.header_undo.take();
        Ok(())
    }

    /// Changes the header and its extensions, durably.
    pub(super) async fn rewrite_header(&self, change: impl FnOnce(&mut Header)) -> Result<()> {
        let _alone = self.header_lock.enter_all().await;
        self.undo_header().await?;
        let mut header = self.header.borrow().clone();
        change(&mut header);
        let cluster = self.layout.cluster_bytes() as usize;
        self.file.reserve(0, cluster as u64).await?;
        let old = self.file.read_table(0, IoBufMut::zeroed(cluster)).await?;
        let own = header.header_bytes();
        for tail_at in [own, header.tail_at] {
            let new = lay_out(&header, &old, tail_at);
            let Some(new) = new else { continue };
            let differs = |sector: &usize| {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                old[range.clone()] != new[range]
            };
            let changed: Vec<usize> = (0..cluster / SECTOR_BYTES).filter(differs).collect();
            if changed.len() <= 1 || cluster < 4096 {
                self.write_sectors(&old, &new, &changed).await?;
                return self.adopt(header, &new, tail_at);
            }
        }
        let (tail, _) = header.tail(0);
        let before = header.tail_at / SECTOR_BYTES * SECTOR_BYTES;
        let after = header.end.next_multiple_of(SECTOR_BYTES);
        let tail_at = if before >= SECTOR_BYTES + tail.len() {
            SECTOR_BYTES
        } else {
            after
        };
        let Some(new) = lay_out(&header, &old, tail_at) else {
            return Err(Error::new(
                ErrorKind::NoSpace,
                "the image's first cluster has no room for the header's extensions",
            ));
        };
        let last = (tail_at + tail.len()).div_ceil(SECTOR_BYTES);
        let sectors: Vec<usize> = (tail_at / SECTOR_BYTES..last).collect();
        self.write_sectors(&old, &new, &sectors).await?;
        self.write_sectors(&old, &new, &[0]).await?;
        self.adopt(header, &new, tail_at)
    }

    /// Writes sectors durably that are other ones in `old`.
    async fn write_sectors(&self, old: &[u8], new: &[u8], sectors: &[usize]) -> Result<()> {
        let parts = |bytes: &[u8]| -> Vec<(u64, IoBuf)> {
            let part = |sector: &usize| {
                let at = sector * SECTOR_BYTES;
                (at as u64, IoBuf::copy_of(&bytes[at..at + SECTOR_BYTES]))
            };
            sectors.iter().map(part).collect()
        };
        self.header_undo.replace(parts(old));
        for (at, bytes) in parts(new) {
            self.file.write(at, bytes, Durability::Volatile).await?;
        }
        self.file.flush().await?;
        self.header_undo.take();
        Ok(())
    }

    fn adopt(&self, mut header: Header, bytes: &[u8], tail_at: usize) -> Result<()> {
        let (tail, _) = header.tail(tail_at);
        header.tail_at = tail_at;
        header.end = tail_at + tail.len();
        self.sector
            .borrow_mut()
            .copy_from_slice(&bytes[..SECTOR_BYTES]);
        self.header.replace(header);
        Ok(())
    }
}

/// The first cluster with the extensions at `tail_at`, if they fit.
fn lay_out(header: &Header, old: &[u8], tail_at: usize) -> Option<Vec<u8>> {
    let own = header.header_bytes();
    let (tail, name_at) = header.tail(tail_at);
    let padded = tail_at != own;
    if tail_at + tail.len() > old.len() || padded && tail_at < own + 8 || own + 8 > SECTOR_BYTES {
        return None;
    }
    let mut new = old.to_vec();
    new[..own].copy_from_slice(&header.fields(name_at));
    if padded {
        new[own..own + 4].copy_from_slice(&PADDING.to_be_bytes());
        let len = (tail_at - own - 8) as u32;
        new[own + 4..own + 8].copy_from_slice(&len.to_be_bytes());
    }
    new[tail_at..tail_at + tail.len()].copy_from_slice(&tail);
    Some(new)
}
