//! What a point is. Its object begins with that; a copy stands beside, so that lists read no map.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::repo::{Repository, fetch};
use super::{corrupt, envelope};
use crate::disk::Result;

/// Folder of the copies.
const FOLDER: &str = "manifests";

/// What a point is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its id, which is also its object's name.
    pub id: String,
    /// The disk's name.
    pub disk: String,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// The point that it was made from; an increment does not need it to be restored.
    pub parent: Option<String>,
    /// Size of the disk.
    pub size_bytes: u64,
    /// The reference point that the next increment begins at.
    pub reference: Option<String>,
    /// Its digest, if the source told it: a name can be used again, this cannot.
    #[serde(default)]
    pub reference_digest: Option<String>,
    /// Bytes read from the disk.
    pub read_bytes: u64,
    /// Bytes put into packs.
    pub stored_bytes: u64,
    /// Bytes that the repository had already.
    pub deduplicated_bytes: u64,
}

/// The name of a point's object.
pub(super) fn point_name(id: &str) -> String {
    format!("snapshots/{id}")
}

/// The name of the copy of its manifest.
pub(super) fn copy_name(id: &str) -> String {
    format!("{FOLDER}/{id}")
}

/// The copies that a repository has: an earlier vmstorage wrote none.
#[derive(Debug, Default)]
pub(super) struct Copies(BTreeSet<String>);

impl Copies {
    pub(super) fn of(repo: &Repository) -> Self {
        // Nothing rests on them: what is not found here is read from the points.
        Self(
            repo.store
                .list(FOLDER)
                .unwrap_or_default()
                .into_iter()
                .collect(),
        )
    }

    /// Names of those whose point is not among `points`, which are names of objects.
    pub(super) fn without_point(self, points: &[String]) -> Vec<String> {
        let known: BTreeSet<String> = points
            .iter()
            .filter_map(|name| name.strip_prefix("snapshots/"))
            .map(copy_name)
            .collect();
        self.0
            .into_iter()
            .filter(|copy| !known.contains(copy))
            .collect()
    }

    /// The manifest of the point that is the object `name`, from its copy if there is a good one.
    pub(super) fn manifest(&self, repo: &Repository, name: &str) -> Result<Manifest> {
        let id = name.strip_prefix("snapshots/").unwrap_or(name);
        let copy = copy_name(id);
        if self.0.contains(&copy) {
            match read(repo, &copy, id) {
                Ok(manifest) => return Ok(manifest),
                Err(error) => tracing::warn!(%error, "the point is read instead"),
            }
        }
        Ok(repo.index(name)?.manifest)
    }

    /// The name of a point's copy and what is wrong with it, if something is.
    pub(super) fn problem(&self, repo: &Repository, point: &Manifest) -> Option<(String, String)> {
        let copy = copy_name(&point.id);
        if !self.0.contains(&copy) {
            return None;
        }
        let what = match read(repo, &copy, &point.id) {
            Ok(found) if found == *point => return None,
            Ok(_) => "it says other things than its point".to_owned(),
            Err(error) => error.to_string(),
        };
        Some((copy, what))
    }
}

/// Stores the copy, before the point.
pub(super) fn put_copy(repo: &Repository, manifest: &Manifest) -> Result<()> {
    let name = copy_name(&manifest.id);
    let body = serde_json::to_vec(manifest).map_err(|error| corrupt(&name, error))?;
    let object = envelope::wrap(repo.key.as_ref(), &name, body)?;
    repo.store.put(&name, &object)
}

fn read(repo: &Repository, name: &str, id: &str) -> Result<Manifest> {
    let object = fetch(&*repo.store, name)?;
    let body = envelope::unwrap(repo.key.as_ref(), name, &object)?;
    let manifest: Manifest = serde_json::from_slice(&body).map_err(|error| corrupt(name, error))?;
    match manifest.id == id {
        true => Ok(manifest),
        false => Err(corrupt(name, "it has another point's id")),
    }
}
