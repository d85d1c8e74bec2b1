//! A repository that is open.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::corrupt;
use super::envelope::{self, Digest, Key};
use super::index::{Chunk, Index, MAX_CHUNK_BYTES};
use super::manifest::{Copies, Manifest, point_name};
use super::store::Store;
use crate::disk::{Error, ErrorKind, Result};

const CONFIG: &str = "config";
/// Metadata longer than this is not read.
const MAX_OBJECT_BYTES: u64 = 4 << 30;

/// A repository: its store, its key, and what it was made with.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(super) store: Arc<dyn Store>,
    pub(super) key: Option<Key>,
    /// The chunks of a full backup, in bytes: a power of two.
    pub(super) chunk_bytes: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    chunk_bytes: u32,
    encrypted: bool,
    key_check: String,
}

/// The hexadecimal digits of a digest.
pub(super) fn hex(digest: &Digest) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

/// The name of a pack.
pub(super) fn pack_name(pack: &Digest) -> String {
    format!("packs/{}", hex(pack))
}

impl Repository {
    /// Makes a repository where none is.
    ///
    /// # Errors
    /// When there is one, for a chunk size that is not allowed, and of the store.
    pub fn create(store: Arc<dyn Store>, key: Option<Key>, chunk_bytes: u32) -> Result<Self> {
        let allowed =
            chunk_bytes.is_power_of_two() && (4096..=MAX_CHUNK_BYTES).contains(&chunk_bytes);
        if !allowed {
            let message = "chunks have a power of two between 4096 and 4194304 bytes";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let _lock = store.lock(true)?;
        if store.exists(CONFIG)? || !store.list("snapshots")?.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a repository is there already",
            ));
        }
        let config = Config {
            chunk_bytes,
            encrypted: key.is_some(),
            key_check: hex(&envelope::digest(key.as_ref(), b"check")),
        };
        let body = serde_json::to_vec(&config).map_err(|error| corrupt(CONFIG, error))?;
        store.put(CONFIG, &envelope::wrap(None, CONFIG, body)?)?;
        Ok(Self {
            store,
            key,
            chunk_bytes,
        })
    }

    /// Opens a repository, or makes one where nothing is.
    ///
    /// # Errors
    /// As [`Repository::open`] and [`Repository::create`].
    pub fn open_or_create(
        store: Arc<dyn Store>,
        key: Option<Key>,
        chunk_bytes: u32,
    ) -> Result<Self> {
        // A store that does not answer is not an empty one.
        match store.exists(CONFIG)? || !store.list("snapshots")?.is_empty() {
            true => Self::open(store, key),
            false => Self::create(store, key, chunk_bytes),
        }
    }

    /// The point that is meant by its id, by a unique beginning of it, by `latest`, or by
    /// `latest:DISK` where there are several disks.
    ///
    /// # Errors
    /// When none is, or several are.
    pub fn find(&self, text: &str) -> Result<Manifest> {
        let no = |what: String| Err(Error::new(ErrorKind::OutOfRange, what));
        let wanted = text.strip_prefix("latest:");
        if text == "latest" || wanted.is_some() {
            let mut points = self.list()?;
            points.retain(|point| wanted.is_none_or(|disk| point.disk == disk));
            let Some(last) = points.pop() else {
                return no(format!("there is no point `{text}` in the repository"));
            };
            return match points.iter().find(|point| point.disk != last.disk) {
                None => Ok(last),
                Some(other) => no(format!(
                    "`latest` is not unique: the repository has points of `{}` and `{}`; help: \
                     say `latest:{}`",
                    last.disk, other.disk, last.disk
                )),
            };
        }
        let names = self.snapshots()?;
        let prefix = point_name(text);
        let mut found = names.iter().filter(|name| name.starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(name), None) if !text.is_empty() => Copies::of(self).manifest(self, name),
            (Some(_), Some(_)) => no(format!("several points begin with `{text}`")),
            _ => no(format!(
                "no point begins with `{text}`; help: `vmstorage backup list` shows them"
            )),
        }
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// When none is there, it is damaged, or the key is not its key.
    pub fn open(store: Arc<dyn Store>, key: Option<Key>) -> Result<Self> {
        if !store.exists(CONFIG)? {
            if store
                .list("snapshots")
                .is_ok_and(|points| !points.is_empty())
            {
                let message = "it is missing; help: bring it back from a copy of the repository";
                return Err(corrupt(CONFIG, message));
            }
            let message = "no repository is there; help: the first `vmstorage backup run` makes it";
            return Err(Error::new(ErrorKind::Io, message));
        }
        let read = fetch(&*store, CONFIG)?;
        let body = envelope::unwrap(None, CONFIG, &read)?;
        let config: Config =
            serde_json::from_slice(&body).map_err(|error| corrupt(CONFIG, error))?;
        let wrong = match (config.encrypted, key.is_some()) {
            (true, false) => Some("the repository is encrypted; help: name its key"),
            (false, true) => Some("the repository is not encrypted; help: use it without a key"),
            _ if config.key_check != hex(&envelope::digest(key.as_ref(), b"check")) => {
                Some("the key is not the one of this repository")
            }
            _ => None,
        };
        if let Some(message) = wrong {
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let chunk_bytes = config.chunk_bytes;
        if !chunk_bytes.is_power_of_two() || !(4096..=MAX_CHUNK_BYTES).contains(&chunk_bytes) {
            return Err(corrupt(CONFIG, "its chunk size is not allowed"));
        }
        Ok(Self {
            store,
            key,
            chunk_bytes,
        })
    }

    /// Names of the points' objects.
    pub(super) fn snapshots(&self) -> Result<Vec<String>> {
        self.store.list("snapshots")
    }

    /// All points, the oldest first; of one that is damaged a warning says so.
    ///
    /// # Errors
    /// Of the store.
    pub fn list(&self) -> Result<Vec<Manifest>> {
        self.points(|name, error| {
            // It may have been pruned meanwhile.
            if self.store.exists(name)? {
                tracing::warn!(%error, "a point is left out");
            }
            Ok(())
        })
    }

    /// All points, the oldest first; `damaged` is told of others.
    pub(super) fn points(
        &self,
        damaged: impl Fn(&str, Error) -> Result<()>,
    ) -> Result<Vec<Manifest>> {
        let (names, copies) = (self.snapshots()?, Copies::of(self));
        let mut points = Vec::new();
        for name in &names {
            match copies.manifest(self, name) {
                Ok(point) => points.push(point),
                Err(error) => damaged(name, error)?,
            }
        }
        points.sort_by(|a, b| (a.time_ms, &a.id).cmp(&(b.time_ms, &b.id)));
        Ok(points)
    }

    pub(super) fn index(&self, name: &str) -> Result<Index> {
        let body = envelope::unwrap(self.key.as_ref(), name, &fetch(&*self.store, name)?)?;
        Index::decode(name, &body)
    }

    /// The plain bytes of a chunk, verified.
    pub(super) fn chunk(&self, chunk: &Chunk) -> Result<Vec<u8>> {
        let name = pack_name(&chunk.pack);
        let stored = self
            .store
            .read(&name, chunk.offset, chunk.stored as usize)?;
        self.open_chunk(chunk, &stored).ok_or_else(|| {
            let end = chunk.offset + u64::from(chunk.stored);
            corrupt(
                &name,
                format!("bytes {}..{end} are not what was stored", chunk.offset),
            )
        })
    }

    /// The plain bytes of a chunk from what is in its pack.
    pub(super) fn open_chunk(&self, chunk: &Chunk, stored: &[u8]) -> Option<Vec<u8>> {
        let packed = envelope::unseal(self.key.as_ref(), &chunk.digest, stored)?;
        let (codec, data) = packed.split_first()?;
        let plain = match codec {
            0 => data.to_vec(),
            1 => zstd::bulk::decompress(data, chunk.plain as usize).ok()?,
            _ => return None,
        };
        let right = plain.len() == chunk.plain as usize
            && envelope::digest(self.key.as_ref(), &plain) == chunk.digest;
        right.then_some(plain)
    }
}

/// All of an object.
pub(super) fn fetch(store: &dyn Store, name: &str) -> Result<Vec<u8>> {
    let len = store.len_bytes(name)?;
    if len > MAX_OBJECT_BYTES {
        return Err(corrupt(name, "it is longer than any that is written"));
    }
    store.read(name, 0, len as usize)
}
