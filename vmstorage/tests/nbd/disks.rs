//! Disks and contexts whose answers a test knows.

use vmstorage::disk::memory::Memory;
use vmstorage::disk::{Answer, Disk, Durability, Extent, Geometry, Status, Zeroes};
use vmstorage::engine::{IoBuf, IoBufMut};
use vmstorage::nbd::proto::StatusExtent;
use vmstorage::nbd::server::Context;

/// A disk that knows where it is sparse: parts of 64 KiB that are zero.
#[derive(Debug)]
pub(crate) struct Sparse(pub(crate) Memory);

impl Disk for Sparse {
    fn name(&self) -> String {
        "sparse".into()
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.0.read(offset_bytes, buf)
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        self.0.write(offset_bytes, data, durability)
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        self.0.write_zeroes(extent, how)
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.0.discard(extent)
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.0.flush()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async move {
            self.geometry().check(extent)?;
            let content = self.0.content();
            let mut parts = Vec::new();
            let mut start = extent.offset_bytes;
            while start < extent.end_bytes() && parts.len() < limit {
                let end = (start + 1)
                    .next_multiple_of(1 << 16)
                    .min(extent.end_bytes());
                let zero = content[start as usize..end as usize]
                    .iter()
                    .all(|&byte| byte == 0);
                parts.push(Status {
                    extent: Extent::new(start, end - start),
                    allocated: !zero,
                    zero,
                });
                start = end;
            }
            Ok(parts)
        })
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        self.0.resize(size_bytes)
    }
}

/// Says of every other 64 KiB that it has changed.
#[derive(Debug)]
pub(crate) struct Stripes(pub(crate) &'static str);

impl Context for Stripes {
    fn name(&self) -> String {
        self.0.into()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<StatusExtent>> {
        Box::pin(async move {
            let mut parts = Vec::new();
            let mut start = extent.offset_bytes;
            while start < extent.end_bytes() && parts.len() < limit {
                let end = (start + 1)
                    .next_multiple_of(1 << 16)
                    .min(extent.end_bytes());
                parts.push(StatusExtent {
                    len_bytes: end - start,
                    status: (start >> 16) % 2,
                });
                start = end;
            }
            Ok(parts)
        })
    }
}

/// Bytes without a pattern (xorshift), made fast also without optimisation.
pub(crate) fn random(len: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; len as usize];
    for part in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        part.copy_from_slice(&state.to_le_bytes()[..part.len()]);
    }
    bytes
}

/// Random content with a hole in its middle.
pub(crate) fn holey(len: u64, seed: u64) -> Vec<u8> {
    let mut bytes = random(len, seed);
    bytes[(len / 4) as usize..(len / 2) as usize].fill(0);
    bytes
}
