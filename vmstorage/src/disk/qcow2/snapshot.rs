//! Internal snapshots, which are listed and left alone (qcow2 specification, "Snapshots").

use super::file::ImageFile;
use super::header::Header;
use crate::disk::{Error, ErrorKind, Result};
use crate::engine::IoBufMut;

/// Longest table of snapshots, as in QEMU.
const MAX_TABLE_BYTES: u64 = 64 << 20;
/// Most entries of a snapshot's L1 table.
const MAX_L1_ENTRIES: u32 = (32 << 20) / 8;
/// Most bytes of all L1 tables of snapshots.
const MAX_L1S_BYTES: u64 = 512 << 20;
/// Bytes of an entry before what varies.
const ENTRY_BYTES: usize = 40;

/// An internal snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id within the image.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was taken, in seconds since 1970.
    pub seconds: u32,
    /// Size of the disk then, if it is said.
    pub disk_bytes: Option<u64>,
    /// Size of the machine's state that was saved.
    pub vm_state_bytes: u64,
    pub(super) l1_offset: u64,
    pub(super) l1_entries: u32,
    /// Bytes of its entry in the table.
    pub(super) entry_bytes: u64,
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Reads the table of snapshots.
pub(super) async fn load(file: &ImageFile, header: &Header) -> Result<Vec<Snapshot>> {
    let mut snapshots = Vec::new();
    let mut tables = 0;
    let mut at = header.snapshots_offset;
    let layout = header.layout();
    for index in 0..header.snapshots {
        let doing = |error: Error| error.context(format!("snapshot {index} at {at:#x}"));
        let fixed = file.read_table(at, IoBufMut::zeroed(ENTRY_BYTES)).await;
        let fixed = fixed.map_err(doing)?;
        let id = number(&fixed[12..14]) as usize;
        let name = number(&fixed[14..16]) as usize;
        let extra = number(&fixed[36..40]);
        let len = ENTRY_BYTES as u64 + extra + (id + name) as u64;
        let entry_bytes = len.next_multiple_of(8);
        if extra > 65_536 || at + entry_bytes - header.snapshots_offset > MAX_TABLE_BYTES {
            return Err(Error::corrupt(format!(
                "snapshot {index} at {at:#x} is too long"
            )));
        }
        let buf = IoBufMut::zeroed(len as usize);
        let bytes = file.read_table(at, buf).await.map_err(doing)?;
        let text = |from: usize, len: usize| {
            String::from_utf8_lossy(&bytes[from..from + len]).into_owned()
        };
        let extra = extra as usize;
        let names = ENTRY_BYTES + extra;
        let snapshot = Snapshot {
            l1_offset: number(&bytes[0..8]),
            l1_entries: number(&bytes[8..12]) as u32,
            seconds: number(&bytes[16..20]) as u32,
            vm_state_bytes: match extra {
                0..8 => number(&bytes[32..36]),
                _ => number(&bytes[40..48]),
            },
            disk_bytes: (extra >= 16).then(|| number(&bytes[48..56])),
            id: text(names, id),
            name: text(names + id, name),
            entry_bytes,
        };
        if snapshot.l1_entries > MAX_L1_ENTRIES || layout.in_cluster(snapshot.l1_offset) != 0 {
            return Err(Error::corrupt(format!(
                "snapshot {index} has an L1 table of {} entries at {:#x}",
                snapshot.l1_entries, snapshot.l1_offset
            )));
        }
        tables += u64::from(snapshot.l1_entries) * 8;
        if tables > MAX_L1S_BYTES {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("snapshots up to {index} have {tables} bytes of L1 tables"),
            ));
        }
        at += entry_bytes;
        snapshots.push(snapshot);
    }
    Ok(snapshots)
}
