//! The root of a map file: identity, epoch, and the write-intent log, in one record that is written
//! as a whole. Two copies stand at the file's start and are never written at the same time.

use uuid::Uuid;

use super::page::{ALL_PARTS, ENTRIES, PAGE_BYTES, long, word};
use super::{MAX_BLOCK_BYTES, MIN_BLOCK_BYTES};
use crate::disk::{Error, Result};

/// Room for one copy of the root.
pub(super) const ROOT_BYTES: usize = 64 << 10;
/// Where the segments begin: after two copies of the root.
pub(super) const DATA_START: u64 = 2 * ROOT_BYTES as u64;
/// Most pages that can be hot at once.
pub(super) const MAX_HOT: usize = 4096;
/// Most sessions whose points are known; older ones are forgotten.
pub(super) const MAX_BRANCHES: usize = 256;
/// Most fields of a fingerprint.
pub(super) const MAX_PRINTS: usize = 16;
/// Most bytes of a reason.
pub(super) const MAX_REASON: usize = 120;

const MAGIC: &[u8; 8] = b"REEVEMAP";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 256;
const PRINT_BYTES: usize = 24;
const BRANCH_BYTES: usize = 24;
const HOT_BYTES: usize = 12;
const CLEAN: u32 = 1;
/// Name of the fields of marks.
pub(super) const MARK: &str = "mark";

const _: () = assert!(
    FIXED_BYTES + MAX_PRINTS * PRINT_BYTES + MAX_BRANCHES * BRANCH_BYTES + MAX_HOT * HOT_BYTES
        <= ROOT_BYTES
);

/// A root, little-endian:
///
/// | byte | size | field |
/// |---|---|---|
/// | 0 | 8 | magic `REEVEMAP` |
/// | 8 | 4 | version, 1 |
/// | 12 | 4 | CRC-32C of the root's length, with this field zero |
/// | 16 | 8 | sequence number of the write |
/// | 24 | 4 | length in bytes: 256 and the three tables |
/// | 28 | 4 | flags: bit 0, the map was closed and is whole |
/// | 32 | 16 | disk id |
/// | 48 | 16 | generation |
/// | 64 | 16 | session |
/// | 80 | 8 | size of the disk in bytes |
/// | 88 | 8 | size that it is being changed to; otherwise the same |
/// | 96 | 4 | block size in bytes, a power of two |
/// | 100 | 4 | current epoch, from 1 |
/// | 104 | 4 | segments in the file |
/// | 108 | 4 | number of hot records |
/// | 112 | 4 | number of branches |
/// | 116 | 4 | number of fingerprint fields |
/// | 120 | 8 | stamp: no page in the file has a higher one, unless it is hot |
/// | 128 | 2 | length of the reason |
/// | 130 | 6 | zero |
/// | 136 | 120 | why the generation began, UTF-8, zero-padded |
/// | 256 | 24 × n | fingerprint fields, then branches (24 each), then hot records (12 each) |
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) seq: u64,
    pub(super) clean: bool,
    pub(super) disk_id: Uuid,
    pub(super) generation: Uuid,
    /// From one opening to the next.
    pub(super) session: Uuid,
    pub(super) size_bytes: u64,
    pub(super) next_size_bytes: u64,
    pub(super) block_bytes: u32,
    pub(super) epoch: u32,
    pub(super) segments: u32,
    pub(super) stamp: u64,
    pub(super) reason: String,
    pub(super) prints: Vec<Print>,
    pub(super) branches: Vec<Branch>,
    pub(super) hot: Vec<Hot>,
}

/// A field of a fingerprint, 24 bytes: name (12, ASCII, zero-padded), flags (4; bit 0: a crash
/// leaves it valid), digest (8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) name: String,
    pub(super) lasting: bool,
    pub(super) digest: [u8; 8],
}

/// A session that made checkpoints, 24 bytes: session (16), the first epoch that it ended (4), zero
/// (4). Its last one is before the next branch's first: whoever continues from a copy of the map is
/// another session, and its points are not those of this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) session: Uuid,
    pub(super) first_epoch: u32,
}

/// A page some of whose entries may be too old in the file, 12 bytes: page (4), the epoch since
/// which (4), a bit for each of its 28 parts (4). After a crash all blocks of these parts count as
/// changed in every epoch since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hot {
    pub(super) page: u32,
    pub(super) since: u32,
    pub(super) parts: u32,
}

