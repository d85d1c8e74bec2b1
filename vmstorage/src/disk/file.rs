//! Raw files and block devices.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use super::{Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes};
use crate::engine::{File, IoBuf, IoBufMut};

/// A raw file.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    path: PathBuf,
    size: Cell<u64>,
    read_only: bool,
}

impl FileDisk {
    /// Takes an open file.
    ///
    /// # Errors
    /// Of `fstat`.
    pub fn new(file: std::fs::File, path: &Path, read_only: bool) -> Result<Self> {
        use std::io::{Seek, SeekFrom};
        let size = (&file)
            .seek(SeekFrom::End(0))
            .map_err(|error| Error::io(format!("lseek(`{}`, END)", path.display()), error))?;
        Ok(Self {
            file: File::new(file),
            path: path.into(),
            size: Cell::new(size),
            read_only,
        })
    }

    fn error(&self, call: &str, error: std::io::Error) -> Error {
        Error::io(format!("{call}(`{}`)", self.path.display()), error)
    }

    async fn settle(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::Volatile => Ok(()),
            Durability::Durable => self.flush().await,
        }
    }
}

impl Disk for FileDisk {
    fn name(&self) -> String {
        format!("raw {}", self.path.display())
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size.get(),
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: self.read_only,
        }
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            let len = buf.len();
            self.geometry()
                .check(Extent::new(offset_bytes, len as u64))?;
            let read = self.file.read_at(offset_bytes, buf).await;
            let read = read.map_err(|error| self.error("pread", error))?;
            if read.len() < len {
                return Err(Error::new(ErrorKind::Io, "the file ended early"));
            }
            Ok(read)
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            self.geometry()
                .check_write(Extent::new(offset_bytes, data.len() as u64))?;
            let written = self.file.write_at(offset_bytes, data).await;
            written.map_err(|error| self.error("pwrite", error))?;
            self.settle(durability).await
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(async move {
            self.geometry().check_write(extent)?;
            let flags = if how.may_unmap {
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
            } else {
                FallocateFlags::ZERO_RANGE
            };
            if extent.len_bytes > 0 {
                let done = self
                    .file
                    .allocate(flags, extent.offset_bytes, extent.len_bytes)
                    .await;
                done.map_err(|error| self.error("fallocate", error))?;
            }
            self.settle(how.durability).await
        })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.write_zeroes(
            extent,
            Zeroes {
                durability: Durability::Volatile,
                may_unmap: true,
                fast_only: false,
            },
        )
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let synced = self.file.sync_data().await;
            synced.map_err(|error| self.error("fdatasync", error))
        })
    }

    fn status(&self, extent: Extent, _: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async move {
            self.geometry().check(extent)?;
            Ok(vec![Status {
                extent,
                allocated: true,
                zero: false,
            }])
        })
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            self.geometry().check_write(Extent::new(0, 0))?;
            let resized = self.file.as_std().set_len(size_bytes);
            resized.map_err(|error| self.error("ftruncate", error))?;
            self.size.set(size_bytes);
            Ok(())
        })
    }
}
