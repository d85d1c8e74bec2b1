//! Files and block devices of an engine.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::pool::unblock;
use super::{IoBuf, IoBufMut};

/// An open file or block device. Clones are the same open file.
#[derive(Clone, Debug)]
pub struct File {
    file: Arc<fs::File>,
}

impl File {
    /// Takes an open file.
    pub fn new(file: fs::File) -> Self {
        Self {
            file: Arc::new(file),
        }
    }

    /// The file itself, for calls that are no I/O.
    pub fn as_std(&self) -> &fs::File {
        &self.file
    }

    /// Reads at an offset; the buffer comes back with what was read, shorter at the end of the file.
    ///
    /// # Errors
    /// Of `pread`.
    pub async fn read_at(&self, offset_bytes: u64, mut buf: IoBufMut) -> io::Result<IoBufMut> {
        let file = Arc::clone(&self.file);
        unblock(move || {
            let mut filled = 0;
            while filled < buf.len() {
                match file.read_at(&mut buf[filled..], offset_bytes + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            buf.truncate(filled);
            Ok(buf)
        })
        .await
    }

    /// Writes all of `data` at an offset.
    ///
    /// # Errors
    /// Of `pwrite`; part of the data may have been written.
    pub async fn write_at(&self, offset_bytes: u64, data: IoBuf) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        unblock(move || file.write_all_at(&data, offset_bytes)).await
    }

    /// Makes writes durable, with the metadata that reading them back needs.
    ///
    /// # Errors
    /// Of `fdatasync`.
    pub async fn sync_data(&self) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        unblock(move || file.sync_data()).await
    }

    /// Allocates, punches or zeroes a range.
    ///
    /// # Errors
    /// Of `fallocate`.
    pub async fn allocate(
        &self,
        flags: FallocateFlags,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        unblock(move || rustix::fs::fallocate(&*file, flags, offset_bytes, len_bytes)).await?;
        Ok(())
    }
}
