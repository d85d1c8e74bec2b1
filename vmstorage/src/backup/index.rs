//! A point of a disk: what it is, and where its bytes are.

use super::corrupt;
use super::envelope::{DIGEST_BYTES, Digest};
use super::manifest::{Manifest, point_name};
use crate::disk::{Extent, Result};

/// The longest chunk, in bytes.
pub(super) const MAX_CHUNK_BYTES: u32 = 4 << 20;

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Digest of its plain bytes.
    pub(super) digest: Digest,
    /// Name of the pack.
    pub(super) pack: Digest,
    /// Where it begins in the pack.
    pub(super) offset: u64,
    /// Bytes in the pack.
    pub(super) stored: u32,
    /// Bytes when it is plain.
    pub(super) plain: u32,
}

/// A part of the disk that holds a part of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Where on the disk.
    pub(super) extent: Extent,
    /// The chunk's place in the table.
    pub(super) chunk: u32,
    /// Where in the chunk.
    pub(super) within: u32,
}

/// A point with its map; what no run covers is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) manifest: Manifest,
    pub(super) chunks: Vec<Chunk>,
    pub(super) runs: Vec<Run>,
}

/// Takes fields off the front of bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        self.array::<DIGEST_BYTES>()
    }
}

impl Chunk {
    /// Whether its pack is being filled, and has no name.
    pub(super) fn is_pending(&self) -> bool {
        self.pack == [0; DIGEST_BYTES]
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.digest);
        out.extend(self.pack);
        out.extend(self.offset.to_le_bytes());
        out.extend(self.stored.to_le_bytes());
        out.extend(self.plain.to_le_bytes());
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let chunk = Self {
            digest: from.digest()?,
            pack: from.digest()?,
            offset: from.u64()?,
            stored: from.u32()?,
            plain: from.u32()?,
        };
        let sane = chunk.plain > 0
            && chunk.plain <= MAX_CHUNK_BYTES
            && chunk.stored <= MAX_CHUNK_BYTES + 64
            && chunk.offset.checked_add(chunk.stored.into()).is_some();
        sane.then_some(chunk)
    }
}

impl Index {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let manifest = serde_json::to_vec(&self.manifest)
            .map_err(|error| corrupt(&self.manifest.id, error))?;
        let mut out = Vec::new();
        out.extend((manifest.len() as u32).to_le_bytes());
        out.extend(manifest);
        out.extend((self.chunks.len() as u32).to_le_bytes());
        for chunk in &self.chunks {
            chunk.encode(&mut out);
        }
        out.extend((self.runs.len() as u64).to_le_bytes());
        for run in &self.runs {
            out.extend(run.extent.offset_bytes.to_le_bytes());
            out.extend((run.extent.len_bytes as u32).to_le_bytes());
            out.extend(run.chunk.to_le_bytes());
            out.extend(run.within.to_le_bytes());
        }
        Ok(out)
    }

    pub(super) fn decode(name: &str, body: &[u8]) -> Result<Self> {
        let index = Self::parse(&mut Reader(body))
            .ok_or_else(|| corrupt(name, "its map is not well formed"))?;
        if name != point_name(&index.manifest.id) {
            return Err(corrupt(name, "it has another point's id"));
        }
        Ok(index)
    }

    fn parse(from: &mut Reader<'_>) -> Option<Self> {
        let len = from.u32()? as usize;
        let manifest: Manifest = serde_json::from_slice(from.bytes(len)?).ok()?;
        // Tables grow as their entries are seen, so that a count alone takes no memory.
        let (mut chunks, mut runs) = (Vec::new(), Vec::new());
        for _ in 0..from.u32()? {
            chunks.push(Chunk::decode(from)?);
        }
        let mut end = 0;
        for _ in 0..from.u64()? {
            let extent = Extent::new(from.u64()?, from.u32()?.into());
            let (chunk, within) = (from.u32()?, from.u32()?);
            let plain = chunks.get(chunk as usize)?.plain;
            let fits = u64::from(within) + extent.len_bytes <= u64::from(plain);
            if extent.offset_bytes < end || extent.len_bytes == 0 || !fits {
                return None;
            }
            end = extent.offset_bytes.checked_add(extent.len_bytes)?;
            runs.push(Run {
                extent,
                chunk,
                within,
            });
        }
        (end <= manifest.size_bytes && from.0.is_empty()).then_some(Self {
            manifest,
            chunks,
            runs,
        })
    }

    /// The runs from `offset` on, and the one that `offset` is in.
    pub(super) fn from(&self, offset: u64) -> &[Run] {
        let first = self
            .runs
            .partition_point(|run| run.extent.end_bytes() <= offset);
        &self.runs[first..]
    }
}
