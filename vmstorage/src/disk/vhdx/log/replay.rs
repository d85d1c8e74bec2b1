//! What a log asks to be done before the file is used ([MS-VHDX] section 2.3.3).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::entry::{self, Entry, Patch};
use crate::disk::vhdx::layout::{self, MAX_FILE_BYTES, PAGE_BYTES, REGION_TABLE_OFFSETS, Region};
use crate::disk::{Disk, Durability, Error, ErrorKind, Extent, Result, Zeroes};
use crate::engine::IoBuf;

/// The longest log that is read; others write 1 MiB.
pub(in crate::disk::vhdx) const MAX_LOG_BYTES: u64 = 64 << 20;
/// How often the bytes of a log may be summed up while its entries are looked for: twice for each
/// entry of a log that was written by the rules.
const MAX_PASSES: u64 = 8;

/// Changes of a file that its log holds.
#[derive(Debug, Default)]
pub(in crate::disk::vhdx) struct Replay {
    /// Parts that are zero unless `pages` says otherwise.
    pub(super) zeroes: Vec<Region>,
    /// Pages by their offsets.
    pub(super) pages: BTreeMap<u64, Box<[u8]>>,
    /// How long the file is at least.
    pub(super) file_bytes: u64,
}

/// Reads the log of a file whose header says that it is not empty.
pub(in crate::disk::vhdx) async fn load(
    image: &dyn Disk,
    region: Region,
    log: Uuid,
) -> Result<Replay> {
    if region.len == 0 || region.len > MAX_LOG_BYTES {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the log at offset {:#x} has {} bytes: from 1 MiB to 64 MiB are supported",
                region.offset, region.len
            ),
        ));
    }
    let bytes = layout::read_at(image, "the log", region.offset, region.len as usize).await?;
    let entries = active_sequence(&bytes, log, region.offset)?;
    let file_bytes = image.geometry().size_bytes;
    let last = entries
        .last()
        .map_or(0, |entry| entry.header.flushed_file_bytes);
    if last > file_bytes {
        return Err(Error::corrupt(format!(
            "the file has {file_bytes} bytes; its log at offset {:#x} says that {last} were \
             durable: the file was cut off",
            region.offset
        )));
    }
    let mut replay = Replay {
        file_bytes,
        ..Replay::default()
    };
    for entry in entries {
        replay.add(entry, region)?;
    }
    Ok(replay)
}

/// The newest run of entries whose last one finds its tail in the run.
fn active_sequence(bytes: &[u8], log: Uuid, log_at: u64) -> Result<Vec<Entry>> {
    let mut budget = MAX_PASSES * bytes.len() as u64;
    let mut best: Vec<Entry> = Vec::new();
    let mut tail = 0;
    loop {
        let mut head = tail;
        let mut total = 0;
        let mut run: Vec<(usize, Entry)> = Vec::new();
        while let Some(entry) = entry_at(bytes, head, log, &mut budget, log_at)? {
            let follows = run.last().is_none_or(|(_, last)| {
                last.header.sequence.checked_add(1) == Some(entry.header.sequence)
            });
            total += entry.len as usize;
            if !follows || total > bytes.len() {
                break;
            }
            let at = head;
            head = (head + entry.len as usize) % bytes.len();
            run.push((at, entry));
        }
        if let Some((_, last)) = run.last() {
            let (sequence, first) = (last.header.sequence, last.header.tail as usize);
            let newer = best
                .last()
                .is_none_or(|best| sequence > best.header.sequence);
            if let Some(first) = run
                .iter()
                .position(|(at, _)| *at == first)
                .filter(|_| newer)
            {
                best = run.drain(first..).map(|(_, entry)| entry).collect();
            }
        } else {
            head = tail + PAGE_BYTES;
        }
        // What follows in a run has the run's last entry too, so it is no better than the run.
        if head <= tail || head >= bytes.len() {
            break;
        }
        tail = head;
    }
    if best.is_empty() {
        return Err(Error::corrupt(format!(
            "the log at offset {log_at:#x} is in use and has no valid entry: metadata may be lost"
        )));
    }
    Ok(best)
}

/// The entry that begins at `at`, possibly continuing at the log's start.
fn entry_at(
    bytes: &[u8],
    at: usize,
    log: Uuid,
    budget: &mut u64,
    log_at: u64,
) -> Result<Option<Entry>> {
    let Some(len) = entry::claimed_len(&bytes[at..at + PAGE_BYTES], log) else {
        return Ok(None);
    };
    let len = len as usize;
    if len > bytes.len() {
        return Ok(None);
    }
    *budget = budget.checked_sub(len as u64).ok_or_else(|| {
        Error::corrupt(format!(
            "the log at offset {log_at:#x} has entries that overlap each other"
        ))
    })?;
    let first = len.min(bytes.len() - at);
    if first == len {
        return Ok(entry::decode(&bytes[at..at + len]));
    }
    let joined = [&bytes[at..], &bytes[..len - first]].concat();
    Ok(entry::decode(&joined))
}

