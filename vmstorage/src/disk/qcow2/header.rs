//! The header and its extensions (qcow2 specification, "Header").

use super::layout::Layout;
use crate::disk::{Error, ErrorKind, Result};

/// What an image begins with.
pub(super) const MAGIC: u32 = 0x5146_49fb;
/// Bytes that are written together: no power loss leaves a part of them.
pub(super) const SECTOR_BYTES: usize = 512;
/// Length of the header of version 2.
const V2_BYTES: usize = 72;
/// Least length of the header of version 3.
const V3_BYTES: usize = 104;
/// Most entries of an L1 table (32 MiB of them, as in QEMU).
const MAX_L1_ENTRIES: u32 = (32 << 20) / 8;
/// Largest refcount table, as in QEMU.
pub(super) const MAX_REFTABLE_BYTES: u64 = 8 << 20;
/// Most snapshots, as in QEMU.
const MAX_SNAPSHOTS: u32 = 65_536;

/// Incompatible: reference counts may be wrong.
pub(super) const DIRTY: u64 = 1;
/// Incompatible: something is wrong, nothing may be written.
pub(super) const CORRUPT: u64 = 2;
/// Incompatible: data is in another file.
pub(super) const EXTERNAL_DATA: u64 = 4;
/// Incompatible: compressed clusters are not zlib's.
pub(super) const COMPRESSION_TYPE: u64 = 8;
/// Incompatible: L2 entries have subclusters.
pub(super) const EXTENDED_L2: u64 = 16;
/// Compatible: reference counts may be written late.
pub(super) const LAZY_REFCOUNTS: u64 = 1;
/// Autoclear: the bitmaps belong to the content.
pub(super) const BITMAPS: u64 = 1;

/// Extensions: the end of them.
pub(super) const END: u32 = 0;
/// Extensions: the backing file's format.
pub(super) const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Extensions: names of features.
pub(super) const FEATURE_NAMES: u32 = 0x6803_f857;
/// Extensions: where bitmaps are.
pub(super) const BITMAPS_EXTENSION: u32 = 0x2385_2875;
/// Extensions: nothing, skipped; ours ("Rpad"). It covers a part of the first cluster that an older
/// version of the extensions is in.
pub(super) const PADDING: u32 = 0x5270_6164;

/// Extensions that the format defines, and ours for skipping.
pub(super) const RESERVED: [u32; 7] = [
    END,
    BACKING_FORMAT,
    FEATURE_NAMES,
    BITMAPS_EXTENSION,
    0x0537_be77,
    0x4441_5441,
    PADDING,
];

/// How compressed clusters were compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Raw deflate.
    #[default]
    Zlib,
    /// Zstandard.
    Zstd,
}

/// A header extension; what it holds is kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) id: u32,
    pub(super) data: Vec<u8>,
}

/// The header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    pub(super) size_bytes: u64,
    pub(super) crypt_method: u32,
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    pub(super) reftable_offset: u64,
    pub(super) reftable_clusters: u32,
    pub(super) snapshots: u32,
    pub(super) snapshots_offset: u64,
    pub(super) incompatible: u64,
    pub(super) compatible: u64,
    pub(super) autoclear: u64,
    pub(super) refcount_order: u32,
    pub(super) compression: Compression,
    /// What follows the fields that are known, up to the header's length.
    pub(super) unknown_fields: Vec<u8>,
    pub(super) extensions: Vec<Extension>,
    pub(super) backing: Option<String>,
    /// Where the extensions are in the file, after a padding.
    pub(super) tail_at: usize,
    /// The first byte after extensions and name as they are in the file.
    pub(super) end: usize,
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

fn corrupt<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::corrupt(what))
}

