//! `O_DIRECT` for requests of any alignment.

use std::os::fd::AsRawFd;
use std::rc::Rc;

use rustix::fs::Advice;

use super::Inner;
use crate::disk::{Durability, Error, Extent, Result};
use crate::engine::to_the_end;
use crate::engine::{File, IoBuf, IoBufMut, unblock};

/// Most bytes that a request has in bounce buffers at once.
const BOUNCE_BYTES: u64 = 1 << 20;
/// What the page cache reads and writes at once, whatever the block is.
pub(super) const PAGE_BYTES: u64 = 4096;

impl Inner {
    /// Reads any range within the disk.
    pub(super) async fn read(&self, offset: u64, mut buf: IoBufMut) -> Result<IoBufMut> {
        let needed = buf.len();
        let end = offset + needed as u64;
        if !self.direct || (self.is_aligned(offset, end) && self.fits_memory(&buf)) {
            return self.read_whole(offset, buf, needed).await;
        }
        for (start, stop) in pieces(offset, end, self.block_bytes) {
            let (from, to) = (start.max(offset), stop.min(end));
            let bounce = IoBufMut::scratch((stop - start) as usize);
            let needed = (to - start) as usize;
            let bounce = self.read_whole(start, bounce, needed).await?;
            let read = &bounce[(from - start) as usize..needed];
            buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(read);
        }
        Ok(buf)
    }

    /// Writes any range within the disk.
    pub(super) async fn write(
        self: Rc<Self>,
        offset: u64,
        data: IoBuf,
        how: Durability,
    ) -> Result<()> {
        let extent = Extent::new(offset, data.len() as u64);
        let end = extent.end_bytes();
        if self.direct && !self.is_aligned(offset, end) {
            return to_the_end(async move { self.write_parts(offset, data, how).await }).await;
        }
        let _beside = self.ranges.enter(offset, end, false).await;
        self.geometry().check_write(extent)?; // it may have been resized meanwhile
        if !self.direct && how == Durability::Durable {
            let cached = self.cached().await?;
            return self.write_whole(&cached, offset, data, how).await;
        }
        if !self.direct || self.fits_memory(&data) {
            return self.write_whole(&self.file, offset, data, how).await;
        }
        self.write_bounced(offset, &data, how).await
    }

    /// Writes a range that begins or ends within a block.
    async fn write_parts(&self, offset: u64, data: IoBuf, how: Durability) -> Result<()> {
        let end = offset + data.len() as u64;
        loop {
            let size = self.size_bytes.get();
            // The last block of a file may be cut short; that part goes through the page cache.
            let tail = match self.is_device {
                true => size,
                false => size - size % self.block_bytes,
            };
            let unit = if end > tail {
                PAGE_BYTES.max(self.block_bytes)
            } else {
                self.block_bytes
            };
            let start = offset - offset % unit;
            let stop = end.next_multiple_of(unit);
            let _alone = self.ranges.enter(start, stop, true).await;
            if self.size_bytes.get() != size {
                continue; // the disk was resized while this waited
            }
            self.geometry()
                .check_write(Extent::new(offset, data.len() as u64))?;
            let whole = (tail.clamp(offset, end) - offset) as usize;
            self.write_bounced(offset, &data.slice(..whole), how)
                .await?;
            if whole < data.len() {
                self.write_tail(offset + whole as u64, data.slice(whole..), how)
                    .await?;
            }
            return Ok(());
        }
    }

    /// Writes through aligned memory, with what is around the range in its first and last block.
    async fn write_bounced(&self, offset: u64, data: &[u8], how: Durability) -> Result<()> {
        let end = offset + data.len() as u64;
        let block = self.block_bytes as usize;
        for (start, stop) in pieces(offset, end, self.block_bytes) {
            let (from, to) = (start.max(offset), stop.min(end));
            let mut bounce = IoBufMut::scratch((stop - start) as usize);
            let last = bounce.len() - block;
            if from > start {
                let edge = self
                    .read_whole(start, IoBufMut::scratch(block), block)
                    .await?;
                bounce[..block].copy_from_slice(&edge);
            }
            // A single block is read once.
            if to < stop && (last > 0 || from == start) {
                let at = stop - self.block_bytes;
                let edge = self.read_whole(at, IoBufMut::scratch(block), block).await?;
                bounce[last..].copy_from_slice(&edge);
            }
            bounce[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
            self.write_whole(&self.file, start, bounce.freeze(), how)
                .await?;
        }
        Ok(())
    }

    /// Writes into the last, short block. The caller holds its page: what the page cache has of it
    /// is written and dropped before anybody writes beside it directly.
    async fn write_tail(&self, offset: u64, data: IoBuf, how: Durability) -> Result<()> {
        let cached = self.cached().await?;
        self.write_whole(&cached, offset, data, how).await?;
        if let Err(error) = cached.sync_data().await {
            let error = Error::io(format!("fdatasync of {}", self.name), error);
            self.lose(error.clone());
            return Err(error);
        }
        let start = offset - offset % PAGE_BYTES;
        // Where it is not dropped, direct writes drop it.
        let _ =
            unblock(move || rustix::fs::fadvise(cached.as_std(), start, None, Advice::DontNeed))
                .await;
        Ok(())
    }

    async fn cached(&self) -> Result<File> {
        if let Some(cached) = self.cached.get() {
            return Ok(cached.clone());
        }
        let path = format!("/proc/self/fd/{}", self.file.as_std().as_raw_fd());
        let shown = path.clone();
        let opened = unblock(move || std::fs::File::options().read(true).write(true).open(path));
        let opened = opened.await.map_err(|error| {
            let call = format!(
                "open of `{shown}`, to write the last bytes of {}",
                self.name
            );
            Error::io(call, error)
        })?;
        Ok(self.cached.get_or_init(|| File::new(opened)).clone())
    }

    fn is_aligned(&self, offset: u64, end: u64) -> bool {
        (offset | end) & (self.block_bytes - 1) == 0
    }

    fn fits_memory(&self, bytes: &[u8]) -> bool {
        bytes.as_ptr().addr() & (self.memory_bytes - 1) == 0
    }
}

/// Cuts the blocks that a range touches into pieces of at most [`BOUNCE_BYTES`].
fn pieces(offset: u64, end: u64, block_bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut start = offset - offset % block_bytes;
    let stop = end.next_multiple_of(block_bytes);
    let empty = offset == end;
    std::iter::from_fn(move || {
        if empty || start >= stop {
            return None;
        }
        let piece = (start, stop.min(start + BOUNCE_BYTES));
        start = piece.1;
        Some(piece)
    })
}
