//! Packs: chunks one after the other, then a footer that lists them, its length and a magic.

use super::corrupt;
use super::envelope::{self, Digest};
use super::index::{Chunk, Reader};
use super::repo::{Repository, fetch, pack_name};
use crate::disk::Result;

/// A pack is stored when it has this many bytes.
const PACK_BYTES: usize = 16 << 20;
/// Or this many chunks, which bounds a footer to 5 MiB.
const PACK_CHUNKS: usize = 1 << 16;
/// Footers longer than this are not read: 80 bytes for each chunk, and an envelope.
const MAX_FOOTER_BYTES: u64 = PACK_CHUNKS as u64 * 80 + 4096;
const MAGIC: &[u8; 8] = b"RVPACK01";
const FOOTER: &str = "pack footer";
const TAIL: usize = 16;
/// Bytes at the end of a pack that have its footer most times: one request to a bucket.
const GUESS: u64 = 64 << 10;

/// A pack that is being filled.
#[derive(Debug, Default)]
pub(super) struct Filling {
    pub(super) data: Vec<u8>,
    /// Their pack is not known yet, and zero.
    pub(super) chunks: Vec<Chunk>,
}

impl Filling {
    /// Appends a chunk.
    pub(super) fn add(&mut self, digest: Digest, plain: u32, stored: &[u8]) -> Chunk {
        let chunk = Chunk {
            digest,
            pack: [0; 32],
            offset: self.data.len() as u64,
            stored: stored.len() as u32,
            plain,
        };
        self.chunks.push(chunk);
        self.data.extend_from_slice(stored);
        chunk
    }

    /// Whether it is to be stored.
    pub(super) fn is_full(&self) -> bool {
        self.data.len() >= PACK_BYTES || self.chunks.len() >= PACK_CHUNKS
    }

    /// Stores it durably; answers its chunks, which have its name now.
    pub(super) fn store(mut self, repo: &Repository) -> Result<Vec<Chunk>> {
        let mut footer = Vec::new();
        for chunk in &self.chunks {
            chunk.encode(&mut footer);
        }
        let footer = envelope::wrap(repo.key.as_ref(), FOOTER, footer)?;
        self.data.extend(&footer);
        self.data.extend((footer.len() as u64).to_le_bytes());
        self.data.extend(MAGIC);
        let pack = envelope::digest(repo.key.as_ref(), &self.data);
        repo.store.put(&pack_name(&pack), &self.data)?;
        for chunk in &mut self.chunks {
            chunk.pack = pack;
        }
        Ok(self.chunks)
    }
}

/// The digest that a pack's name says.
pub(super) fn digest_of(name: &str) -> Result<Digest> {
    let hex = name.strip_prefix("packs/").unwrap_or(name);
    let hash = blake3::Hash::from_hex(hex).map_err(|_| corrupt(name, "it is not a pack's name"))?;
    Ok(*hash.as_bytes())
}

/// The chunks that a pack of `len` bytes says it has. Whether they are right shows when they are
/// read.
pub(super) fn footer(repo: &Repository, name: &str, len: u64) -> Result<Vec<Chunk>> {
    let from = len.saturating_sub(GUESS);
    let end = repo.store.read(name, from, (len - from) as usize)?;
    let (at, footer_end) = footer_at(name, len, &end)?;
    let longer = match at.checked_sub(from) {
        Some(skip) => return chunks(repo, name, end.get(skip as usize..), footer_end, at),
        None => repo.store.read(name, at, (footer_end - at) as usize)?,
    };
    chunks(repo, name, Some(&longer), footer_end, at)
}

/// The chunks that a pack says it has, of which `data` is all.
pub(super) fn footer_in(repo: &Repository, name: &str, data: &[u8]) -> Result<Vec<Chunk>> {
    let (at, end) = footer_at(name, data.len() as u64, data)?;
    chunks(repo, name, data.get(at as usize..), end, at)
}

/// Where the footer of a pack of `len` bytes begins and ends; `last` are its last bytes.
fn footer_at(name: &str, len: u64, last: &[u8]) -> Result<(u64, u64)> {
    let short = || corrupt(name, "it ends too early");
    let (_, tail) = last.split_last_chunk::<TAIL>().ok_or_else(short)?;
    let mut reader = Reader(tail);
    let footer_len = reader.u64().ok_or_else(short)?;
    if reader.0 != MAGIC {
        return Err(corrupt(name, "it does not end as a pack does"));
    }
    if footer_len > MAX_FOOTER_BYTES {
        return Err(corrupt(
            name,
            "its footer is longer than any that is written",
        ));
    }
    let end = len.checked_sub(TAIL as u64).ok_or_else(short)?;
    Ok((end.checked_sub(footer_len).ok_or_else(short)?, end))
}

/// The chunks of a footer from `at` to `end` in the pack; `bytes` begin with it.
fn chunks(
    repo: &Repository,
    name: &str,
    bytes: Option<&[u8]>,
    end: u64,
    at: u64,
) -> Result<Vec<Chunk>> {
    let pack = digest_of(name)?;
    let footer = bytes.and_then(|bytes| bytes.get(..(end - at) as usize));
    let footer = footer.ok_or_else(|| corrupt(name, "it ends too early"))?;
    let body = envelope::unwrap(repo.key.as_ref(), FOOTER, footer)?;
    let (mut reader, mut chunks) = (Reader(&body), Vec::new());
    while !reader.0.is_empty() {
        let chunk = Chunk::decode(&mut reader)
            .filter(|chunk| chunk.offset + u64::from(chunk.stored) <= at)
            .ok_or_else(|| corrupt(name, "its footer is not well formed"))?;
        chunks.push(Chunk { pack, ..chunk });
    }
    Ok(chunks)
}

/// All of a pack, if its bytes are those that its name is the digest of.
pub(super) fn whole(repo: &Repository, name: &str) -> Result<(Vec<u8>, bool)> {
    let data = fetch(&*repo.store, name)?;
    let right = envelope::digest(repo.key.as_ref(), &data) == digest_of(name)?;
    Ok((data, right))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::backup::store::Local;

    #[test]
    fn a_footer_that_says_it_is_as_long_as_a_huge_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Local::create(folder.path()).unwrap());
        let repo = Repository::create(store, None, 65_536).unwrap();
        let name = pack_name(&[7; 32]);
        let len = 1 << 42;
        let file = File::create(folder.path().join(&name)).unwrap();
        file.set_len(len).unwrap();
        for footer_len in [len - TAIL as u64, 64 << 20] {
            let tail = [&footer_len.to_le_bytes()[..], MAGIC].concat();
            file.write_all_at(&tail, len - TAIL as u64).unwrap();
            let error = footer(&repo, &name, len).unwrap_err().to_string();
            assert!(error.contains("longer than any"), "{error}");
        }
    }
}
