//! Packs that are needed in part are written anew without the rest.
//!
//! Who reads sees each point as it was at any moment: the chunks are copied to new packs, which are
//! durable before a point names them; then every point is replaced, whole, by one whose map names
//! the new packs; then the old packs are removed. A repack that is cut off leaves packs that
//! nothing needs, or two that have the same chunks, and the next prune goes on from there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::envelope::{self, Digest};
use super::index::{Chunk, Index};
use super::manifest::point_name;
use super::pack::{self, Filling};
use super::repo::{Repository, pack_name};
use super::{Progress, corrupt};
use crate::disk::Result;

/// Chunks that are copied before points are replaced and old packs removed, at most but for one
/// pack: 100 MiB of memory.
const ROUND_CHUNKS: usize = 1 << 19;
/// And bytes: so much room is needed besides, at most.
const ROUND_BYTES: u64 = 4 << 30;

/// What points need: in each pack, where the chunks begin.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeMap<String, HashSet<u64>>);

/// A pack of which a good part is not needed.
#[derive(Debug)]
pub(super) struct Sparse {
    pub(super) name: String,
    /// Of chunks that no point needs.
    pub(super) unused_bytes: u64,
    needed_bytes: u64,
}

impl Used {
    /// Adds what a point needs.
    pub(super) fn add(&mut self, point: &Index) {
        let mut last: Option<(Digest, &mut HashSet<u64>)> = None;
        for chunk in &point.chunks {
            match &mut last {
                Some((pack, offsets)) if *pack == chunk.pack => {
                    offsets.insert(chunk.offset);
                }
                _ => {
                    let offsets = self.0.entry(pack_name(&chunk.pack)).or_default();
                    offsets.insert(chunk.offset);
                    last = Some((chunk.pack, offsets));
                }
            }
        }
    }

    /// Whether any of a pack is needed.
    pub(super) fn has(&self, pack: &str) -> bool {
        self.0.contains_key(pack)
    }

    /// The packs, each with its length in bytes, of which more than a part is not needed.
    pub(super) fn sparse(
        &self,
        repo: &Repository,
        packs: &[(String, u64)],
        max_unused_percent: u8,
    ) -> Vec<Sparse> {
        if max_unused_percent >= 100 {
            return Vec::new();
        }
        let read = packs.iter().filter_map(|(name, len_bytes)| {
            let seen =
                pack::footer(repo, name, *len_bytes).and_then(|chunks| self.split(name, chunks));
            match seen {
                Ok((needed, unused)) => {
                    let (needed_bytes, unused_bytes) = (stored(&needed), stored(&unused));
                    let all = u128::from(needed_bytes) + u128::from(unused_bytes);
                    let allowed = all * u128::from(max_unused_percent);
                    (u128::from(unused_bytes) * 100 > allowed).then(|| Sparse {
                        name: name.clone(),
                        unused_bytes,
                        needed_bytes,
                    })
                }
                // It is no worse where it is; `verify` tells what it hits.
                Err(error) => {
                    tracing::warn!(%error, "the pack is left as it is");
                    None
                }
            }
        });
        read.collect()
    }

    /// The chunks of a pack that points need, and the others.
    fn split(&self, name: &str, chunks: Vec<Chunk>) -> Result<(Vec<Chunk>, Vec<Chunk>)> {
        let offsets = self.0.get(name).map(HashSet::len).unwrap_or_default();
        let is_needed = |chunk: &Chunk| {
            let offsets = self.0.get(name);
            offsets.is_some_and(|offsets| offsets.contains(&chunk.offset))
        };
        let (needed, unused): (Vec<_>, Vec<_>) = chunks.into_iter().partition(is_needed);
        let found: HashSet<u64> = needed.iter().map(|chunk| chunk.offset).collect();
        if found.len() != needed.len() || found.len() != offsets {
            return Err(corrupt(
                name,
                "its footer has other chunks than points need",
            ));
        }
        Ok((needed, unused))
    }
}

fn stored(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.stored)).sum()
}

/// Writes what is needed of packs anew, has the points that are `kept` name it there, and removes
/// the packs.
///
/// # Errors
/// Of the store. Points are what they were, whenever it fails.
pub(super) fn repack(
    repo: &Repository,
    kept: &BTreeSet<String>,
    used: &Used,
    packs: &[Sparse],
    mut sink: impl FnMut(Progress),
) -> Result<()> {
    let mut progress = Progress {
        total_bytes: packs.iter().map(|pack| pack.needed_bytes).sum(),
        ..Progress::default()
    };
    let mut round = Round::default();
    for pack in packs {
        match read(repo, used, &pack.name) {
            Ok(chunks) => round.copy(repo, &pack.name, chunks)?,
            Err(error) => tracing::warn!(%error, "the pack is left as it is"),
        }
        progress.done_bytes += pack.needed_bytes;
        sink(progress);
        if round.is_full() {
            std::mem::take(&mut round).end(repo, kept)?;
        }
    }
    round.end(repo, kept)
}

