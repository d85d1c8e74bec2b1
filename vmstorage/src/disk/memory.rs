//! A disk in memory: for tests, and as a model to compare others with.

use std::cell::RefCell;

use super::{Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut};

/// A disk whose bytes are in memory, and lost with it.
#[derive(Debug)]
pub struct Memory {
    bytes: RefCell<Vec<u8>>,
    read_only: bool,
}

impl Memory {
    /// `size_bytes` of zeroes.
    pub fn new(size_bytes: u64) -> Self {
        let size = usize::try_from(size_bytes).expect("a disk in memory fits memory");
        Self {
            bytes: RefCell::new(vec![0; size]),
            read_only: false,
        }
    }

    /// `size_bytes` of zeroes, if there is so much memory.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`].
    pub fn try_new(size_bytes: u64) -> Result<Self> {
        check_room(size_bytes)?;
        Ok(Self::new(size_bytes))
    }

    /// A disk with this content.
    pub fn with_content(bytes: Vec<u8>) -> Self {
        Self {
            bytes: RefCell::new(bytes),
            read_only: false,
        }
    }

    /// The same disk, refusing writes.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// A copy of all bytes.
    pub fn content(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    fn fill(&self, extent: Extent) -> Result<()> {
        self.geometry().check_write(extent)?;
        let (start, end) = (extent.offset_bytes as usize, extent.end_bytes() as usize);
        self.bytes.borrow_mut()[start..end].fill(0);
        Ok(())
    }
}

impl Disk for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.bytes.borrow().len() as u64,
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: self.read_only,
        }
    }

    fn read(&self, offset_bytes: u64, mut buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            self.geometry()
                .check(Extent::new(offset_bytes, buf.len() as u64))?;
            let start = offset_bytes as usize;
            let end = start + buf.len();
            buf.copy_from_slice(&self.bytes.borrow()[start..end]);
            Ok(buf)
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, _: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            self.geometry()
                .check_write(Extent::new(offset_bytes, data.len() as u64))?;
            let start = offset_bytes as usize;
            self.bytes.borrow_mut()[start..start + data.len()].copy_from_slice(&data);
            Ok(())
        })
    }

    fn write_zeroes(&self, extent: Extent, _: Zeroes) -> Answer<'_, ()> {
        Box::pin(async move { self.fill(extent) })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move { self.fill(extent) })
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
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
            if self.read_only {
                return Err(Error::new(ErrorKind::ReadOnly, "the disk is read-only"));
            }
            let more = size_bytes.saturating_sub(self.geometry().size_bytes);
            check_room(more)?;
            self.bytes.borrow_mut().resize(size_bytes as usize, 0);
            Ok(())
        })
    }
}

/// An allocation that fails ends the process, so it is tried before.
fn check_room(len_bytes: u64) -> Result<()> {
    let room = usize::try_from(len_bytes)
        .ok()
        .and_then(|len| Vec::<u8>::new().try_reserve_exact(len).ok());
    room.ok_or_else(|| {
        let message = format!("there is no memory for a disk of {len_bytes} bytes");
        Error::new(ErrorKind::NoSpace, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_memory_cannot_hold_is_an_error() {
        for size in [1 << 60, u64::MAX] {
            let error = Memory::try_new(size).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        }
        let small = Memory::new(4096);
        let grown = crate::engine::run(async { small.resize(1 << 60).await }).unwrap();
        assert_eq!(grown.unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(small.geometry().size_bytes, 4096);
    }
}
