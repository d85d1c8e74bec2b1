//! A virtual disk: the one trait that back ends, formats and filters implement.
//!
//! Formats and filters stand on other disks, so that any of them composes: qcow2 over a file, over
//! memory, over a remote NBD export or over a back end that fails on purpose. A disk belongs to the
//! thread of its [`crate::engine`]; nothing here is shared between threads.

pub mod copy;
mod error;
pub mod fault;
pub mod file;
pub mod memory;
pub mod open;
pub mod qcow2;
mod ranges;
pub mod vhdx;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

pub use error::{Error, ErrorKind, Result};
pub(crate) use ranges::Ranges;

use crate::engine::{IoBuf, IoBufMut};

/// What an operation answers once it has ended.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// A part of a disk in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// First byte.
    pub offset_bytes: u64,
    /// Length.
    pub len_bytes: u64,
}

/// What a part of a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The part.
    pub extent: Extent,
    /// Storage is allocated to it, in this image or in one that it stands on.
    pub allocated: bool,
    /// It reads as zeroes.
    pub zero: bool,
}

/// Size and limits of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes that can be read.
    pub size_bytes: u64,
    /// Smallest request and alignment in bytes, a power of two. Disks take requests of any
    /// alignment and do what is needed below; this is what a client should ask for.
    pub min_block_bytes: u32,
    /// Request size and alignment that is served best, a power of two.
    pub preferred_block_bytes: u32,
    /// Writes are refused.
    pub read_only: bool,
}

/// When a write may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When a later read would see it; a flush makes it durable.
    Volatile,
    /// When it is on stable storage (Force Unit Access).
    Durable,
}

/// How zeroes may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zeroes {
    /// When it may be acknowledged.
    pub durability: Durability,
    /// Storage may be given back.
    pub may_unmap: bool,
    /// Fail with [`ErrorKind::Unsupported`] rather than write zeroes byte by byte.
    pub fast_only: bool,
}

/// A virtual disk.
///
/// Requests run beside each other; two that overlap end in either order. A future that was polled
/// runs to its end before its memory is reused, also when it is dropped. After [`Disk::flush`] all
/// writes that had been acknowledged before it began are durable.
///
/// # Errors
/// All operations: [`ErrorKind::OutOfRange`] when the range is not within the disk, and
/// [`ErrorKind::ReadOnly`] for those that change a disk that is read-only.
pub trait Disk: Debug {
    /// What it is, for messages: format and place.
    fn name(&self) -> String;

    /// Size and limits as they are now.
    fn geometry(&self) -> Geometry;

    /// Fills `buf` with the bytes at `offset_bytes`.
    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut>;

    /// Writes `data` at `offset_bytes`.
    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()>;

    /// Makes a part read as zeroes.
    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()>;

    /// Says that a part's content does not matter any more. What it reads as afterwards is the
    /// disk's choice, but it stays the same until it is written.
    fn discard(&self, extent: Extent) -> Answer<'_, ()>;

    /// Makes acknowledged writes durable.
    fn flush(&self) -> Answer<'_, ()>;

    /// Says that a part will be read soon.
    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        let _ = extent;
        Box::pin(std::future::ready(Ok(())))
    }

    /// What a part holds: at most `limit` neighbouring parts from its start, at least one.
    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>>;

    /// Changes the size; new bytes read as zeroes.
    fn resize(&self, size_bytes: u64) -> Answer<'_, ()>;
}

impl Extent {
    /// `len_bytes` from `offset_bytes` on.
    pub fn new(offset_bytes: u64, len_bytes: u64) -> Self {
        Self {
            offset_bytes,
            len_bytes,
        }
    }

    /// The first byte after it.
    ///
    /// # Panics
    /// When it does not fit 64 bits; [`Geometry::check`] refuses such extents.
    pub fn end_bytes(self) -> u64 {
        self.offset_bytes
            .checked_add(self.len_bytes)
            .expect("a checked extent")
    }
}

impl Geometry {
    /// Refuses an extent that is not within the disk.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`].
    pub fn check(&self, extent: Extent) -> Result<()> {
        match extent.offset_bytes.checked_add(extent.len_bytes) {
            Some(end) if end <= self.size_bytes => Ok(()),
            _ => Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "{} bytes at {} are not within the disk of {} bytes",
                    extent.len_bytes, extent.offset_bytes, self.size_bytes
                ),
            )),
        }
    }

    /// Refuses an extent as [`Geometry::check`] does, and a disk that is read-only.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], [`ErrorKind::ReadOnly`].
    pub fn check_write(&self, extent: Extent) -> Result<()> {
        if self.read_only {
            return Err(Error::new(ErrorKind::ReadOnly, "the disk is read-only"));
        }
        self.check(extent)
    }
}