/// The chunks that are needed of a pack and their bytes, all of which are right.
fn read(repo: &Repository, used: &Used, name: &str) -> Result<(Vec<Chunk>, Vec<u8>)> {
    let (data, _) = pack::whole(repo, name)?;
    let (needed, _) = used.split(name, pack::footer_in(repo, name, &data)?)?;
    for chunk in &needed {
        let bytes = bytes_of(chunk, &data);
        if bytes
            .and_then(|bytes| repo.open_chunk(chunk, bytes))
            .is_none()
        {
            let end = chunk.offset + u64::from(chunk.stored);
            let what = format!("bytes {}..{end} are not what was stored", chunk.offset);
            return Err(corrupt(name, what));
        }
    }
    Ok((needed, data))
}

fn bytes_of<'a>(chunk: &Chunk, pack: &'a [u8]) -> Option<&'a [u8]> {
    let start = usize::try_from(chunk.offset).ok()?;
    pack.get(start..start.checked_add(chunk.stored as usize)?)
}

/// Where a chunk was: its pack, and the offset there.
type Place = (Digest, u64);

/// Packs that are written anew together.
#[derive(Debug, Default)]
struct Round {
    filling: Filling,
    /// Where the chunks of the pack that is being filled were.
    from: Vec<Place>,
    /// Where chunks are that were stored.
    moved: HashMap<Place, Chunk>,
    bytes: u64,
    /// Names of the packs they were in.
    old: Vec<String>,
}

impl Round {
    fn copy(
        &mut self,
        repo: &Repository,
        name: &str,
        (chunks, data): (Vec<Chunk>, Vec<u8>),
    ) -> Result<()> {
        for chunk in chunks {
            // As it is stored it is bound to its digest only, not to its place.
            let Some(bytes) = bytes_of(&chunk, &data) else {
                return Err(corrupt(name, "it ends too early"));
            };
            self.filling.add(chunk.digest, chunk.plain, bytes);
            self.from.push((chunk.pack, chunk.offset));
            self.bytes += u64::from(chunk.stored);
            if self.filling.is_full() {
                self.store(repo)?;
            }
        }
        self.old.push(name.to_owned());
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.moved.len() >= ROUND_CHUNKS || self.bytes >= ROUND_BYTES
    }

    fn store(&mut self, repo: &Repository) -> Result<()> {
        let filling = std::mem::take(&mut self.filling);
        if !filling.chunks.is_empty() {
            let stored = filling.store(repo)?;
            self.moved.extend(self.from.drain(..).zip(stored));
        }
        Ok(())
    }

    /// Replaces the points, and removes the old packs.
    fn end(mut self, repo: &Repository, kept: &BTreeSet<String>) -> Result<()> {
        self.store(repo)?;
        if self.old.is_empty() {
            return Ok(());
        }
        for id in kept {
            self.replace(repo, &point_name(id))?;
        }
        let new: HashSet<String> = self
            .moved
            .values()
            .map(|chunk| pack_name(&chunk.pack))
            .collect();
        for name in self.old.iter().filter(|name| !new.contains(*name)) {
            repo.store.delete(name)?;
        }
        Ok(())
    }

    /// Has a point name the new packs.
    fn replace(&self, repo: &Repository, name: &str) -> Result<()> {
        let mut index = repo.index(name)?;
        let mut changed = false;
        for chunk in &mut index.chunks {
            let Some(new) = self.moved.get(&(chunk.pack, chunk.offset)) else {
                continue;
            };
            let same = (new.digest, new.stored, new.plain);
            if same != (chunk.digest, chunk.stored, chunk.plain) {
                let pack = pack_name(&chunk.pack);
                let what = format!("`{pack}` has another chunk at {}", chunk.offset);
                return Err(corrupt(name, what));
            }
            *chunk = *new;
            changed = true;
        }
        if changed {
            let object = envelope::wrap(repo.key.as_ref(), name, index.encode()?)?;
            repo.store.put(name, &object)?;
        }
        Ok(())
    }
}
