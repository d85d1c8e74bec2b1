//! One log entry: a header, descriptors of changed pages, and the pages.

use uuid::Uuid;

use crate::disk::vhdx::layout::{self, PAGE_BYTES, put};
use crate::engine::{IoBuf, IoBufMut};

const ENTRY_SIGNATURE: &[u8; 4] = b"loge";
const ZERO_SIGNATURE: &[u8; 4] = b"zero";
const PAGE_SIGNATURE: &[u8; 4] = b"desc";
const DATA_SIGNATURE: &[u8; 4] = b"data";
const HEADER_BYTES: usize = 64;
const DESCRIPTOR_BYTES: usize = 32;

/// New content of one page of the file.
#[derive(Debug, Clone)]
pub(in crate::disk::vhdx) struct Update {
    /// A multiple of [`PAGE_BYTES`].
    pub(in crate::disk::vhdx) offset: u64,
    pub(in crate::disk::vhdx) page: IoBuf,
}

/// What an entry says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::disk::vhdx) struct EntryHeader {
    pub(in crate::disk::vhdx) sequence: u64,
    /// Where in the log the oldest entry is that must be replayed together with this one.
    pub(in crate::disk::vhdx) tail: u32,
    pub(in crate::disk::vhdx) log: Uuid,
    /// The file was durably this long when the entry was written.
    pub(in crate::disk::vhdx) flushed_file_bytes: u64,
    /// The file must be at least this long once the entry is replayed.
    pub(in crate::disk::vhdx) last_file_bytes: u64,
}

/// An entry that was read.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) header: EntryHeader,
    pub(super) len: u32,
    pub(super) patches: Vec<Patch>,
}

/// What replaying a descriptor does.
#[derive(Debug)]
pub(super) enum Patch {
    Zero { offset: u64, len: u64 },
    Page { offset: u64, bytes: Box<[u8]> },
}

/// How long an entry with that many pages is.
pub(in crate::disk::vhdx) fn entry_bytes(pages: usize) -> usize {
    (HEADER_BYTES + pages * DESCRIPTOR_BYTES).next_multiple_of(PAGE_BYTES) + pages * PAGE_BYTES
}

/// The bytes of an entry.
pub(in crate::disk::vhdx) fn encode(header: &EntryHeader, updates: &[Update]) -> IoBuf {
    let len = entry_bytes(updates.len());
    let data_at = len - updates.len() * PAGE_BYTES;
    let mut bytes = IoBufMut::zeroed(len);
    put(&mut bytes, 0, ENTRY_SIGNATURE);
    put(&mut bytes, 8, &(len as u32).to_le_bytes());
    put(&mut bytes, 12, &header.tail.to_le_bytes());
    put(&mut bytes, 16, &header.sequence.to_le_bytes());
    put(&mut bytes, 24, &(updates.len() as u32).to_le_bytes());
    put(&mut bytes, 32, &header.log.to_bytes_le());
    put(&mut bytes, 48, &header.flushed_file_bytes.to_le_bytes());
    put(&mut bytes, 56, &header.last_file_bytes.to_le_bytes());
    for (index, update) in updates.iter().enumerate() {
        let page = &update.page;
        let at = HEADER_BYTES + index * DESCRIPTOR_BYTES;
        put(&mut bytes, at, PAGE_SIGNATURE);
        put(&mut bytes, at + 4, &page[PAGE_BYTES - 4..]);
        put(&mut bytes, at + 8, &page[..8]);
        put(&mut bytes, at + 16, &update.offset.to_le_bytes());
        put(&mut bytes, at + 24, &header.sequence.to_le_bytes());
        let at = data_at + index * PAGE_BYTES;
        put(&mut bytes, at, DATA_SIGNATURE);
        put(
            &mut bytes,
            at + 4,
            &((header.sequence >> 32) as u32).to_le_bytes(),
        );
        put(&mut bytes, at + 8, &page[8..PAGE_BYTES - 4]);
        put(
            &mut bytes,
            at + PAGE_BYTES - 4,
            &(header.sequence as u32).to_le_bytes(),
        );
    }
    layout::seal(&mut bytes);
    bytes.freeze()
}

