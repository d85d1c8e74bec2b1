//! The pair of headers ([MS-VHDX] section 2.2.2): the one with the higher sequence number counts,
//! the other one is written next, so a torn write loses nothing.

use uuid::Uuid;

use super::layout::{self, HEADER_OFFSETS, MIB, PAGE_BYTES, Region, put};
use crate::disk::{Disk, Durability, Error, ErrorKind, Result};
use crate::engine::{IoBuf, IoBufMut};

const HEADER_SIGNATURE: &[u8; 4] = b"head";
const VERSION: u16 = 1;

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sequence: u64,
    /// Changes with every opening that writes the file.
    pub(super) file_write: Uuid,
    /// Changes with every opening that changes what the disk reads as; children name it.
    pub(super) data_write: Uuid,
    /// What valid log entries carry; nil says that the log is empty.
    pub(super) log: Uuid,
    pub(super) log_version: u16,
    pub(super) log_region: Region,
}

/// Both headers: which one counts.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    pub(super) current: Header,
    slot: usize,
}

impl Header {
    pub(super) fn encode(&self) -> IoBuf {
        let mut bytes = IoBufMut::zeroed(PAGE_BYTES);
        put(&mut bytes, 0, HEADER_SIGNATURE);
        put(&mut bytes, 8, &self.sequence.to_le_bytes());
        put(&mut bytes, 16, &self.file_write.to_bytes_le());
        put(&mut bytes, 32, &self.data_write.to_bytes_le());
        put(&mut bytes, 48, &self.log.to_bytes_le());
        put(&mut bytes, 64, &self.log_version.to_le_bytes());
        put(&mut bytes, 66, &VERSION.to_le_bytes());
        put(&mut bytes, 68, &(self.log_region.len as u32).to_le_bytes());
        put(&mut bytes, 72, &self.log_region.offset.to_le_bytes());
        layout::seal(&mut bytes);
        bytes.freeze()
    }

    /// `None` when the header was never written, or not wholly.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let whole = bytes.starts_with(HEADER_SIGNATURE)
            && layout::is_sealed(bytes)
            && layout::u16_at(bytes, 66) == VERSION;
        whole.then(|| Self {
            sequence: layout::u64_at(bytes, 8),
            file_write: layout::guid_at(bytes, 16),
            data_write: layout::guid_at(bytes, 32),
            log: layout::guid_at(bytes, 48),
            log_version: layout::u16_at(bytes, 64),
            log_region: Region {
                offset: layout::u64_at(bytes, 72),
                len: layout::u32_at(bytes, 68).into(),
            },
        })
    }

    fn check(&self, offset: u64) -> Result<()> {
        let Region { offset: log, len } = self.log_region;
        if log < MIB || log % MIB != 0 || len % MIB != 0 || log.checked_add(len).is_none() {
            return Err(Error::corrupt(format!(
                "the header at offset {offset:#x} has its log at {log:#x} with {len} bytes: \
                 both must be multiples of 1 MiB"
            )));
        }
        if self.log_version != 0 && !self.log.is_nil() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the header at offset {offset:#x} has a log of version {}: only 0 is known",
                    self.log_version
                ),
            ));
        }
        Ok(())
    }
}

impl Headers {
    /// Finds the header that counts.
    pub(super) async fn load(image: &dyn Disk) -> Result<Self> {
        let mut found: Option<Self> = None;
        for (slot, &offset) in HEADER_OFFSETS.iter().enumerate() {
            let bytes = layout::read_at(image, "the header", offset, PAGE_BYTES).await?;
            let Some(header) = Header::decode(&bytes) else {
                continue;
            };
            let newer = match &found {
                None => true,
                Some(other) if header.sequence == other.current.sequence => {
                    if header != other.current {
                        return Err(Error::corrupt(format!(
                            "the headers at offsets {:#x} and {offset:#x} differ and have the same \
                             sequence number {}",
                            HEADER_OFFSETS[0], header.sequence
                        )));
                    }
                    false
                }
                Some(other) => header.sequence > other.current.sequence,
            };
            if newer {
                found = Some(Self {
                    current: header,
                    slot,
                });
            }
        }
        let found = found.ok_or_else(|| {
            Error::corrupt(format!(
                "neither the header at offset {:#x} nor the one at {:#x} is valid",
                HEADER_OFFSETS[0], HEADER_OFFSETS[1]
            ))
        })?;
        found.current.check(HEADER_OFFSETS[found.slot])?;
        Ok(found)
    }

    /// The header that comes after the current one and the offset to write it at.
    pub(super) fn next(&self, change: impl FnOnce(&mut Header)) -> Result<(Self, u64)> {
        let mut current = self.current.clone();
        change(&mut current);
        current.sequence = current.sequence.checked_add(1).ok_or_else(|| {
            Error::corrupt("the headers' sequence number is at its end".to_string())
        })?;
        let slot = 1 - self.slot;
        Ok((Self { current, slot }, HEADER_OFFSETS[slot]))
    }

    /// Writes a change to both headers, one after the other, each durable before the next. If that
    /// fails, the last one that is durable stays the current one.
    pub(super) async fn update(
        &mut self,
        image: &dyn Disk,
        change: impl Fn(&mut Header),
    ) -> Result<()> {
        for _ in 0..2 {
            let (next, offset) = self.next(&change)?;
            let bytes = next.current.encode();
            image.write(offset, bytes, Durability::Volatile).await?;
            image.flush().await?;
            *self = next;
        }
        Ok(())
    }
}
