//! Reading everything, to find what is wrong before it is needed.
//!
//! Packs first, each by its own footer; then points one by one, by what the packs turned out to
//! have. In memory are a pack, a point, 16 to 24 bytes for each chunk of the repository, and what
//! is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::damage::Damage;
use super::index::{Chunk, Index};
use super::known::prefix;
use super::lock::lock_to_read;
use super::manifest::Copies;
use super::pack;
use super::repo::{Repository, pack_name};
use super::table::Table;
use super::{Progress, envelope};
use crate::disk::{Extent, Result};

/// Something that is not as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// The bytes in it, if only some are wrong: the first, and the one after the last.
    pub bytes: Option<(u64, u64)>,
    /// What is wrong.
    pub what: String,
    /// The points that it hits, each with the disk's bytes.
    pub hits: Vec<(String, u64, u64)>,
}

/// Reads a repository, and answers everything that is wrong in it. `quick` does not read the data.
/// Told is how many bytes of the packs were looked at.
///
/// # Errors
/// When the store cannot list, or is being pruned.
pub fn verify(
    repo: &Repository,
    quick: bool,
    mut sink: impl FnMut(Progress),
) -> Result<Vec<Problem>> {
    let lock = lock_to_read(&*repo.store)?;
    let mut found = Found::default();
    let packs = repo.store.entries("packs")?;
    let mut progress = Progress {
        total_bytes: packs.iter().map(|(_, len)| len).sum(),
        ..Progress::default()
    };
    found.packs = packs.iter().map(|(name, _)| name.clone()).collect();
    for (name, len_bytes) in packs {
        if let Err(error) = found.pack(repo, (&name, len_bytes), quick) {
            found.whole(name, error.to_string());
        }
        progress.done_bytes += len_bytes;
        sink(progress);
    }
    let copies = Copies::of(repo);
    for name in repo.snapshots()? {
        match repo.index(&name) {
            Ok(index) => {
                found.point(&index);
                if let Some((name, what)) = copies.problem(repo, &index.manifest) {
                    found.whole(name, what);
                }
            }
            Err(error) => {
                let id = name.strip_prefix("snapshots/").unwrap_or(&name).to_owned();
                let number = found.whole(name, error.to_string());
                found.problems[number].hits.push((id, 0, u64::MAX));
            }
        }
    }
    found
        .problems
        .sort_by(|a, b| (&a.object, a.bytes).cmp(&(&b.object, b.bytes)));
    // A medium that cannot be written takes no new points either.
    if !quick
        && lock.is_some()
        && let Err(error) = Damage::of(&found.problems).store(repo)
    {
        tracing::warn!(%error, "what is damaged is not noted for later runs");
    }
    Ok(found.problems)
}

/// What was found so far.
#[derive(Default)]
struct Found {
    /// Fingerprints of the chunks that are where a footer says: both halves of 16 bytes.
    right: Table,
    /// Names of the packs that are there.
    packs: BTreeSet<String>,
    problems: Vec<Problem>,
    /// Numbers of problems of whole objects.
    wholes: BTreeMap<String, usize>,
    /// Numbers of problems of parts: by object and first byte.
    parts: BTreeMap<(String, u64, u64), usize>,
}

impl Found {
    fn pack(&mut self, repo: &Repository, pack: (&str, u64), quick: bool) -> Result<()> {
        let (name, len_bytes) = pack;
        if quick {
            for chunk in pack::footer(repo, name, len_bytes)? {
                self.insert(&chunk);
            }
            return Ok(());
        }
        let (data, right) = pack::whole(repo, name)?;
        let mut damaged = false;
        for chunk in pack::footer_in(repo, name, &data)? {
            let end = chunk.offset + u64::from(chunk.stored);
            let stored = data.get(chunk.offset as usize..end as usize);
            if stored
                .and_then(|stored| repo.open_chunk(&chunk, stored))
                .is_some()
            {
                self.insert(&chunk);
            } else {
                damaged = true;
                self.part(
                    name.into(),
                    (chunk.offset, end),
                    "a chunk is not what was stored",
                );
            }
        }
        if !right && !damaged {
            self.whole(
                name.into(),
                "bytes beside its chunks are not what was stored".into(),
            );
        }
        Ok(())
    }

    fn insert(&mut self, chunk: &Chunk) {
        let (key, value) = fingerprint(chunk);
        self.right.insert(key, value);
    }

    /// What of a point is not as it was stored.
    fn point(&mut self, point: &Index) {
        let wrong: Vec<Option<usize>> =
            point.chunks.iter().map(|chunk| self.chunk(chunk)).collect();
        for run in &point.runs {
            let Some(number) = wrong[run.chunk as usize] else {
                continue;
            };
            let Extent { offset_bytes, .. } = run.extent;
            let (id, end) = (&point.manifest.id, run.extent.end_bytes());
            let hits = &mut self.problems[number].hits;
            match hits.last_mut() {
                Some(last) if last.0 == *id && last.2 == offset_bytes => last.2 = end,
                _ => hits.push((id.clone(), offset_bytes, end)),
            }
        }
    }

    /// The problem that a chunk of a point has.
    fn chunk(&mut self, chunk: &Chunk) -> Option<usize> {
        let (key, value) = fingerprint(chunk);
        if self.right.values(key).any(|found| found == value) {
            // Only a pack whose other bytes are wrong has right chunks and a problem.
            return match self.wholes.is_empty() {
                true => None,
                false => self.wholes.get(&pack_name(&chunk.pack)).copied(),
            };
        }
        let name = pack_name(&chunk.pack);
        if let Some(number) = self.wholes.get(&name) {
            return Some(*number);
        }
        if !self.packs.contains(&name) {
            return Some(self.whole(name, "it is not there, and a point needs it".into()));
        }
        let bytes = (chunk.offset, chunk.offset + u64::from(chunk.stored));
        Some(self.part(name, bytes, "a chunk that a point needs is not there"))
    }

    fn whole(&mut self, object: String, what: String) -> usize {
        let number = self.problems.len();
        self.wholes.insert(object.clone(), number);
        self.problems.push(Problem {
            object,
            bytes: None,
            what,
            hits: Vec::new(),
        });
        number
    }

    fn part(&mut self, object: String, bytes: (u64, u64), what: &str) -> usize {
        let number = self.problems.len();
        let key = (object.clone(), bytes.0, bytes.1);
        let known = *self.parts.entry(key).or_insert(number);
        if known == number {
            self.problems.push(Problem {
                object,
                bytes: Some(bytes),
                what: what.into(),
                hits: Vec::new(),
            });
        }
        known
    }
}

/// 16 bytes of a digest of all that an entry says: two entries with one are the same.
fn fingerprint(chunk: &Chunk) -> (u64, u64) {
    let mut entry = Vec::with_capacity(80);
    chunk.encode(&mut entry);
    let digest = envelope::digest(None, &entry);
    let mut rest = digest;
    rest.rotate_left(8);
    // The highest value would be the table's mark of a free slot.
    (prefix(&digest), prefix(&rest) >> 1)
}