/// How long the entry that begins with `page` says it is; `None` when none of this log begins
/// there.
pub(super) fn claimed_len(page: &[u8], log: Uuid) -> Option<u32> {
    let len = layout::u32_at(page, 8);
    let begins = page.starts_with(ENTRY_SIGNATURE)
        && layout::guid_at(page, 32) == log
        && layout::u64_at(page, 16) != 0
        && len != 0
        && (len as usize).is_multiple_of(PAGE_BYTES);
    begins.then_some(len)
}

/// Reads the bytes of an entry; `None` when any part of it is not valid.
pub(super) fn decode(bytes: &[u8]) -> Option<Entry> {
    if !layout::is_sealed(bytes) {
        return None;
    }
    let header = EntryHeader {
        sequence: layout::u64_at(bytes, 16),
        tail: layout::u32_at(bytes, 12),
        log: layout::guid_at(bytes, 32),
        flushed_file_bytes: layout::u64_at(bytes, 48),
        last_file_bytes: layout::u64_at(bytes, 56),
    };
    let count = layout::u32_at(bytes, 24) as usize;
    let table_bytes = count
        .checked_mul(DESCRIPTOR_BYTES)?
        .checked_add(HEADER_BYTES)?;
    let mut data_at = table_bytes.checked_next_multiple_of(PAGE_BYTES)?;
    let table = bytes.get(HEADER_BYTES..table_bytes)?;
    let mut patches = Vec::with_capacity(count);
    for descriptor in table.chunks_exact(DESCRIPTOR_BYTES) {
        let offset = layout::u64_at(descriptor, 16);
        if layout::u64_at(descriptor, 24) != header.sequence
            || !offset.is_multiple_of(PAGE_BYTES as u64)
        {
            return None;
        }
        if descriptor.starts_with(ZERO_SIGNATURE) {
            let len = layout::u64_at(descriptor, 8);
            offset.checked_add(len)?;
            if !len.is_multiple_of(PAGE_BYTES as u64) {
                return None;
            }
            patches.push(Patch::Zero { offset, len });
        } else if descriptor.starts_with(PAGE_SIGNATURE) {
            let data = bytes.get(data_at..data_at + PAGE_BYTES)?;
            let bytes = page(descriptor, data, header.sequence)?;
            patches.push(Patch::Page { offset, bytes });
            data_at += PAGE_BYTES;
        } else {
            return None;
        }
    }
    Some(Entry {
        header,
        len: bytes.len() as u32,
        patches,
    })
}

/// Joins a page from its descriptor and its data sector.
fn page(descriptor: &[u8], data: &[u8], sequence: u64) -> Option<Box<[u8]>> {
    let (high, low) = (
        layout::u32_at(data, 4),
        layout::u32_at(data, PAGE_BYTES - 4),
    );
    if !data.starts_with(DATA_SIGNATURE) || u64::from(high) << 32 | u64::from(low) != sequence {
        return None;
    }
    let mut page = data.to_vec();
    page[..8].copy_from_slice(&descriptor[8..16]);
    page[PAGE_BYTES - 4..].copy_from_slice(&descriptor[4..8]);
    Some(page.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_torn_entries_are_not() {
        let header = EntryHeader {
            sequence: 0x1_0000_0007,
            tail: 8192,
            log: Uuid::from_u128(5),
            flushed_file_bytes: 1,
            last_file_bytes: 2,
        };
        let updates: Vec<Update> = (0..130u64)
            .map(|index| Update {
                offset: index * 4096,
                page: IoBuf::copy_of(&[index as u8 + 1; PAGE_BYTES]),
            })
            .collect();
        let bytes = encode(&header, &updates).to_vec();
        assert_eq!(claimed_len(&bytes, header.log), Some(bytes.len() as u32));
        assert_eq!(claimed_len(&bytes, Uuid::from_u128(6)), None);
        let entry = decode(&bytes).unwrap();
        assert_eq!(entry.header, header);
        for (patch, update) in entry.patches.iter().zip(&updates) {
            match patch {
                Patch::Page { offset, bytes } => {
                    assert_eq!((*offset, &bytes[..]), (update.offset, &update.page[..]));
                }
                Patch::Zero { .. } => panic!("no page was zeroed"),
            }
        }
        for sector in 0..bytes.len() / 512 {
            let mut torn = bytes.clone();
            torn[sector * 512..(sector + 1) * 512].fill(0);
            assert!(torn == bytes || decode(&torn).is_none(), "sector {sector}");
        }
    }
}
