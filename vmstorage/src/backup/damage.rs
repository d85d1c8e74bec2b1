//! What `verify` found damaged: no new point is built on it.
//!
//! Whether a chunk is still what was stored shows only when it is read, and a run does not read
//! what the repository has already. So what `verify` finds is kept, in the object `damaged`, until
//! a later one finds otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::envelope;
use super::index::{Chunk, Index};
use super::repo::{Repository, fetch, pack_name};
use super::verify::Problem;
use crate::disk::{Error, ErrorKind, Result};

const NAME: &str = "damaged";

/// Parts of packs that are not what was stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where chunks begin; with none, all of the pack.
    packs: BTreeMap<String, BTreeSet<u64>>,
}

impl Damage {
    /// What is wrong with packs, of all that is wrong.
    pub(super) fn of(problems: &[Problem]) -> Self {
        let mut packs: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut wholes = BTreeSet::new();
        for problem in problems
            .iter()
            .filter(|problem| problem.object.starts_with("packs/"))
        {
            let offsets = packs.entry(problem.object.clone()).or_default();
            match problem.bytes {
                Some((start, _)) => drop(offsets.insert(start)),
                None => drop(wholes.insert(&problem.object)),
            }
        }
        for pack in wholes {
            packs.insert(pack.clone(), BTreeSet::new());
        }
        Self { packs }
    }

    /// What was found last; nothing where nothing was.
    ///
    /// # Errors
    /// Of the store, and when the object is damaged itself.
    pub(super) fn load(repo: &Repository) -> Result<Self> {
        if !repo.store.exists(NAME)? {
            return Ok(Self::default());
        }
        let body = envelope::unwrap(repo.key.as_ref(), NAME, &fetch(&*repo.store, NAME)?)?;
        let packs = serde_json::from_slice(&body);
        let packs = packs.map_err(|error| {
            super::corrupt(NAME, error).context("`vmstorage backup verify` writes it anew")
        })?;
        Ok(Self { packs })
    }

    /// Keeps it for the runs to come.
    ///
    /// # Errors
    /// Of the store.
    pub(super) fn store(&self, repo: &Repository) -> Result<()> {
        if self.packs.is_empty() {
            return match repo.store.exists(NAME)? {
                true => repo.store.delete(NAME),
                false => Ok(()),
            };
        }
        let body = serde_json::to_vec(&self.packs).map_err(|error| super::corrupt(NAME, error))?;
        let object = envelope::wrap(repo.key.as_ref(), NAME, body)?;
        repo.store.put(NAME, &object)
    }

    /// Whether a chunk is not what was stored.
    pub(super) fn has(&self, chunk: &Chunk) -> bool {
        !self.packs.is_empty() && self.hits(&pack_name(&chunk.pack), chunk.offset)
    }

    fn hits(&self, pack: &str, offset: u64) -> bool {
        let found = self.packs.get(pack);
        found.is_some_and(|offsets| offsets.is_empty() || offsets.contains(&offset))
    }

    /// Refuses to build on a point of which a part is damaged.
    ///
    /// # Errors
    /// [`ErrorKind::FullNeeded`], with the pack.
    pub(super) fn check_parent(&self, parent: &Index) -> Result<()> {
        let Some(chunk) = parent.chunks.iter().find(|chunk| self.has(chunk)) else {
            return Ok(());
        };
        let (id, pack) = (&parent.manifest.id, pack_name(&chunk.pack));
        let message = format!(
            "a full backup is needed: a part of point {id}, which the increment would need, is \
             damaged in `{pack}`"
        );
        Err(Error::new(ErrorKind::FullNeeded, message))
    }
}