impl Print {
    /// It is of a mark that the disk carries; there can be several, and one must be found.
    pub(super) fn is_mark(&self) -> bool {
        self.name == MARK
    }
}

impl Root {
    /// The bytes of a copy, a multiple of the page size.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PAGE_BYTES);
        let length = FIXED_BYTES
            + self.prints.len() * PRINT_BYTES
            + self.branches.len() * BRANCH_BYTES
            + self.hot.len() * HOT_BYTES;
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.seq.to_le_bytes());
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend((if self.clean { CLEAN } else { 0 }).to_le_bytes());
        for id in [self.disk_id, self.generation, self.session] {
            bytes.extend(id.as_bytes());
        }
        bytes.extend(self.size_bytes.to_le_bytes());
        bytes.extend(self.next_size_bytes.to_le_bytes());
        bytes.extend(self.block_bytes.to_le_bytes());
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.segments.to_le_bytes());
        for count in [self.hot.len(), self.branches.len(), self.prints.len()] {
            bytes.extend((count as u32).to_le_bytes());
        }
        bytes.extend(self.stamp.to_le_bytes());
        bytes.extend((self.reason.len() as u16).to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(self.reason.as_bytes());
        bytes.resize(FIXED_BYTES, 0);
        self.encode_tables(&mut bytes);
        let crc = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes.resize(length.next_multiple_of(PAGE_BYTES), 0);
        bytes
    }

    fn encode_tables(&self, bytes: &mut Vec<u8>) {
        for print in &self.prints {
            let mut name = [0; 12];
            name[..print.name.len()].copy_from_slice(print.name.as_bytes());
            bytes.extend(name);
            bytes.extend(u32::from(print.lasting).to_le_bytes());
            bytes.extend(print.digest);
        }
        for branch in &self.branches {
            bytes.extend(branch.session.as_bytes());
            bytes.extend(branch.first_epoch.to_le_bytes());
            bytes.extend([0; 4]);
        }
        for hot in &self.hot {
            for field in [hot.page, hot.since, hot.parts] {
                bytes.extend(field.to_le_bytes());
            }
        }
    }

    /// Reads a copy.
    ///
    /// # Errors
    /// When there is none, it is of another version, or damaged.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < FIXED_BYTES || &bytes[..8] != MAGIC {
            return Err(Error::corrupt("there is no root of a map"));
        }
        if word(bytes, 8) != VERSION {
            let version = word(bytes, 8);
            return Err(Error::corrupt(format!(
                "the map is of version {version}, and this program reads {VERSION}"
            )));
        }
        let length = word(bytes, 24) as usize;
        let counts = [word(bytes, 116), word(bytes, 112), word(bytes, 108)].map(|n| n as usize);
        let [prints, branches, hot] = counts;
        let bounded = prints <= MAX_PRINTS && branches <= MAX_BRANCHES && hot <= MAX_HOT;
        let reason_len = usize::from(u16::from_le_bytes([bytes[128], bytes[129]]));
        if !bounded || reason_len > MAX_REASON || length > bytes.len() {
            return Err(Error::corrupt("the root's lengths are too large"));
        }
        let tables = prints * PRINT_BYTES + branches * BRANCH_BYTES + hot * HOT_BYTES;
        if length != FIXED_BYTES + tables || checksum(&bytes[..length]) != word(bytes, 12) {
            return Err(Error::corrupt("the root's checksum does not agree"));
        }
        let (prints, rest) = bytes[FIXED_BYTES..length].split_at(prints * PRINT_BYTES);
        let (branches, hot) = rest.split_at(branches * BRANCH_BYTES);
        let root = Self {
            seq: long(bytes, 16),
            clean: word(bytes, 28) & CLEAN != 0,
            disk_id: id(bytes, 32),
            generation: id(bytes, 48),
            session: id(bytes, 64),
            size_bytes: long(bytes, 80),
            next_size_bytes: long(bytes, 88),
            block_bytes: word(bytes, 96),
            epoch: word(bytes, 100),
            segments: word(bytes, 104),
            stamp: long(bytes, 120),
            reason: std::str::from_utf8(&bytes[136..136 + reason_len])
                .unwrap_or("the reason cannot be read")
                .to_owned(),
            prints: prints.chunks_exact(PRINT_BYTES).map(print).collect(),
            branches: branches.chunks_exact(BRANCH_BYTES).map(branch).collect(),
            hot: hot.chunks_exact(HOT_BYTES).map(hot_record).collect(),
        };
        root.check()?;
        Ok(root)
    }

    /// Refuses what only a wrong writer makes; everything else relies on it.
    fn check(&self) -> Result<()> {
        let block = self.block_bytes;
        let pages = page_count(self.size_bytes, block.max(1));
        let hot = |hot: &Hot| {
            u64::from(hot.page) < pages
                && (1..=self.epoch).contains(&hot.since)
                && hot.parts != 0
                && hot.parts & !ALL_PARTS == 0
        };
        let branches_ordered = self
            .branches
            .windows(2)
            .all(|pair| pair[0].first_epoch <= pair[1].first_epoch);
        let sane = block.is_power_of_two()
            && (MIN_BLOCK_BYTES..=MAX_BLOCK_BYTES).contains(&block)
            && pages <= u64::from(u32::MAX)
            && page_count(self.next_size_bytes, block.max(1)) <= u64::from(u32::MAX)
            && self.epoch >= 1
            && u64::from(self.segments) <= segment_count(pages)
            && branches_ordered
            && self.branches.iter().all(|b| b.first_epoch <= self.epoch)
            && self.hot.iter().all(hot)
            && self.hot.windows(2).all(|pair| pair[0].page < pair[1].page)
            && self.seq.max(self.stamp) < u64::MAX / 2;
        if sane {
            return Ok(());
        }
        Err(Error::corrupt("the root contradicts itself"))
    }
}

