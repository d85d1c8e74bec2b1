//! Reading everything, to find what is wrong before it is needed.

use std::collections::{BTreeMap, BTreeSet};

use super::corrupt;
use super::index::{Chunk, Index};
use super::pack;
use super::repo::{Repository, pack_name};
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
///
/// # Errors
/// When the store cannot list, or is being pruned.
pub fn verify(repo: &Repository, quick: bool) -> Result<Vec<Problem>> {
    let _lock = repo.store.lock(false)?;
    let (mut problems, mut points) = (Vec::new(), Vec::new());
    for name in repo.snapshots()? {
        match repo.index(&name) {
            Ok(index) => points.push(index),
            Err(error) => problems.push(Problem {
                hits: vec![(name.clone(), 0, u64::MAX)],
                object: name,
                bytes: None,
                what: error.to_string(),
            }),
        }
    }
    let mut packs: BTreeSet<String> = repo.store.list("packs")?.into_iter().collect();
    let named = points.iter().flat_map(|point| &point.chunks);
    packs.extend(named.map(|chunk| pack_name(&chunk.pack)));
    for name in packs {
        if let Err(error) = check_pack(repo, &name, quick, &points, &mut problems) {
            let all = |chunk: &Chunk| pack_name(&chunk.pack) == name;
            problems.push(Problem {
                hits: hits(&points, all),
                bytes: None,
                what: error.to_string(),
                object: name,
            });
        }
    }
    Ok(problems)
}

fn check_pack(
    repo: &Repository,
    name: &str,
    quick: bool,
    points: &[Index],
    problems: &mut Vec<Problem>,
) -> Result<()> {
    if quick {
        return pack::footer(repo, name).map(drop);
    }
    let (data, right) = pack::whole(repo, name)?;
    let digest = pack::digest_of(name)?;
    let mut chunks = BTreeMap::new();
    for chunk in points.iter().flat_map(|point| &point.chunks) {
        if chunk.pack == digest {
            chunks.insert((chunk.offset, chunk.digest), *chunk);
        }
    }
    let before = problems.len();
    for chunk in chunks.into_values() {
        let end = chunk.offset + u64::from(chunk.stored);
        let stored = data.get(chunk.offset as usize..end as usize);
        if stored
            .and_then(|stored| repo.open_chunk(&chunk, stored))
            .is_none()
        {
            problems.push(Problem {
                object: name.into(),
                bytes: Some((chunk.offset, end)),
                what: "a chunk is not what was stored".into(),
                hits: hits(points, |other| other == &chunk),
            });
        }
    }
    if !right && problems.len() == before {
        return Err(corrupt(
            name,
            "bytes that no point uses, or its footer, are wrong",
        ));
    }
    Ok(())
}

/// Which points' bytes are in chunks that were chosen; neighbours are one.
fn hits(points: &[Index], chosen: impl Fn(&Chunk) -> bool) -> Vec<(String, u64, u64)> {
    let mut hits: Vec<(String, u64, u64)> = Vec::new();
    for point in points {
        let bad: Vec<bool> = point.chunks.iter().map(&chosen).collect();
        for run in point.runs.iter().filter(|run| bad[run.chunk as usize]) {
            let Extent { offset_bytes, .. } = run.extent;
            let end = run.extent.end_bytes();
            let id = &point.manifest.id;
            match hits.last_mut() {
                Some(last) if last.0 == *id && last.2 == offset_bytes => last.2 = end,
                _ => hits.push((id.clone(), offset_bytes, end)),
            }
        }
    }
    hits
}
