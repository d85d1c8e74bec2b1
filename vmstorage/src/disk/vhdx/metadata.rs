//! The metadata region ([MS-VHDX] section 2.6): what the disk is like.

use uuid::{Uuid, uuid};

use super::layout::{self, MAX_DISK_BYTES, MIB, Region, put};
use super::locator::Locator;
use crate::disk::{Disk, Error, ErrorKind, Result};
use crate::engine::{IoBuf, IoBufMut};

const SIGNATURE: &[u8; 8] = b"metadata";
const TABLE_BYTES: usize = 64 << 10;
const ENTRY_BYTES: usize = 32;
const MAX_ENTRIES: usize = 2047;
const MAX_ITEM_BYTES: u32 = 1 << 20;

const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");
const LOGICAL_SECTOR: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
const PHYSICAL_SECTOR: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");
const PARENT_LOCATOR: Uuid = uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");

const IS_USER: u32 = 1;
const IS_VIRTUAL_DISK: u32 = 2;
const IS_REQUIRED: u32 = 4;

const LEAVE_BLOCKS_ALLOCATED: u32 = 1;
const HAS_PARENT: u32 = 2;

/// What the region says.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) block_bytes: u64,
    /// Blocks keep their space: the disk is fixed.
    pub(super) leave_allocated: bool,
    pub(super) disk_bytes: u64,
    /// Where in the file `disk_bytes` is.
    pub(super) disk_bytes_at: u64,
    pub(super) logical_bytes: u32,
    pub(super) physical_bytes: u32,
    pub(super) disk_id: Uuid,
    /// Where the parent is, of a differencing disk.
    pub(super) locator: Option<Locator>,
}

/// An item's place in the file.
type Item = Option<Region>;

#[derive(Default)]
struct Items {
    parameters: Item,
    size: Item,
    id: Item,
    logical: Item,
    physical: Item,
    locator: Item,
}

impl Metadata {
    /// Reads and checks the region.
    pub(super) async fn load(image: &dyn Disk, region: Region) -> Result<Self> {
        let items = Items::load(image, region).await?;
        let parameters = fixed::<8>(image, "file parameters", items.parameters).await?;
        let size = fixed::<8>(image, "virtual disk size", items.size).await?;
        let id = fixed::<16>(image, "virtual disk id", items.id).await?;
        let logical = fixed::<4>(image, "logical sector size", items.logical).await?;
        let physical = fixed::<4>(image, "physical sector size", items.physical).await?;
        let flags = layout::u32_at(&parameters, 4);
        let has_parent = flags & HAS_PARENT != 0;
        let locator = match (has_parent, items.locator) {
            (true, Some(place)) => {
                let what = "the parent locator";
                let bytes = layout::read_at(image, what, place.offset, place.len as usize).await?;
                Some(Locator::decode(&bytes)?)
            }
            (true, None) => {
                return Err(Error::corrupt(
                    "the file has a parent, and no metadata item that says where",
                ));
            }
            (false, _) => None,
        };
        let metadata = Self {
            block_bytes: layout::u32_at(&parameters, 0).into(),
            leave_allocated: flags & LEAVE_BLOCKS_ALLOCATED != 0 && !has_parent,
            disk_bytes: u64::from_le_bytes(size),
            disk_bytes_at: items.size.map_or(0, |place| place.offset),
            logical_bytes: u32::from_le_bytes(logical),
            physical_bytes: u32::from_le_bytes(physical),
            disk_id: Uuid::from_bytes_le(id),
            locator,
        };
        metadata.check()?;
        Ok(metadata)
    }

