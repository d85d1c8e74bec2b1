//! Making new images.

use uuid::Uuid;

use super::bat::{self, Entry, State};
use super::header::Header;
use super::layout::{
    HEADER_OFFSETS, HEADER_SECTION_BYTES, MIB, PAGE_BYTES, REGION_TABLE_OFFSETS, Region, SIGNATURE,
    put,
};
use super::locator::Locator;
use super::metadata::Metadata;
use super::regions;
use crate::disk::{Disk, Durability, Error, ErrorKind, Result};
use crate::engine::{IoBuf, IoBufMut};

const CREATOR: &str = "Reeve vmstorage";
const BAT_CHUNK_BYTES: u64 = MIB;

/// What a new image is to be.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// Size of the disk, a multiple of `logical_sector_bytes`, at most 64 TiB.
    pub size_bytes: u64,
    /// Size of a block, a power of two from 1 MiB to 256 MiB.
    pub block_bytes: u64,
    /// Sector size that a guest sees: 512 or 4096.
    pub logical_sector_bytes: u32,
    /// Sector size that a guest is told to align to: 512 or 4096.
    pub physical_sector_bytes: u32,
    /// How its blocks get their space.
    pub kind: Kind,
}

/// How the blocks of an image get their space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// All when it is made. The file may still have holes there.
    Fixed,
    /// Each when it is first written.
    Dynamic,
    /// As dynamic ones, over a parent.
    Differencing(Locator),
}

impl CreateOptions {
    /// A dynamic disk as Hyper-V makes it: blocks of 32 MiB, sectors of 512 bytes on 4096.
    pub fn dynamic(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            block_bytes: 32 * MIB,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            kind: Kind::Dynamic,
        }
    }

    fn metadata(&self) -> Result<Metadata> {
        let metadata = Metadata {
            block_bytes: self.block_bytes,
            leave_allocated: self.kind == Kind::Fixed,
            disk_bytes: self.size_bytes,
            disk_bytes_at: 0,
            logical_bytes: self.logical_sector_bytes,
            physical_bytes: self.physical_sector_bytes,
            disk_id: Uuid::new_v4(),
            locator: match &self.kind {
                Kind::Differencing(locator) => Some(locator.clone()),
                Kind::Fixed | Kind::Dynamic => None,
            },
        };
        metadata
            .check()
            .map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))?;
        Ok(metadata)
    }
}

/// Makes an image of a file, whose content is lost, durably.
pub(super) async fn create(file: &dyn Disk, options: &CreateOptions) -> Result<()> {
    let metadata = options.metadata()?;
    let entries = bat::entry_count(&metadata, metadata.disk_bytes);
    bat::check_count(entries)?;
    let region = |offset, len| Region { offset, len };
    let log = region(HEADER_SECTION_BYTES, MIB);
    let items = region(log.end(), MIB);
    let table = region(
        items.end(),
        (entries * bat::ENTRY_BYTES).next_multiple_of(MIB),
    );
    let blocks = metadata.disk_bytes.div_ceil(metadata.block_bytes);
    let payload = match options.kind {
        Kind::Fixed => blocks * metadata.block_bytes,
        Kind::Dynamic | Kind::Differencing(_) => 0,
    };
    // All of it must read as zeroes first.
    file.resize(0).await?;
    file.resize(table.end() + payload).await?;
    let write = |offset, bytes| file.write(offset, bytes, Durability::Volatile);
    write(items.offset, metadata.encode()?).await?;
    let regions = regions::encode(table, items).freeze();
    for offset in REGION_TABLE_OFFSETS {
        write(offset, regions.clone()).await?;
    }
    if payload > 0 {
        write_fixed_bat(file, &metadata, table, blocks).await?;
    }
    let mut header = Header {
        sequence: 1,
        file_write: Uuid::new_v4(),
        data_write: Uuid::new_v4(),
        log: Uuid::nil(),
        log_version: 0,
        log_region: log,
    };
    for offset in HEADER_OFFSETS {
        write(offset, header.encode()).await?;
        header.sequence += 1;
    }
    file.flush().await?;
    // Last, so that a file that was not finished is none.
    let mut signature = IoBufMut::zeroed(PAGE_BYTES);
    put(&mut signature, 0, SIGNATURE);
    let creator: Vec<u8> = CREATOR.encode_utf16().flat_map(u16::to_le_bytes).collect();
    put(&mut signature, SIGNATURE.len(), &creator);
    write(0, signature.freeze()).await?;
    file.flush().await
}

async fn write_fixed_bat(
    file: &dyn Disk,
    metadata: &Metadata,
    table: Region,
    blocks: u64,
) -> Result<()> {
    let ratio = metadata.chunk_ratio();
    let entry = |index: u64| {
        let block = index - index / (ratio + 1);
        let is_payload = index % (ratio + 1) != ratio && block < blocks;
        let entry = Entry {
            state: State::Present,
            offset: table.end() + block * metadata.block_bytes,
        };
        if is_payload { entry.encode() } else { 0 }
    };
    let mut at = 0;
    while at < table.len {
        let first = at / bat::ENTRY_BYTES;
        let bytes: Vec<u8> = (first..first + BAT_CHUNK_BYTES / bat::ENTRY_BYTES)
            .flat_map(|index| entry(index).to_le_bytes())
            .collect();
        file.write(
            table.offset + at,
            IoBuf::copy_of(&bytes),
            Durability::Volatile,
        )
        .await?;
        at += BAT_CHUNK_BYTES;
    }
    Ok(())
}
