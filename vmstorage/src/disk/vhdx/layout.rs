//! Places and numbers of a VHDX file ([MS-VHDX] sections 2.1 and 2.2), and how they are read.

use uuid::{Uuid, uuid};

use crate::disk::{Disk, Error, Result};
use crate::engine::IoBufMut;

pub(super) const MIB: u64 = 1 << 20;
/// The unit in which the log describes changes, and in which metadata is kept in memory.
pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const SIGNATURE: &[u8; 8] = b"vhdxfile";
pub(super) const HEADER_OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
pub(super) const REGION_TABLE_OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
pub(super) const REGION_TABLE_BYTES: usize = 64 << 10;
/// Where the structures of fixed place end, and all others may begin.
pub(super) const HEADER_SECTION_BYTES: u64 = MIB;
/// The largest disk that the format allows.
pub(super) const MAX_DISK_BYTES: u64 = 64 << 40;
/// The largest file that is opened: twice the largest disk, so that memory for its map is bounded.
pub(super) const MAX_FILE_BYTES: u64 = 128 << 40;

pub(super) const BAT_REGION: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
pub(super) const METADATA_REGION: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");

/// A place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Region {
    pub(super) fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }

    pub(super) fn contains(self, offset: u64) -> bool {
        (self.offset..self.end()).contains(&offset)
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(super) fn guid_at(bytes: &[u8], at: usize) -> Uuid {
    Uuid::from_bytes_le(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Puts the CRC-32C of all of `bytes` at offset 4, as headers, region tables and log entries have
/// it.
pub(super) fn seal(bytes: &mut [u8]) {
    put(bytes, 4, &[0; 4]);
    let sum = crc32c::crc32c(bytes);
    put(bytes, 4, &sum.to_le_bytes());
}

/// Whether the checksum that [`seal`] writes is right.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    let sum = crc32c::crc32c(&bytes[..4]);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    crc32c::crc32c_append(sum, &bytes[8..]) == u32_at(bytes, 4)
}

/// Reads metadata; a file that ends before it is corrupt.
pub(super) async fn read_at(
    image: &dyn Disk,
    what: &str,
    offset: u64,
    len: usize,
) -> Result<IoBufMut> {
    let size = image.geometry().size_bytes;
    if offset.checked_add(len as u64).is_none_or(|end| end > size) {
        return Err(Error::corrupt(format!(
            "{what}: {len} bytes at offset {offset:#x} are beyond the file's end at {size:#x}"
        )));
    }
    image.read(offset, IoBufMut::zeroed(len)).await
}
