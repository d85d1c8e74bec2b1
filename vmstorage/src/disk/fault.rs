//! A disk that fails on purpose: power is cut after a number of writes, and what was not flushed is
//! then kept, lost, reordered or torn as a seed decides.

use std::cell::{Cell, RefCell};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut};

/// Bytes that a device writes wholly or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A disk in memory with a volatile write cache.
///
/// Reads see every write. [`Fault::after_power_cut`] is what a device would hold after losing power
/// now: everything flushed, and of the rest any subset of the sectors, each with any of the values
/// that were written to it since.
#[derive(Debug)]
pub struct Fault {
    durable: RefCell<Vec<u8>>,
    current: RefCell<Vec<u8>>,
    /// Writes since the last flush, oldest first.
    cached: RefCell<Vec<Change>>,
    /// Changes and flushes until the power is cut.
    left: Cell<Option<u64>>,
    done: Cell<u64>,
    fail_next: Cell<Option<Failure>>,
}

/// An operation that is to fail.
#[derive(Debug, Clone, Copy)]
struct Failure {
    operation: Operation,
    /// How many of them succeed before.
    after: u64,
    errno: i32,
}

/// What a failure is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`Disk::read`].
    Read,
    /// [`Disk::write`], [`Disk::write_zeroes`], [`Disk::discard`] and [`Disk::resize`].
    Change,
    /// [`Disk::flush`].
    Flush,
}

#[derive(Debug, Clone)]
enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
        /// It was acknowledged as durable: it is there, whatever becomes of those before it.
        sure: bool,
    },
    Resize {
        size: usize,
    },
}

impl Fault {
    /// A disk whose durable content is `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            current: RefCell::new(bytes.clone()),
            durable: RefCell::new(bytes),
            cached: RefCell::default(),
            left: Cell::new(None),
            done: Cell::new(0),
            fail_next: Cell::new(None),
        }
    }

    /// Cuts the power at the change or flush after `operations` more of them: it and all later
    /// requests fail.
    pub fn cut_power_after(&self, operations: u64) {
        self.left.set(Some(operations));
    }

    /// How many changes and flushes there were.
    pub fn operations(&self) -> u64 {
        self.done.get()
    }

    /// Makes the next such operation fail with an errno.
    pub fn fail_next(&self, operation: Operation, errno: i32) {
        self.fail_after(operation, 0, errno);
    }

    /// Makes such an operation fail with an errno, after some of them that succeed.
    pub fn fail_after(&self, operation: Operation, after: u64, errno: i32) {
        self.fail_next.set(Some(Failure {
            operation,
            after,
            errno,
        }));
    }

    /// Whether the operation that was to fail has not come yet.
    pub fn is_to_fail(&self) -> bool {
        self.fail_next.get().is_some()
    }

    /// What readers see now.
    pub fn content(&self) -> Vec<u8> {
        self.current.borrow().clone()
    }

    /// What is on the device if power fails now, one possibility for each seed.
    pub fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = self.durable.borrow().clone();
        let keep = rng.random_range(0..=100);
        // A sector that misses a write and gets a later one models the reordering of the two.
        for change in self.cached.borrow().iter() {
            match change {
                Change::Resize { size } if rng.random_range(0..100) < keep => {
                    bytes.resize(*size, 0)
                }
                Change::Resize { .. } => {}
                Change::Write {
                    offset,
                    bytes: data,
                    sure,
                } => {
                    for_sectors(*offset, data, |at, part| {
                        if *sure || rng.random_range(0..100) < keep {
                            if bytes.len() < at + part.len() {
                                bytes.resize(at + part.len(), 0);
                            }
                            bytes[at..at + part.len()].copy_from_slice(part);
                        }
                    });
                }
            }
        }
        bytes
    }

    fn fail(&self, operation: Operation, call: &str) -> Result<()> {
        if let Some(failure) = self.fail_next.get()
            && failure.operation == operation
        {
            let Some(after) = failure.after.checked_sub(1) else {
                self.fail_next.set(None);
                let error = std::io::Error::from_raw_os_error(failure.errno);
                return Err(Error::io(call, error));
            };
            self.fail_next.set(Some(Failure { after, ..failure }));
        }
        if self.left.get() == Some(0) {
            return Err(Error::new(
                ErrorKind::Io,
                format!("{call}: the power was cut"),
            ));
        }
        if operation != Operation::Read {
            self.done.set(self.done.get() + 1);
            self.left.set(self.left.get().map(|left| left - 1));
        }
        Ok(())
    }

    fn change(&self, offset_bytes: u64, bytes: Vec<u8>, how: Durability) -> Result<()> {
        self.geometry()
            .check(Extent::new(offset_bytes, bytes.len() as u64))?;
        let offset = offset_bytes as usize;
        // The write during which the power goes may still reach the device, in parts.
        let failed = self.fail(Operation::Change, "write");
        if failed.is_ok() || self.left.get() == Some(0) {
            self.current.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(&bytes);
            let sure = failed.is_ok() && how == Durability::Durable;
            self.cached.borrow_mut().push(Change::Write {
                offset,
                bytes,
                sure,
            });
        }
        failed
    }

    fn settle(&self) {
        self.durable.borrow_mut().clone_from(&self.current.borrow());
        self.cached.borrow_mut().clear();
    }
}

