//! A request carried out on the disk, in pieces that fit the memory there is.

use std::rc::Rc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Options;
use super::config::SECTOR_BYTES;
use super::request::{Kind, Range, Request, Segment};
use crate::disk::{Disk, Durability, Error, ErrorKind, Extent, Result, Zeroes};
use crate::engine::Budget;

/// Longest piece of data that is copied at once, in bytes.
const PIECE_BYTES: u64 = 1 << 20;
/// Length of a serial number, which ends with a NUL if it is shorter.
const ID_BYTES: usize = 20;

/// What the guest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// How much was written into the guest's memory, the status included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disposition {
    pub(super) written_bytes: u32,
}

/// Carries out requests on a disk.
#[derive(Debug)]
pub(super) struct Executor {
    disk: Rc<dyn Disk>,
    budget: Budget,
    id: [u8; ID_BYTES],
}

impl Executor {
    pub(super) fn new(disk: Rc<dyn Disk>, options: &Options) -> Self {
        let mut id = [0; ID_BYTES];
        for (to, from) in id.iter_mut().zip(options.serial.bytes()) {
            *to = from;
        }
        Self {
            disk,
            budget: Budget::new(options.memory_bytes),
            id,
        }
    }

    /// Carries out a request and writes its status.
    pub(super) async fn execute(
        &self,
        request: Request,
        guest: &GuestMemoryMmap<()>,
        durability: Durability,
    ) -> Disposition {
        let (outcome, data_bytes) = match self.perform(&request, guest, durability).await {
            Ok(data_bytes) => (Outcome::Ok, data_bytes),
            Err(error) => {
                tracing::debug!(disk = self.disk.name(), %error, "a guest's request failed");
                match error.kind() {
                    ErrorKind::Unsupported => (Outcome::Unsupported, 0),
                    _ => (Outcome::IoError, 0),
                }
            }
        };
        let status = request.status;
        let told = status.is_some_and(|at| guest.write_obj(outcome as u8, at).is_ok());
        Disposition {
            written_bytes: u32::try_from(data_bytes + u64::from(told)).unwrap_or(u32::MAX),
        }
    }

    /// How many bytes of data were written into the guest's memory.
    async fn perform(
        &self,
        request: &Request,
        guest: &GuestMemoryMmap<()>,
        durability: Durability,
    ) -> Result<u64> {
        let len_bytes = request.data_bytes();
        match &request.kind {
            Kind::Read(offset) => {
                self.check_data(*offset, len_bytes)?;
                self.read(*offset, &request.data, guest).await?;
                return Ok(len_bytes);
            }
            Kind::Write(offset) => {
                self.check_data(*offset, len_bytes)?;
                self.write(*offset, &request.data, guest, durability)
                    .await?;
            }
            Kind::Flush => self.disk.flush().await?,
            Kind::Id => {
                let len = ID_BYTES.min(len_bytes as usize);
                scatter(guest, &request.data, 0, &self.id[..len])?;
                return Ok(len as u64);
            }
            Kind::Discard(ranges) => {
                for range in ranges {
                    let extent = self.check(range.offset_bytes, range.len_bytes)?;
                    self.disk.discard(extent).await?;
                }
            }
            Kind::Zero(ranges) => self.zero(ranges, durability).await?,
            Kind::Unsupported => {
                return Err(Error::new(ErrorKind::Unsupported, "an unknown request"));
            }
            Kind::Broken => return Err(Error::new(ErrorKind::Io, "not a request")),
        }
        Ok(0)
    }

    /// An extent of the disk; sums of a guest's numbers may be anything.
    fn check(&self, offset_bytes: u64, len_bytes: u64) -> Result<Extent> {
        let extent = Extent::new(offset_bytes, len_bytes);
        self.disk.geometry().check(extent)?;
        Ok(extent)
    }

    /// Data comes in whole sectors.
    fn check_data(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        self.check(offset_bytes, len_bytes)?;
        if !len_bytes.is_multiple_of(SECTOR_BYTES) {
            let what = format!("{len_bytes} bytes of data are no whole sectors");
            return Err(Error::new(ErrorKind::Io, what));
        }
        Ok(())
    }

    async fn read(
        &self,
        offset_bytes: u64,
        segments: &[Segment],
        guest: &GuestMemoryMmap<()>,
    ) -> Result<()> {
        for (at, len) in pieces(segments) {
            let buf = self.budget.take(len as usize).await;
            let buf = self.disk.read(offset_bytes + at, buf).await?;
            scatter(guest, segments, at, &buf)?;
        }
        Ok(())
    }

    async fn write(
        &self,
        offset_bytes: u64,
        segments: &[Segment],
        guest: &GuestMemoryMmap<()>,
        durability: Durability,
    ) -> Result<()> {
        for (at, len) in pieces(segments) {
            let mut buf = self.budget.take(len as usize).await;
            gather(guest, segments, at, &mut buf)?;
            self.disk
                .write(offset_bytes + at, buf.freeze(), durability)
                .await?;
        }
        Ok(())
    }

    async fn zero(&self, ranges: &[Range], durability: Durability) -> Result<()> {
        for range in ranges {
            let extent = self.check(range.offset_bytes, range.len_bytes)?;
            let how = Zeroes {
                durability,
                may_unmap: range.unmap,
                fast_only: false,
            };
            self.disk.write_zeroes(extent, how).await?;
        }
        Ok(())
    }
}

/// Where the pieces of a request's data begin, and how long they are.
fn pieces(segments: &[Segment]) -> impl Iterator<Item = (u64, u64)> + use<> {
    let total: u64 = segments.iter().map(|segment| segment.len_bytes).sum();
    let step = PIECE_BYTES as usize;
    (0..total)
        .step_by(step)
        .map(move |at| (at, (total - at).min(PIECE_BYTES)))
}

/// The guest's memory from byte `at` of the segments on, `len` bytes in all.
fn parts(
    segments: &[Segment],
    at: u64,
    len: usize,
) -> impl Iterator<Item = (Option<GuestAddress>, usize)> {
    let mut skip = at;
    let mut left = len as u64;
    segments.iter().filter_map(move |segment| {
        let skipped = skip.min(segment.len_bytes);
        skip -= skipped;
        let taken = (segment.len_bytes - skipped).min(left);
        left -= taken;
        let address = segment.address.0.checked_add(skipped).map(GuestAddress);
        (taken > 0).then_some((address, taken as usize))
    })
}

fn outside() -> Error {
    Error::new(ErrorKind::Io, "data outside of the guest's memory")
}

/// Copies into the guest's memory.
fn scatter(
    guest: &GuestMemoryMmap<()>,
    segments: &[Segment],
    at: u64,
    mut data: &[u8],
) -> Result<()> {
    for (address, len) in parts(segments, at, data.len()) {
        let (now, rest) = data.split_at(len);
        let address = address.ok_or_else(outside)?;
        guest.write_slice(now, address).map_err(|_| outside())?;
        data = rest;
    }
    Ok(())
}

/// Copies from the guest's memory.
fn gather(
    guest: &GuestMemoryMmap<()>,
    segments: &[Segment],
    at: u64,
    mut data: &mut [u8],
) -> Result<()> {
    for (address, len) in parts(segments, at, data.len()) {
        let (now, rest) = data.split_at_mut(len);
        let address = address.ok_or_else(outside)?;
        guest.read_slice(now, address).map_err(|_| outside())?;
        data = rest;
    }
    Ok(())
}