    /// Refuses what the format does not allow.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str, value: u64, rule: &str| {
            Err(Error::corrupt(format!(
                "the {what} is {value}: it must be {rule}"
            )))
        };
        if !self.block_bytes.is_power_of_two() || !(MIB..=256 * MIB).contains(&self.block_bytes) {
            return wrong(
                "block size",
                self.block_bytes,
                "a power of two from 1 MiB to 256 MiB",
            );
        }
        for (what, bytes) in [
            ("logical sector size", self.logical_bytes),
            ("physical sector size", self.physical_bytes),
        ] {
            if ![512, 4096].contains(&bytes) {
                return wrong(what, bytes.into(), "512 or 4096");
            }
        }
        if self.disk_bytes == 0
            || self.disk_bytes > MAX_DISK_BYTES
            || !self
                .disk_bytes
                .is_multiple_of(u64::from(self.logical_bytes))
        {
            let rule = "a multiple of the logical sector size, above 0 and at most 64 TiB";
            return wrong("virtual disk size", self.disk_bytes, rule);
        }
        Ok(())
    }

    /// Payload blocks for each sector bitmap block ([MS-VHDX] section 2.5).
    pub(super) fn chunk_ratio(&self) -> u64 {
        (u64::from(self.logical_bytes) << 23) / self.block_bytes
    }

    /// The region of a new file: the table and the items behind it.
    pub(super) fn encode(&self) -> Result<IoBuf> {
        let flags = u32::from(self.leave_allocated) * LEAVE_BLOCKS_ALLOCATED
            + u32::from(self.locator.is_some()) * HAS_PARENT;
        let mut parameters = (self.block_bytes as u32).to_le_bytes().to_vec();
        parameters.extend(flags.to_le_bytes());
        let disk = IS_REQUIRED | IS_VIRTUAL_DISK;
        let mut items = vec![
            (FILE_PARAMETERS, IS_REQUIRED, parameters),
            (DISK_SIZE, disk, self.disk_bytes.to_le_bytes().to_vec()),
            (DISK_ID, disk, self.disk_id.to_bytes_le().to_vec()),
            (
                LOGICAL_SECTOR,
                disk,
                self.logical_bytes.to_le_bytes().to_vec(),
            ),
            (
                PHYSICAL_SECTOR,
                disk,
                self.physical_bytes.to_le_bytes().to_vec(),
            ),
        ];
        if let Some(locator) = &self.locator {
            items.push((PARENT_LOCATOR, IS_REQUIRED, locator.encode()?));
        }
        let mut bytes = IoBufMut::zeroed(2 * TABLE_BYTES);
        put(&mut bytes, 0, SIGNATURE);
        put(&mut bytes, 10, &(items.len() as u16).to_le_bytes());
        let mut offset = TABLE_BYTES;
        for (index, (id, flags, item)) in items.iter().enumerate() {
            if offset + item.len() > bytes.len() {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the paths of the parent are too long",
                ));
            }
            let at = ENTRY_BYTES * (index + 1);
            put(&mut bytes, at, &id.to_bytes_le());
            put(&mut bytes, at + 16, &(offset as u32).to_le_bytes());
            put(&mut bytes, at + 20, &(item.len() as u32).to_le_bytes());
            put(&mut bytes, at + 24, &flags.to_le_bytes());
            put(&mut bytes, offset, item);
            offset += item.len().next_multiple_of(16);
        }
        Ok(bytes.freeze())
    }
}

impl Items {
    async fn load(image: &dyn Disk, region: Region) -> Result<Self> {
        let what = "the metadata table";
        let table = layout::read_at(image, what, region.offset, TABLE_BYTES).await?;
        let count = usize::from(layout::u16_at(&table, 10));
        if !table.starts_with(SIGNATURE) || count > MAX_ENTRIES {
            return Err(Error::corrupt(format!(
                "there is no metadata table at offset {:#x}",
                region.offset
            )));
        }
        let mut items = Self::default();
        for index in 1..=count {
            items.add(
                &table[index * ENTRY_BYTES..(index + 1) * ENTRY_BYTES],
                region,
            )?;
        }
        Ok(items)
    }

    fn add(&mut self, entry: &[u8], region: Region) -> Result<()> {
        let id = layout::guid_at(entry, 0);
        let (offset, len) = (layout::u32_at(entry, 16), layout::u32_at(entry, 20));
        let flags = layout::u32_at(entry, 24);
        let item = match id {
            _ if flags & IS_USER != 0 => None,
            FILE_PARAMETERS => Some(&mut self.parameters),
            DISK_SIZE => Some(&mut self.size),
            DISK_ID => Some(&mut self.id),
            LOGICAL_SECTOR => Some(&mut self.logical),
            PHYSICAL_SECTOR => Some(&mut self.physical),
            PARENT_LOCATOR => Some(&mut self.locator),
            _ => None,
        };
        let Some(item) = item else {
            if flags & IS_REQUIRED != 0 {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the file requires metadata item `{id}`, which is not known"),
                ));
            }
            return Ok(());
        };
        let end = u64::from(offset) + u64::from(len);
        if (offset as usize) < TABLE_BYTES || end > region.len || len > MAX_ITEM_BYTES {
            return Err(Error::corrupt(format!(
                "metadata item `{id}` is {len} bytes at {offset:#x} of its region, beyond its \
                 bounds"
            )));
        }
        if item.is_some() {
            return Err(Error::corrupt(format!(
                "the metadata table lists item `{id}` twice"
            )));
        }
        *item = Some(Region {
            offset: region.offset + u64::from(offset),
            len: len.into(),
        });
        Ok(())
    }
}

/// Reads an item of known length.
async fn fixed<const N: usize>(image: &dyn Disk, what: &str, item: Item) -> Result<[u8; N]> {
    let Some(place) = item else {
        return Err(Error::corrupt(format!(
            "the metadata item `{what}` is missing"
        )));
    };
    if place.len != N as u64 {
        return Err(Error::corrupt(format!(
            "the metadata item `{what}` at offset {:#x} has {} bytes, not {N}",
            place.offset, place.len
        )));
    }
    let bytes = layout::read_at(image, what, place.offset, N).await?;
    let mut item = [0; N];
    item.copy_from_slice(&bytes);
    Ok(item)
}