/// Calls `each` with every part of `data` that lies in one sector.
fn for_sectors(offset: usize, data: &[u8], mut each: impl FnMut(usize, &[u8])) {
    let mut at = offset;
    let mut rest = data;
    while !rest.is_empty() {
        let len = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
        let (part, next) = rest.split_at(len);
        each(at, part);
        (at, rest) = (at + len, next);
    }
}

impl Disk for Fault {
    fn name(&self) -> String {
        "fault".into()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.current.borrow().len() as u64,
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: false,
        }
    }

    fn read(&self, offset_bytes: u64, mut buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            self.geometry()
                .check(Extent::new(offset_bytes, buf.len() as u64))?;
            self.fail(Operation::Read, "read")?;
            let start = offset_bytes as usize;
            let end = start + buf.len();
            buf.copy_from_slice(&self.current.borrow()[start..end]);
            Ok(buf)
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        Box::pin(async move { self.change(offset_bytes, data.to_vec(), how) })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(async move {
            self.geometry().check(extent)?;
            let zeroes = vec![0; extent.len_bytes as usize];
            self.change(extent.offset_bytes, zeroes, how.durability)
        })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            self.geometry().check(extent)?;
            let zeroes = vec![0; extent.len_bytes as usize];
            self.change(extent.offset_bytes, zeroes, Durability::Volatile)
        })
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.fail(Operation::Flush, "fdatasync")?;
            self.settle();
            Ok(())
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
            self.fail(Operation::Change, "ftruncate")?;
            let size = size_bytes as usize;
            self.current.borrow_mut().resize(size, 0);
            self.cached.borrow_mut().push(Change::Resize { size });
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run;

    #[test]
    fn only_what_was_flushed_is_sure() {
        run(async {
            let disk = Fault::new(vec![0; 4096]);
            disk.write(0, IoBuf::copy_of(&[1; 1024]), Durability::Volatile)
                .await
                .unwrap();
            disk.flush().await.unwrap();
            disk.write(512, IoBuf::copy_of(&[2; 1024]), Durability::Volatile)
                .await
                .unwrap();
            let (mut torn, mut whole, mut lost) = (false, false, false);
            for seed in 0..200 {
                let after = disk.after_power_cut(seed);
                assert_eq!(after[..512], [1; 512]);
                match (after[512], after[1024]) {
                    (2, 2) => whole = true,
                    (1, 0) => lost = true,
                    (1, 2) | (2, 0) => torn = true,
                    other => panic!("nobody wrote {other:?}"),
                }
            }
            assert!(torn && whole && lost);
        })
        .unwrap();
    }

    #[test]
    fn after_the_power_cut_everything_fails() {
        run(async {
            let disk = Fault::new(vec![0; 4096]);
            disk.cut_power_after(1);
            disk.write(0, IoBuf::copy_of(b"a"), Durability::Volatile)
                .await
                .unwrap();
            disk.write(1, IoBuf::copy_of(b"b"), Durability::Volatile)
                .await
                .unwrap_err();
            disk.flush().await.unwrap_err();
            disk.read(0, IoBufMut::zeroed(1)).await.unwrap_err();
        })
        .unwrap();
    }
}
