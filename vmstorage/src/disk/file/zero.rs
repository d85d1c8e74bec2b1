//! Zeroes without writing them, and storage given back.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use rustix::fs::FallocateFlags;

use super::Inner;
use super::direct::PAGE_BYTES;
use crate::disk::{Durability, Error, ErrorKind, Extent, Result, Zeroes};
use crate::engine::IoBuf;

/// Zeroes written by one request where they have to be.
const CHUNK_BYTES: u64 = 1 << 20;
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE);

impl Inner {
    pub(super) async fn write_zeroes(self: Rc<Self>, extent: Extent, how: Zeroes) -> Result<()> {
        let inner = self.whole_units(extent);
        let zeroed = match inner {
            Some(inner) => self.zero_fast(inner, how).await?,
            None => true,
        };
        let (head, tail) = match inner {
            Some(inner) if zeroed => edges(extent, inner),
            _ if how.fast_only && extent.len_bytes > PAGE_BYTES.max(self.block_bytes) => {
                let message = format!("{} has no fast zeroes", self.name);
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            _ => (extent, Extent::new(extent.end_bytes(), 0)),
        };
        self.write_out(head, how.durability).await?;
        self.write_out(tail, how.durability).await?;
        // Written zeroes are durable by themselves, those of the file system are metadata.
        if zeroed && inner.is_some() && how.durability == Durability::Durable {
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn discard(&self, extent: Extent) -> Result<()> {
        if let Some(inner) = self.whole_units(extent) {
            self.allocate(PUNCH, inner, &self.no_punch).await?;
        }
        Ok(())
    }

    /// Whether the file system or the device zeroed the range.
    async fn zero_fast(&self, extent: Extent, how: Zeroes) -> Result<bool> {
        if how.may_unmap && self.allocate(PUNCH, extent, &self.no_punch).await? {
            return Ok(true);
        }
        // A device's zero range may end in the kernel's writing zeroes, which is not fast.
        if self.is_device && how.fast_only {
            return Ok(false);
        }
        self.allocate(ZERO, extent, &self.no_zero_range).await
    }

    /// Whether `fallocate` knows that mode here.
    async fn allocate(
        &self,
        mode: FallocateFlags,
        extent: Extent,
        refused: &Cell<bool>,
    ) -> Result<bool> {
        if refused.get() {
            return Ok(false);
        }
        let (offset, len) = (extent.offset_bytes, extent.len_bytes);
        let _beside = self.ranges.enter(offset, extent.end_bytes(), false).await;
        self.geometry().check_write(extent)?; // it may have been resized meanwhile
        match self.file.allocate(mode, offset, len).await {
            Ok(()) => Ok(true),
            Err(error) if is_unsupported(&error) => {
                refused.set(true);
                Ok(false)
            }
            Err(error) => {
                let call = format!(
                    "fallocate({mode:?}) of {len} bytes at {offset} of {}",
                    self.name
                );
                Err(Error::io(call, error))
            }
        }
    }

    async fn write_out(self: &Rc<Self>, extent: Extent, how: Durability) -> Result<()> {
        if extent.len_bytes == 0 {
            return Ok(());
        }
        let zeroes = IoBuf::zeroed(extent.len_bytes.min(CHUNK_BYTES) as usize);
        let mut at = extent.offset_bytes;
        while at < extent.end_bytes() {
            // Pieces end at multiples of their size, so that only the first and last have edges.
            let stop = (at - at % CHUNK_BYTES + CHUNK_BYTES).min(extent.end_bytes());
            let part = zeroes.slice(..((stop - at) as usize).min(zeroes.len()));
            let len = part.len() as u64;
            Rc::clone(self).write(at, part, how).await?;
            at += len;
        }
        Ok(())
    }

    /// The part of a range that `fallocate` may change: whole blocks of a device, and whole pages
    /// where writes go past the page cache, which would keep a page that was changed in part.
    fn whole_units(&self, extent: Extent) -> Option<Extent> {
        let unit = match (self.is_device, self.direct) {
            (true, _) => self.block_bytes,
            (false, true) => PAGE_BYTES.max(self.block_bytes),
            (false, false) => 1,
        };
        let start = extent.offset_bytes.next_multiple_of(unit);
        let stop = extent.end_bytes() - extent.end_bytes() % unit;
        (start < stop).then(|| Extent::new(start, stop - start))
    }
}

/// What is of `extent` before and after `inner`.
fn edges(extent: Extent, inner: Extent) -> (Extent, Extent) {
    let head = inner.offset_bytes - extent.offset_bytes;
    let tail = extent.end_bytes() - inner.end_bytes();
    (
        Extent::new(extent.offset_bytes, head),
        Extent::new(inner.end_bytes(), tail),
    )
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV)
    )
}
