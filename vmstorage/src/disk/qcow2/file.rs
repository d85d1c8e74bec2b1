//! The image's file: a disk that is read beyond its end where the format allows it, and grown.

use std::cell::Cell;
use std::rc::Rc;

use crate::disk::Ranges;
use crate::disk::{Disk, Durability, Error, ErrorKind, Extent, Result};
use crate::engine::{IoBuf, IoBufMut};

/// The least that the file grows by.
const GROW_BYTES: u64 = 1 << 20;
/// The most that the file grows by beyond what is needed.
const MAX_GROW_BYTES: u64 = 64 << 20;

/// How far beyond the end of the file a cluster may be that is counted as used. A power loss may
/// leave some there; more is an image that was made to waste space.
const MAX_GAP_BYTES: u64 = 1 << 30;

/// The file of an image.
#[derive(Debug)]
pub(super) struct ImageFile {
    disk: Rc<dyn Disk>,
    growing: Ranges,
    /// Nothing was ever stored from here on: it reads as zeroes.
    fresh_from: Cell<u64>,
}

impl ImageFile {
    pub(super) fn new(disk: Rc<dyn Disk>) -> Self {
        let size = disk.geometry().size_bytes;
        Self {
            disk,
            growing: Ranges::default(),
            fresh_from: Cell::new(size),
        }
    }

    pub(super) fn disk(&self) -> &Rc<dyn Disk> {
        &self.disk
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.disk.geometry().size_bytes
    }

    /// Reads metadata, which must be within the file.
    pub(super) async fn read_table(&self, offset: u64, buf: IoBufMut) -> Result<IoBufMut> {
        let (len, size) = (buf.len() as u64, self.size_bytes());
        if offset.checked_add(len).is_none_or(|end| end > size) && offset >= size {
            return Err(Error::corrupt(format!(
                "a table at {offset:#x} is beyond the end of the file of {size} bytes"
            )));
        }
        self.read(offset, buf).await
    }

    /// Reads data; what the file lacks of the last cluster is zeroes.
    pub(super) async fn read(&self, offset: u64, mut buf: IoBufMut) -> Result<IoBufMut> {
        let (len, size) = (buf.len() as u64, self.size_bytes());
        if offset.checked_add(len).is_some_and(|end| end <= size) {
            return self.disk.read(offset, buf).await;
        }
        if offset >= size {
            return Err(Error::corrupt(format!(
                "{len} bytes at {offset:#x} are beyond the end of the file of {size} bytes"
            )));
        }
        let head = buf.split_to((size - offset) as usize);
        buf.fill(0);
        let mut head = self.disk.read(offset, head).await?;
        head.unsplit(buf);
        Ok(head)
    }

    /// Writes, after growing the file when it is too short by less than the data.
    pub(super) async fn write(&self, offset: u64, data: IoBuf, how: Durability) -> Result<()> {
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes()) {
            self.reserve(offset, data.len() as u64).await?;
        }
        self.disk.write(offset, data, how).await
    }

    /// Has the file reach to the end of a part.
    pub(super) async fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        let end = offset.saturating_add(len);
        if end <= self.size_bytes() {
            return Ok(());
        }
        let _alone = self.growing.enter_all().await;
        let size = self.size_bytes();
        if end <= size {
            return Ok(());
        }
        if end > 1 << 56 {
            return Err(Error::new(
                ErrorKind::NoSpace,
                "the image cannot grow beyond 64 PiB",
            ));
        }
        if offset > size && offset - size > size.max(MAX_GAP_BYTES) {
            return Err(Error::corrupt(format!(
                "the next free cluster would be at {offset:#x}, far beyond the end of the file of \
                 {size} bytes; help: `qemu-img check -r leaks`"
            )));
        }
        let more = (size / 16).clamp(GROW_BYTES, MAX_GROW_BYTES);
        let roomy = end.next_multiple_of(GROW_BYTES).max(size + more);
        match self.disk.resize(roomy).await {
            Err(error) if error.kind() == ErrorKind::NoSpace && roomy > end => {
                self.disk.resize(end).await
            }
            answer => answer,
        }
    }

    /// Notes that a part will be stored to, and says whether nothing was ever stored there.
    pub(super) fn claim(&self, offset: u64, len: u64) -> bool {
        let fresh = offset >= self.fresh_from.get();
        self.fresh_from.set(self.fresh_from.get().max(offset + len));
        fresh
    }

    /// Gives storage back of a part that nothing refers to.
    pub(super) async fn discard(&self, offset: u64, len: u64) {
        let end = (offset + len).min(self.size_bytes());
        if offset >= end {
            return;
        }
        let extent = Extent::new(offset, end - offset);
        if let Err(error) = self.disk.discard(extent).await {
            tracing::debug!(offset, len, %error, "freed clusters keep their storage");
        }
    }

    pub(super) async fn flush(&self) -> Result<()> {
        self.disk.flush().await
    }
}