impl Header {
    /// The cluster size of an image, of its first 72 bytes.
    pub(super) fn peek_cluster_bits(bytes: &[u8]) -> Result<u32> {
        if bytes.len() < V2_BYTES || be32(bytes, 0) != MAGIC {
            return corrupt("it does not begin as a qcow2 image does");
        }
        let version = be32(bytes, 4);
        if !(2..=3).contains(&version) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("version {version} is not known, only 2 and 3"),
            ));
        }
        let bits = be32(bytes, 20);
        if !(9..=21).contains(&bits) {
            return corrupt(format!("cluster bits at 0x14 are {bits}, not 9 to 21"));
        }
        Ok(bits)
    }

    /// Reads the header of an image's first cluster.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let cluster_bits = Self::peek_cluster_bits(bytes)?;
        let mut header = Self {
            version: be32(bytes, 4),
            cluster_bits,
            size_bytes: be64(bytes, 24),
            crypt_method: be32(bytes, 32),
            l1_entries: be32(bytes, 36),
            l1_offset: be64(bytes, 40),
            reftable_offset: be64(bytes, 48),
            reftable_clusters: be32(bytes, 56),
            snapshots: be32(bytes, 60),
            snapshots_offset: be64(bytes, 64),
            incompatible: 0,
            compatible: 0,
            autoclear: 0,
            refcount_order: 4,
            compression: Compression::Zlib,
            unknown_fields: Vec::new(),
            extensions: Vec::new(),
            backing: None,
            tail_at: 0,
            end: 0,
        };
        let mut header_bytes = V2_BYTES;
        if header.version >= 3 {
            header_bytes = header.parse_v3(bytes)?;
        }
        header.parse_backing(bytes)?;
        header.parse_extensions(bytes, header_bytes)?;
        header.check()?;
        Ok(header)
    }

    fn parse_v3(&mut self, bytes: &[u8]) -> Result<usize> {
        if bytes.len() < V3_BYTES {
            return corrupt("the file ends within the header");
        }
        self.incompatible = be64(bytes, 72);
        self.compatible = be64(bytes, 80);
        self.autoclear = be64(bytes, 88);
        self.refcount_order = be32(bytes, 96);
        let len = be32(bytes, 100) as usize;
        if len < V3_BYTES || len > bytes.len() || !len.is_multiple_of(8) {
            return corrupt(format!("the header's length at 0x64 is {len}"));
        }
        self.unknown_fields = bytes[V3_BYTES..len].to_vec();
        let kind = self.unknown_fields.first().copied().unwrap_or(0);
        let stated = self.incompatible & COMPRESSION_TYPE != 0;
        self.compression = match (kind, stated) {
            (0, false) => Compression::Zlib,
            (1, true) => Compression::Zstd,
            _ => {
                return corrupt(format!(
                    "the compression type at 0x68 is {kind}, which is wrong"
                ));
            }
        };
        Ok(len)
    }

    fn parse_backing(&mut self, bytes: &[u8]) -> Result<()> {
        let (offset, len) = (be64(bytes, 8), be32(bytes, 16) as usize);
        if offset == 0 {
            return Ok(());
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        if len > 1023 || end > bytes.len() {
            return corrupt(format!(
                "the backing file's name of {len} bytes at {offset:#x} is not in the first cluster"
            ));
        }
        let Ok(name) = std::str::from_utf8(&bytes[start..end]) else {
            return corrupt(format!(
                "the backing file's name at {offset:#x} is not UTF-8"
            ));
        };
        if len > 0 {
            self.backing = Some(name.to_owned());
        }
        self.end = end;
        Ok(())
    }

    fn parse_extensions(&mut self, bytes: &[u8], from: usize) -> Result<()> {
        let backing = be64(bytes, 8) as usize;
        let limit = if backing == 0 { bytes.len() } else { backing };
        let mut at = from;
        self.tail_at = from;
        while at + 8 <= limit {
            let (id, len) = (be32(bytes, at), be32(bytes, at + 4) as usize);
            if id == END {
                at += 8;
                break;
            }
            if len > limit - at - 8 {
                return corrupt(format!(
                    "the header extension {id:#x} at {at:#x} is too long"
                ));
            }
            let data = bytes[at + 8..at + 8 + len].to_vec();
            at += 8 + len.next_multiple_of(8);
            if id == PADDING {
                self.tail_at = at;
            } else {
                self.extensions.push(Extension { id, data });
            }
        }
        self.end = self.end.max(at.min(bytes.len()));
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let unsupported = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
        let known = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;
        let unknown = self.incompatible & !known;
        if unknown != 0 {
            let bit = unknown.trailing_zeros();
            return unsupported(match self.feature_name(bit) {
                Some(name) => format!("the image needs the feature `{name}` (bit {bit})"),
                None => format!("the image needs the unknown feature of bit {bit}"),
            });
        }
        if self.crypt_method != 0 {
            return unsupported("encrypted images are not supported".into());
        }
        if self.incompatible & EXTERNAL_DATA != 0 {
            return unsupported("images with an external data file are not supported".into());
        }
        if self.refcount_order > 6 {
            return corrupt(format!(
                "the refcount order at 0x60 is {}",
                self.refcount_order
            ));
        }
        if self.layout().extended && self.cluster_bits < 14 {
            return corrupt("extended L2 entries need clusters of 16 KiB at least");
        }
        let layout = self.layout();
        let aligned = |offset: u64| layout.in_cluster(offset) == 0;
        if self.l1_entries > MAX_L1_ENTRIES
            || layout.l1_entries(self.size_bytes) > u64::from(self.l1_entries)
            || !aligned(self.l1_offset)
        {
            return corrupt(format!(
                "the L1 table of {} entries at {:#x} is wrong for a disk of {} bytes",
                self.l1_entries, self.l1_offset, self.size_bytes
            ));
        }
        if self.reftable_bytes() > MAX_REFTABLE_BYTES.max(layout.cluster_bytes())
            || !aligned(self.reftable_offset)
            || self.reftable_offset == 0
            || self.reftable_clusters == 0
        {
            return corrupt(format!(
                "the refcount table of {} clusters at {:#x} is wrong",
                self.reftable_clusters, self.reftable_offset
            ));
        }
        if self.snapshots > MAX_SNAPSHOTS || !aligned(self.snapshots_offset) {
            return corrupt(format!(
                "the table of {} snapshots at {:#x} is wrong",
                self.snapshots, self.snapshots_offset
            ));
        }
        Ok(())
    }

    fn feature_name(&self, bit: u32) -> Option<String> {
        let table = self.extension(FEATURE_NAMES)?;
        let entry = table
            .chunks_exact(48)
            .find(|entry| entry[0] == 0 && u32::from(entry[1]) == bit)?;
        let name: Vec<u8> = entry[2..].iter().copied().take_while(|b| *b != 0).collect();
        let printable: String = String::from_utf8_lossy(&name)
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        Some(printable)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout {
            version: self.version,
            cluster_bits: self.cluster_bits,
            refcount_order: self.refcount_order,
            extended: self.incompatible & EXTENDED_L2 != 0,
        }
    }

    pub(super) fn reftable_bytes(&self) -> u64 {
        u64::from(self.reftable_clusters) << self.cluster_bits
    }

    pub(super) fn extension(&self, id: u32) -> Option<&[u8]> {
        let found = self
            .extensions
            .iter()
            .find(|extension| extension.id == id)?;
        Some(&found.data)
    }

    /// Sets an extension, or takes it away.
    pub(super) fn set_extension(&mut self, id: u32, data: Option<Vec<u8>>) {
        match (self.extensions.iter().position(|e| e.id == id), data) {
            (Some(at), Some(data)) => self.extensions[at].data = data,
            (Some(at), None) => {
                self.extensions.remove(at);
            }
            (None, Some(data)) => self.extensions.push(Extension { id, data }),
            (None, None) => {}
        }
    }

    pub(super) fn header_bytes(&self) -> usize {
        match self.version {
            2 => V2_BYTES,
            _ => V3_BYTES + self.unknown_fields.len(),
        }
    }

    /// The fields, with the name of the backing file at `name_at`.
    pub(super) fn fields(&self, name_at: usize) -> Vec<u8> {
        let name_bytes = self.backing.as_ref().map_or(0, String::len);
        let mut out = Vec::with_capacity(self.header_bytes());
        let put32 = |out: &mut Vec<u8>, word: u32| out.extend(word.to_be_bytes());
        let put64 = |out: &mut Vec<u8>, word: u64| out.extend(word.to_be_bytes());
        put32(&mut out, MAGIC);
        put32(&mut out, self.version);
        put64(&mut out, if name_bytes == 0 { 0 } else { name_at as u64 });
        put32(&mut out, name_bytes as u32);
        put32(&mut out, self.cluster_bits);
        put64(&mut out, self.size_bytes);
        put32(&mut out, self.crypt_method);
        put32(&mut out, self.l1_entries);
        put64(&mut out, self.l1_offset);
        put64(&mut out, self.reftable_offset);
        put32(&mut out, self.reftable_clusters);
        put32(&mut out, self.snapshots);
        put64(&mut out, self.snapshots_offset);
        if self.version >= 3 {
            put64(&mut out, self.incompatible);
            put64(&mut out, self.compatible);
            put64(&mut out, self.autoclear);
            put32(&mut out, self.refcount_order);
            put32(&mut out, self.header_bytes() as u32);
            out.extend(&self.unknown_fields);
        }
        out
    }

    /// Extensions and name as they follow the fields, or a padding, at `at`; where the name is.
    pub(super) fn tail(&self, at: usize) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        for extension in &self.extensions {
            out.extend(extension.id.to_be_bytes());
            out.extend((extension.data.len() as u32).to_be_bytes());
            out.extend(&extension.data);
            out.resize(out.len().next_multiple_of(8), 0);
        }
        out.extend([0; 8]);
        let name_at = at + out.len();
        out.extend(self.backing.as_deref().unwrap_or_default().as_bytes());
        (out, name_at)
    }

    /// Where the name is in the file now, of the first sector as it was read.
    pub(super) fn name_at(sector: &[u8]) -> usize {
        be64(sector, 8) as usize
    }
}
