//! The region table ([MS-VHDX] section 2.2.3): where the BAT and the metadata are.

use super::layout::{
    self, BAT_REGION, HEADER_SECTION_BYTES, METADATA_REGION, MIB, REGION_TABLE_BYTES,
    REGION_TABLE_OFFSETS, Region, put,
};
use crate::disk::{Disk, Error, ErrorKind, Result};
use crate::engine::IoBufMut;

const TABLE_SIGNATURE: &[u8; 4] = b"regi";
const MAX_ENTRIES: u32 = 2047;
const ENTRY_BYTES: usize = 32;
const REQUIRED: u32 = 1;

/// What the table says.
#[derive(Debug, Clone)]
pub(super) struct Regions {
    pub(super) bat: Region,
    pub(super) metadata: Region,
    /// Every region, also unknown ones: nothing may be allocated over them.
    pub(super) all: Vec<Region>,
}

/// The table of a new file.
pub(super) fn encode(bat: Region, metadata: Region) -> IoBufMut {
    let mut bytes = IoBufMut::zeroed(REGION_TABLE_BYTES);
    put(&mut bytes, 0, TABLE_SIGNATURE);
    put(&mut bytes, 8, &2u32.to_le_bytes());
    for (index, (id, region)) in [(BAT_REGION, bat), (METADATA_REGION, metadata)]
        .into_iter()
        .enumerate()
    {
        let at = 16 + index * ENTRY_BYTES;
        put(&mut bytes, at, &id.to_bytes_le());
        put(&mut bytes, at + 16, &region.offset.to_le_bytes());
        put(&mut bytes, at + 24, &(region.len as u32).to_le_bytes());
        put(&mut bytes, at + 28, &REQUIRED.to_le_bytes());
    }
    layout::seal(&mut bytes);
    bytes
}

/// The bytes of the first copy of the table that is whole.
pub(super) async fn read_table(image: &dyn Disk) -> Result<IoBufMut> {
    for offset in REGION_TABLE_OFFSETS {
        let bytes = layout::read_at(image, "the region table", offset, REGION_TABLE_BYTES).await?;
        if bytes.starts_with(TABLE_SIGNATURE) && layout::is_sealed(&bytes) {
            return Ok(bytes);
        }
    }
    Err(Error::corrupt(format!(
        "neither the region table at offset {:#x} nor the one at {:#x} is valid",
        REGION_TABLE_OFFSETS[0], REGION_TABLE_OFFSETS[1]
    )))
}

/// How much of a table its header and its entries take.
pub(super) fn used_bytes(table: &[u8]) -> usize {
    let count = layout::u32_at(table, 8).min(MAX_ENTRIES) as usize;
    16 + count * ENTRY_BYTES
}

/// Has a table say that the BAT is elsewhere.
pub(super) fn move_bat(table: &mut [u8], bat: Region) {
    let count = layout::u32_at(table, 8).min(MAX_ENTRIES) as usize;
    for at in (0..count).map(|index| 16 + index * ENTRY_BYTES) {
        if layout::guid_at(table, at) == BAT_REGION {
            put(table, at + 16, &bat.offset.to_le_bytes());
            put(table, at + 24, &(bat.len as u32).to_le_bytes());
        }
    }
    layout::seal(table);
}

/// Reads and checks the table; `log` is a region that the table does not list.
pub(super) async fn load(image: &dyn Disk, log: Region) -> Result<Regions> {
    let table = read_table(image).await?;
    let count = layout::u32_at(&table, 8);
    if count > MAX_ENTRIES {
        return Err(Error::corrupt(format!(
            "the region table has {count} entries, more than {MAX_ENTRIES}"
        )));
    }
    let file_bytes = image.geometry().size_bytes;
    let mut all = vec![log];
    let (mut bat, mut metadata) = (None, None);
    for at in (0..count as usize).map(|index| 16 + index * ENTRY_BYTES) {
        let id = layout::guid_at(&table, at);
        let region = Region {
            offset: layout::u64_at(&table, at + 16),
            len: layout::u32_at(&table, at + 24).into(),
        };
        check(id, region, file_bytes, &all)?;
        all.push(region);
        let known = match id {
            BAT_REGION => Some(&mut bat),
            METADATA_REGION => Some(&mut metadata),
            _ => None,
        };
        match known {
            Some(known) if known.is_none() => *known = Some(region),
            Some(_) => {
                return Err(Error::corrupt(format!(
                    "the region table lists region `{id}` twice"
                )));
            }
            None if layout::u32_at(&table, at + 28) & REQUIRED != 0 => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the file requires region `{id}`, which is not known"),
                ));
            }
            None => {}
        }
    }
    match (bat, metadata) {
        (Some(bat), Some(metadata)) => Ok(Regions { bat, metadata, all }),
        (None, _) => Err(Error::corrupt("the region table lists no BAT")),
        (_, None) => Err(Error::corrupt("the region table lists no metadata region")),
    }
}

fn check(id: uuid::Uuid, region: Region, file_bytes: u64, others: &[Region]) -> Result<()> {
    let Region { offset, len } = region;
    let wrong = |why: &str| {
        Err(Error::corrupt(format!(
            "region `{id}` at offset {offset:#x} with {len} bytes {why}"
        )))
    };
    if offset < HEADER_SECTION_BYTES || offset % MIB != 0 || len % MIB != 0 || len == 0 {
        return wrong("is not in multiples of 1 MiB behind the headers");
    }
    if offset.checked_add(len).is_none_or(|end| end > file_bytes) {
        return wrong("ends beyond the file");
    }
    match others.iter().find(|other| other.overlaps(region)) {
        Some(other) => wrong(&format!("overlaps another one at {:#x}", other.offset)),
        None => Ok(()),
    }
}