impl Replay {
    fn add(&mut self, entry: Entry, log: Region) -> Result<()> {
        let last = entry.header.last_file_bytes;
        if last > MAX_FILE_BYTES {
            return Err(Error::corrupt(format!(
                "an entry of the log at offset {:#x} makes the file {last} bytes long",
                log.offset
            )));
        }
        self.file_bytes = self.file_bytes.max(last);
        for patch in entry.patches {
            let place = match &patch {
                Patch::Zero { offset, len } => Region {
                    offset: *offset,
                    len: *len,
                },
                Patch::Page { offset, .. } => Region {
                    offset: *offset,
                    len: PAGE_BYTES as u64,
                },
            };
            self.check(place, log)?;
            match patch {
                Patch::Zero { .. } => {
                    let covered: Vec<u64> = self
                        .pages
                        .range(place.offset..place.end())
                        .map(|(&at, _)| at)
                        .collect();
                    covered.iter().for_each(|at| drop(self.pages.remove(at)));
                    self.zeroes.push(place);
                }
                Patch::Page { offset, bytes } => drop(self.pages.insert(offset, bytes)),
            }
        }
        Ok(())
    }

    fn check(&self, place: Region, log: Region) -> Result<()> {
        let headers = Region {
            offset: 0,
            len: REGION_TABLE_OFFSETS[0],
        };
        if place.overlaps(headers) || place.overlaps(log) {
            return Err(Error::corrupt(format!(
                "the log at offset {:#x} changes the headers or itself at {:#x}",
                log.offset, place.offset
            )));
        }
        if place.end() > MAX_FILE_BYTES {
            return Err(Error::corrupt(format!(
                "the log at offset {:#x} changes offset {:#x}, beyond the largest file",
                log.offset, place.offset
            )));
        }
        Ok(())
    }

    /// How long the file is after the replay.
    pub(super) fn len_bytes(&self) -> u64 {
        let last = self.pages.last_key_value();
        let end = last.map_or(0, |(offset, page)| offset + page.len() as u64);
        self.file_bytes.max(end)
    }

    /// Makes the changes in place, durably.
    pub(in crate::disk::vhdx) async fn apply(&self, image: &dyn Disk) -> Result<()> {
        let size = image.geometry().size_bytes;
        for zero in &self.zeroes {
            // What is beyond the end becomes zero when the file grows.
            let end = zero.end().min(size);
            if zero.offset < end {
                let how = Zeroes {
                    durability: Durability::Volatile,
                    may_unmap: false,
                    fast_only: false,
                };
                image
                    .write_zeroes(Extent::new(zero.offset, end - zero.offset), how)
                    .await?;
            }
        }
        if self.len_bytes() > size {
            image.resize(self.len_bytes()).await?;
        }
        for (&offset, page) in &self.pages {
            image
                .write(offset, IoBuf::copy_of(page), Durability::Volatile)
                .await?;
        }
        image.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::vhdx::log::{EntryHeader, Update, encode};

    const LOG: Uuid = Uuid::from_u128(7);
    const LOG_BYTES: usize = 64 << 10;

    fn put_entry(ring: &mut [u8], at: usize, sequence: u64, tail: usize) -> usize {
        let header = EntryHeader {
            sequence,
            tail: tail as u32,
            log: LOG,
            flushed_file_bytes: 0,
            last_file_bytes: 0,
        };
        let update = Update {
            offset: 2 << 20,
            page: IoBuf::copy_of(&[sequence as u8; PAGE_BYTES]),
        };
        let bytes = encode(&header, &[update]);
        for (index, &byte) in bytes.iter().enumerate() {
            ring[(at + index) % LOG_BYTES] = byte;
        }
        (at + bytes.len()) % LOG_BYTES
    }

    fn sequences(ring: &[u8]) -> Option<Vec<u64>> {
        let entries = active_sequence(ring, LOG, 0).ok()?;
        Some(entries.iter().map(|entry| entry.header.sequence).collect())
    }

    #[test]
    fn a_ring_that_wrapped_is_read_from_its_tail() {
        for start in (0..LOG_BYTES).step_by(PAGE_BYTES) {
            let mut ring = vec![0; LOG_BYTES];
            let mut at = start;
            for sequence in 1..=20 {
                at = put_entry(
                    &mut ring,
                    at,
                    sequence,
                    (start + 8192 * (sequence as usize - 1).saturating_sub(3)) % LOG_BYTES,
                );
            }
            assert_eq!(sequences(&ring), Some(vec![17, 18, 19, 20]), "from {start}");
        }
    }

    #[test]
    fn a_torn_head_leaves_what_was_before_it() {
        let mut ring = vec![0; LOG_BYTES];
        let mut at = 0;
        for sequence in 1..=4 {
            at = put_entry(&mut ring, at, sequence, 0);
        }
        ring[3 * 8192 + 5000] ^= 1;
        assert_eq!(sequences(&ring), Some(vec![1, 2, 3]));
        ring[5000] ^= 1;
        assert_eq!(sequences(&ring), None, "the tail is gone");
    }

    #[test]
    fn a_gap_in_the_numbers_ends_a_run() {
        let mut ring = vec![0; LOG_BYTES];
        let next = put_entry(&mut ring, 0, 5, 0);
        put_entry(&mut ring, next, 7, next);
        assert_eq!(sequences(&ring), Some(vec![7]));
    }

    #[test]
    fn entries_within_entries_cost_a_bounded_time() {
        let mut ring = vec![0; 1 << 20];
        for page in ring.chunks_mut(PAGE_BYTES) {
            layout::put(page, 0, b"loge");
            layout::put(page, 8, &(1u32 << 20).to_le_bytes());
            layout::put(page, 16, &1u64.to_le_bytes());
            layout::put(page, 32, &LOG.to_bytes_le());
        }
        let error = active_sequence(&ring, LOG, 0x10_0000).unwrap_err();
        assert!(error.to_string().contains("0x100000"), "{error}");
    }
}