/// Pages that a disk of this size needs.
pub(super) fn page_count(size_bytes: u64, block_bytes: u32) -> u64 {
    size_bytes
        .div_ceil(block_bytes.into())
        .div_ceil(ENTRIES as u64)
}

/// Segments that so many pages need.
pub(super) fn segment_count(pages: u64) -> u64 {
    pages.div_ceil(super::page::RECORDS as u64)
}

fn checksum(bytes: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&bytes[..12]);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    crc32c::crc32c_append(sum, &bytes[16..])
}

fn id(bytes: &[u8], at: usize) -> Uuid {
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[at..at + 16]);
    Uuid::from_bytes(id)
}

fn print(bytes: &[u8]) -> Print {
    let name = bytes[..12].iter().take_while(|&&byte| byte != 0);
    let mut digest = [0; 8];
    digest.copy_from_slice(&bytes[16..24]);
    Print {
        name: name.map(|&byte| char::from(byte & 0x7f)).collect(),
        lasting: word(bytes, 12) & 1 != 0,
        digest,
    }
}

fn branch(bytes: &[u8]) -> Branch {
    Branch {
        session: id(bytes, 0),
        first_epoch: word(bytes, 16),
    }
}

fn hot_record(bytes: &[u8]) -> Hot {
    Hot {
        page: word(bytes, 0),
        since: word(bytes, 4),
        parts: word(bytes, 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Root {
        Root {
            seq: 41,
            clean: true,
            disk_id: Uuid::from_u128(1),
            generation: Uuid::from_u128(2),
            session: Uuid::from_u128(3),
            size_bytes: 100 << 20,
            next_size_bytes: 100 << 20,
            block_bytes: 65536,
            epoch: 7,
            segments: 1,
            stamp: 99,
            reason: "the map is new".into(),
            prints: vec![Print {
                name: "mtime".into(),
                lasting: false,
                digest: [5; 8],
            }],
            branches: vec![Branch {
                session: Uuid::from_u128(3),
                first_epoch: 2,
            }],
            hot: vec![Hot {
                page: 3,
                since: 6,
                parts: 0b101,
            }],
        }
    }

    #[test]
    fn a_root_comes_back_and_every_damage_is_found() {
        let root = sample();
        let bytes = root.encode();
        assert_eq!(bytes.len(), PAGE_BYTES);
        assert_eq!(Root::decode(&bytes).unwrap(), root);
        for at in 0..word(&bytes, 24) as usize {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            Root::decode(&damaged).unwrap_err();
        }
        for end in 0..word(&bytes, 24) as usize {
            Root::decode(&bytes[..end]).unwrap_err();
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let wrong: [fn(&mut Root); 8] = [
            |root| root.block_bytes = 3 << 12,
            |root| root.epoch = 0,
            |root| root.segments = 2,
            |root| root.hot[0].page = 4,
            |root| root.hot[0].since = 8,
            |root| root.size_bytes = u64::MAX,
            |root| root.hot.push(root.hot[0]),
            |root| root.stamp = u64::MAX,
        ];
        for change in wrong {
            let mut root = sample();
            change(&mut root);
            Root::decode(&root.encode()).unwrap_err();
        }
    }
}
