//! Files and block devices of an engine.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags};

use super::exec::{current, perform};
use super::request::{Answer, Handle, Request};
use super::{IoBuf, IoBufMut, cached};

/// An open file or block device. Clones are the same open file.
///
/// Operations that were polled run to their end also when their future is dropped; their buffers
/// and the open file live that long.
#[derive(Clone, Debug)]
pub struct File {
    file: Arc<fs::File>,
    /// Its content goes through the page cache.
    cached: bool,
}

impl File {
    /// Takes an open file.
    pub fn new(file: fs::File) -> Self {
        let flags = rustix::fs::fcntl_getfl(&file);
        let regular = file.metadata().is_ok_and(|meta| {
            let kind = meta.file_type();
            kind.is_file() || kind.is_block_device()
        });
        Self {
            cached: regular && flags.is_ok_and(|flags| !flags.contains(OFlags::DIRECT)),
            file: Arc::new(file),
        }
    }

    /// The file itself, for calls that are no I/O.
    pub fn as_std(&self) -> &fs::File {
        &self.file
    }

    /// Reads at an offset; the buffer comes back with what was read, shorter at the end of the
    /// file.
    ///
    /// # Errors
    /// Of `pread`.
    pub async fn read_at(&self, offset_bytes: u64, buf: IoBufMut) -> io::Result<IoBufMut> {
        check_range(offset_bytes, buf.len())?;
        let wanted = buf.len();
        let mut filled = 0;
        let mut request = Request::Read {
            buf,
            done: 0,
            offset: offset_bytes,
        };
        while filled < wanted {
            let (answer, back) = self.transfer(request).await;
            request = back;
            match answer {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if is_again(&error) => {}
                // Direct I/O that reached an end of file between two blocks cannot go on from
                // there.
                Err(error) if filled > 0 && error.raw_os_error() == Some(libc::EINVAL) => break,
                Err(error) => return Err(error),
            }
            if let Request::Read { done, .. } = &mut request {
                *done = filled;
            }
        }
        let Request::Read { mut buf, .. } = request else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        buf.truncate(filled);
        Ok(buf)
    }

    /// Writes all of `data` at an offset.
    ///
    /// # Errors
    /// Of `pwrite`; part of the data may have been written.
    pub async fn write_at(&self, offset_bytes: u64, data: IoBuf) -> io::Result<()> {
        self.write(offset_bytes, data, false).await
    }

    /// Writes all of `data` at an offset and makes it durable, as [`File::sync_data`] does for all
    /// that was written.
    ///
    /// # Errors
    /// Of `pwritev2`; part of the data may have been written.
    pub async fn write_durably_at(&self, offset_bytes: u64, data: IoBuf) -> io::Result<()> {
        self.write(offset_bytes, data, true).await
    }

    async fn write(&self, offset: u64, data: IoBuf, durable: bool) -> io::Result<()> {
        check_range(offset, data.len())?;
        let wanted = data.len();
        let mut written = 0;
        let mut request = Request::Write {
            data,
            done: 0,
            offset,
            durable,
        };
        while written < wanted {
            let (answer, back) = self.transfer(request).await;
            request = back;
            match answer {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if is_again(&error) => {}
                Err(error) => return Err(error),
            }
            if let Request::Write { done, .. } = &mut request {
                *done = written;
            }
        }
        Ok(())
    }

    /// Reads or writes, at once where the page cache can.
    async fn transfer(&self, mut request: Request) -> Answer {
        let done = match &mut request {
            Request::Read { buf, done, offset } if self.cached => {
                let at = *offset + *done as u64;
                cached::read(&self.file, &mut buf[*done..], at).map(Ok)
            }
            Request::Write {
                data,
                done,
                offset,
                durable: false,
            } if self.cached => {
                let (part, at) = (&data[*done..], *offset + *done as u64);
                current().pace.write(&self.file, part, at)
            }
            _ => None,
        };
        match done {
            Some(done) => (done.map_err(io::Error::from), request),
            None => perform(self.handle(), request).await,
        }
    }

    /// Makes writes durable, with the metadata that reading them back needs.
    ///
    /// # Errors
    /// Of `fdatasync`.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.once(|| Request::SyncData).await
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
        self.once(|| Request::Allocate {
            mode: flags,
            offset: offset_bytes,
            len: len_bytes,
        })
        .await
    }

    async fn once(&self, request: impl Fn() -> Request) -> io::Result<()> {
        loop {
            match perform(self.handle(), request()).await.0 {
                Ok(_) => return Ok(()),
                Err(error) if is_again(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn handle(&self) -> Handle {
        Handle::File(Arc::clone(&self.file))
    }
}

/// The kernel was interrupted: the call is made again.
fn is_again(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// Refuses offsets that the kernel would take for something else: -1 is "at the current position".
fn check_range(offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}
