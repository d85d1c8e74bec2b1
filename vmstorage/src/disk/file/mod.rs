//! Raw files and block devices.
//!
//! With `O_DIRECT` ([`OpenOptions::direct`]) the kernel takes whole blocks at aligned addresses
//! only. Requests of any other shape go through a bounce buffer, and the blocks at their edges are
//! read, changed and written under a lock on that range, so that neighbours in one block never lose
//! each other's bytes.

mod direct;
mod flush;
mod lock;
mod open;
mod status;
mod sys;
#[cfg(test)]
mod tests;
mod zero;

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::Rc;

use super::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Ranges, Result, Status, Zeroes,
};
use crate::engine::{File, IoBuf, IoBufMut, to_the_end, unblock};
use flush::Flushes;
pub use open::OpenOptions;

/// A raw image: the bytes of a file or of a block device.
///
/// After a flush has failed all later ones fail too: Linux reports a lost write once, and what it
/// has lost does not come back.
#[derive(Debug)]
pub struct FileDisk {
    inner: Rc<Inner>,
}

/// What operations that outlive their caller hold.
#[derive(Debug)]
struct Inner {
    /// For messages.
    name: String,
    file: File,
    /// The same file opened a second time, through the page cache: for the last bytes of a size
    /// that is no multiple of the block, which `O_DIRECT` cannot write; and for durable writes,
    /// which would otherwise be told of lost writes in the place of a flush.
    cached: OnceCell<File>,
    size_bytes: Cell<u64>,
    read_only: bool,
    is_device: bool,
    /// Smallest transfer: of the device, or of `O_DIRECT`; 1 otherwise.
    block_bytes: u64,
    /// Alignment of memory that `O_DIRECT` asks for; 1 through the page cache.
    memory_bytes: usize,
    preferred_bytes: u32,
    direct: bool,
    ranges: Ranges,
    flushes: Flushes,
    /// The first failure after which written data may be lost.
    lost: RefCell<Option<Error>>,
    no_punch: Cell<bool>,
    no_zero_range: Cell<bool>,
}

impl Inner {
    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size_bytes.get(),
            min_block_bytes: if self.direct {
                self.block_bytes as u32
            } else {
                1
            },
            preferred_block_bytes: self.preferred_bytes,
            read_only: self.read_only,
        }
    }

    /// Reads that the kernel takes as they are.
    async fn read_whole(&self, offset: u64, buf: IoBufMut, needed: usize) -> Result<IoBufMut> {
        let len = buf.len();
        let read = self.file.read_at(offset, buf).await;
        let read = read.map_err(|error| self.failed("pread", offset, len, error))?;
        if read.len() < needed {
            let message = format!(
                "{} ends at byte {}, before its size of {} bytes: somebody else truncated it",
                self.name,
                offset + read.len() as u64,
                self.size_bytes.get()
            );
            return Err(Error::new(ErrorKind::Io, message));
        }
        Ok(read)
    }

    /// Writes that the kernel takes as they are.
    async fn write_whole(
        &self,
        file: &File,
        offset: u64,
        data: IoBuf,
        how: Durability,
    ) -> Result<()> {
        let len = data.len();
        let (call, written) = match how {
            Durability::Volatile => ("pwrite", file.write_at(offset, data).await),
            Durability::Durable => (
                "pwritev2 with RWF_DSYNC",
                file.write_durably_at(offset, data).await,
            ),
        };
        written.map_err(|error| {
            let error = self.failed(call, offset, len, error);
            if how == Durability::Durable && error.kind() == ErrorKind::Io {
                self.lose(error.clone());
            }
            error
        })
    }

    async fn resize(&self, size_bytes: u64) -> Result<()> {
        if self.read_only {
            return Err(Error::new(
                ErrorKind::ReadOnly,
                format!("{} is read-only", self.name),
            ));
        }
        let _alone = self.ranges.enter_all().await;
        let file = self.file.clone();
        if self.is_device {
            let size = unblock(move || open::device_size(file.as_std())).await;
            let size = size.map_err(|error| Error::io(format!("lseek of {}", self.name), error))?;
            self.size_bytes.set(size);
            if size == size_bytes {
                return Ok(());
            }
            let message = format!("{} is a block device of {size} bytes", self.name);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        unblock(move || file.as_std().set_len(size_bytes))
            .await
            .map_err(|error| {
                let call = format!("ftruncate of {} to {size_bytes} bytes", self.name);
                Error::io(call, error)
            })?;
        self.size_bytes.set(size_bytes);
        Ok(())
    }

    fn failed(&self, call: &str, offset: u64, len: usize, error: io::Error) -> Error {
        Error::io(
            format!("{call} of {len} bytes at {offset} of {}", self.name),
            error,
        )
    }
}

impl FileDisk {
    /// The file itself, for calls that are no I/O.
    pub fn as_std(&self) -> &std::fs::File {
        self.inner.file.as_std()
    }
}

impl Disk for FileDisk {
    fn name(&self) -> String {
        self.inner.name.clone()
    }

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            let extent = Extent::new(offset_bytes, buf.len() as u64);
            self.inner.geometry().check(extent)?;
            self.inner.read(offset_bytes, buf).await
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            let extent = Extent::new(offset_bytes, data.len() as u64);
            self.inner.geometry().check_write(extent)?;
            Rc::clone(&self.inner)
                .write(offset_bytes, data, durability)
                .await
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(async move {
            self.inner.geometry().check_write(extent)?;
            Rc::clone(&self.inner).write_zeroes(extent, how).await
        })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            self.inner.geometry().check_write(extent)?;
            self.inner.discard(extent).await
        })
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.inner.flush().await })
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            self.inner.geometry().check(extent)?;
            self.inner.read_ahead(extent).await;
            Ok(())
        })
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async move {
            self.inner.geometry().check(extent)?;
            self.inner.status(extent, limit).await
        })
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        let inner = Rc::clone(&self.inner);
        to_the_end(async move { inner.resize(size_bytes).await })
    }
}
