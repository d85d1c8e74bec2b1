//! Making a point: read what changed, store what is new, then name it all in one object.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt as _;
use zstd::bulk::Compressor;

use super::damage::Damage;
use super::draft::Draft;
use super::envelope::{self, Digest};
use super::index::{Chunk, Index};
use super::known::Known;
use super::manifest::{Copies, Manifest, point_name, put_copy};
use super::pack::Filling;
use super::repo::Repository;
use crate::disk::{Disk, Error, ErrorKind, Extent, Result, copy};
use crate::engine::{IoBuf, IoBufMut, Task, spawn, unblock};

/// Reads at once, as many as keep a disk busy;
const READS: usize = 64;
/// of chunks that are large fewer.
const READ_BYTES: usize = 16 << 20;
/// Batches of what was read that are compressed at once.
const BATCHES: usize = 4;

/// What is backed up.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The disk's name in the repository.
    pub disk: String,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// The point that `changed` is relative to: its id.
    pub parent: Option<String>,
    /// What changed since the parent was taken, at least; required with a parent.
    pub changed: Option<Vec<Extent>>,
    /// The reference point that the next increment begins at.
    pub reference: Option<String>,
    /// Its digest, if the source tells it.
    pub reference_digest: Option<String>,
    /// Of zstd.
    pub level: i32,
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the parts to back up.
    pub total_bytes: u64,
    /// Of these, bytes that are done.
    pub done_bytes: u64,
    /// Bytes read from the disk.
    pub read_bytes: u64,
    /// Bytes that are zero.
    pub zero_bytes: u64,
    /// Bytes put into packs.
    pub stored_bytes: u64,
    /// Bytes that the repository had already.
    pub deduplicated_bytes: u64,
}

/// Backs up a disk; the disk must not change meanwhile. What an interrupted run stored is found
/// again by the next.
///
/// # Errors
/// Of the disk and the store; [`ErrorKind::FullNeeded`] when the parent is no point of this disk.
pub async fn run(
    source: Rc<dyn Disk>,
    plan: Plan,
    repo: &Repository,
    mut sink: impl FnMut(Progress),
) -> Result<Manifest> {
    let (repo, size_bytes) = (repo.clone(), source.geometry().size_bytes);
    let lock_store = Arc::clone(&repo.store);
    let _lock = unblock(move || lock_store.lock(false)).await?;
    let opened = (repo.clone(), plan.clone());
    let (parent, known) = unblock(move || prepare(&opened.0, &opened.1)).await?;
    let time_ms = time_of(&repo, &plan, parent.as_ref()).await?;
    let old_bytes = parent.as_ref().map(|parent| parent.manifest.size_bytes);
    let changed = changes(&plan, old_bytes, size_bytes)?;
    let parent_id = parent.as_ref().map(|parent| parent.manifest.id.clone());
    let draft = match parent {
        None => Draft::default(),
        Some(parent) => Draft::from_parent(&parent, &changed, size_bytes)?,
    };
    let mut writer = Writer {
        repo: repo.clone(),
        level: plan.level,
        known,
        filling: Filling::default(),
        storing: None,
        draft,
        progress: Progress {
            total_bytes: changed.iter().map(|extent| extent.len_bytes).sum(),
            ..Progress::default()
        },
    };
    let read = writer.all(&*source, &changed, &mut sink).await;
    // Also after a failure: nothing is stored any more when the lock is let go.
    let stored = writer.end_store().await;
    read.and(stored)?;
    writer.begin_store().await?;
    writer.end_store().await?;
    let progress = writer.progress;
    let manifest = Manifest {
        id: uuid::Uuid::new_v4().to_string(),
        disk: plan.disk,
        time_ms,
        parent: parent_id,
        size_bytes,
        reference: plan.reference,
        reference_digest: plan.reference_digest,
        read_bytes: progress.read_bytes,
        stored_bytes: progress.stored_bytes,
        deduplicated_bytes: progress.deduplicated_bytes,
    };
    let index = writer.draft.finish(manifest.clone())?;
    unblock(move || {
        let name = point_name(&index.manifest.id);
        let object = envelope::wrap(repo.key.as_ref(), &name, index.encode()?)?;
        put_copy(&repo, &index.manifest)?;
        repo.store.put(&name, &object)
    })
    .await?;
    Ok(manifest)
}

/// When the point is made: a later one must not seem older.
async fn time_of(repo: &Repository, plan: &Plan, parent: Option<&Index>) -> Result<u64> {
    let newest = match parent {
        Some(parent) => parent.manifest.time_ms,
        None => {
            let opened = (repo.clone(), plan.disk.clone());
            unblock(move || newest(&opened.0, &opened.1)).await?
        }
    };
    let time_ms = plan.time_ms.max(newest.saturating_add(1));
    if time_ms > plan.time_ms {
        tracing::warn!(
            seconds = (time_ms - plan.time_ms) / 1000,
            "the clock is behind that of the disk's newest point, which gives the time"
        );
    }
    Ok(time_ms)
}

/// The time of the newest point of the disk, in milliseconds since 1970. Points that are damaged
/// are `verify`'s to tell of.
fn newest(repo: &Repository, disk: &str) -> Result<u64> {
    let (points, copies) = (repo.snapshots()?.into_iter(), Copies::of(repo));
    let points = points.filter_map(|name| copies.manifest(repo, &name).ok());
    let times = points.filter(|point| point.disk == disk);
    Ok(times.map(|point| point.time_ms).max().unwrap_or(0))
}

fn prepare(repo: &Repository, plan: &Plan) -> Result<(Option<Index>, Arc<Known>)> {
    let parent = match &plan.parent {
        None => None,
        Some(id) => Some(repo.index(&point_name(id))?),
    };
    if parent
        .as_ref()
        .is_some_and(|parent| parent.manifest.disk != plan.disk)
    {
        let message = format!("the parent is not a point of disk `{}`", plan.disk);
        return Err(Error::new(ErrorKind::FullNeeded, message));
    }
    let damage = Damage::load(repo)?;
    if let Some(parent) = &parent {
        damage.check_parent(parent)?;
    }
    let known = Known::load(repo, &damage)?;
    tracing::debug!(bytes = known.bytes(), "looked for known chunks");
    Ok((parent, Arc::new(known)))
}

/// What to read: sorted, not overlapping, within the disk. `old_bytes` is the size of the parent.
pub(super) fn changes(plan: &Plan, old_bytes: Option<u64>, size_bytes: u64) -> Result<Vec<Extent>> {
    let mut all = match (old_bytes, &plan.changed) {
        (None, _) => vec![Extent::new(0, size_bytes)],
        (Some(_), None) => {
            let message = "an increment needs to know what changed";
            return Err(Error::new(ErrorKind::FullNeeded, message));
        }
        (Some(old), Some(changed)) => {
            let mut all = changed.clone();
            all.push(Extent::new(old, size_bytes.saturating_sub(old)));
            all
        }
    };
    all.sort_by_key(|extent| extent.offset_bytes);
    let mut merged: Vec<Extent> = Vec::new();
    for extent in all {
        let end = extent
            .offset_bytes
            .saturating_add(extent.len_bytes)
            .min(size_bytes);
        let start = merged
            .last()
            .map_or(0, |last| last.end_bytes())
            .max(extent.offset_bytes);
        if start >= end {
            continue;
        }
        match merged.last_mut().filter(|last| last.end_bytes() == start) {
            Some(last) => last.len_bytes += end - start,
            None => merged.push(Extent::new(start, end - start)),
        }
    }
    Ok(merged)
}

struct Writer {
    repo: Repository,
    level: i32,
    known: Arc<Known>,
    filling: Filling,
    storing: Option<Storing>,
    draft: Draft,
    progress: Progress,
}

/// A pack that is being stored.
struct Storing {
    /// The numbers of its chunks in the draft.
    numbers: Vec<u32>,
    /// Its chunks, which have its name then.
    chunks: Task<Result<Vec<Chunk>>>,
}

enum Piece {
    Zero,
    Known(Chunk),
    New(Digest, Vec<u8>),
}

impl Writer {
    /// Reads and stores what changed.
    async fn all(
        &mut self,
        source: &dyn Disk,
        changed: &[Extent],
        sink: &mut impl FnMut(Progress),
    ) -> Result<()> {
        let (repo, known, level) = (self.repo.clone(), Arc::clone(&self.known), self.level);
        let pieces = copy::pieces(source, changed, u64::from(repo.chunk_bytes));
        let read = pieces.map(|piece| async move {
            let (extent, zero) = piece?;
            if zero {
                return Ok((extent, None));
            }
            let buf = IoBufMut::zeroed(extent.len_bytes as usize);
            let data = source.read(extent.offset_bytes, buf).await?;
            Ok::<_, Error>((extent, Some(data.freeze())))
        });
        // What was read by now goes to another thread together: that takes longer than a small
        // chunk does there.
        let reads = (READ_BYTES / repo.chunk_bytes as usize).clamp(2, READS);
        let batches = read.buffered(reads).ready_chunks(reads);
        let processed = batches.map(|batch| {
            let (repo, known) = (repo.clone(), Arc::clone(&known));
            unblock(move || {
                let one = |read: Result<(Extent, Option<IoBuf>)>| {
                    let (extent, data) = read?;
                    let piece = data.map(|data| process(&repo, &known, level, &data));
                    Ok::<_, Error>((extent, piece.transpose()?))
                };
                batch.into_iter().map(one).collect::<Result<Vec<_>>>()
            })
        });
        let mut processed = pin!(processed.buffered(BATCHES));
        while let Some(batch) = processed.next().await {
            for piece in batch? {
                match piece {
                    (extent, Some(piece)) => self.take(extent, piece).await?,
                    (extent, None) => {
                        self.progress.zero_bytes += extent.len_bytes;
                        self.progress.done_bytes += extent.len_bytes;
                    }
                }
            }
            sink(self.progress);
        }
        Ok(())
    }

    async fn take(&mut self, extent: Extent, piece: Piece) -> Result<()> {
        self.progress.done_bytes += extent.len_bytes;
        self.progress.read_bytes += extent.len_bytes;
        let (digest, known, stored) = match piece {
            Piece::Zero => {
                self.progress.zero_bytes += extent.len_bytes;
                return Ok(());
            }
            // Its pack may have been stored since then, and have a name now.
            Piece::Known(chunk) if chunk.is_pending() => {
                (chunk.digest, self.find(chunk.digest).await?, None)
            }
            Piece::Known(chunk) => (chunk.digest, Some(chunk), None),
            // The same bytes may have been under way twice.
            Piece::New(digest, stored) => (digest, self.find(digest).await?, Some(stored)),
        };
        match (known, stored) {
            (Some(chunk), _) => {
                self.progress.deduplicated_bytes += extent.len_bytes;
                self.draft.push(extent, chunk)?;
            }
            (None, Some(stored)) => {
                self.progress.stored_bytes += stored.len() as u64;
                let chunk = self.filling.add(digest, extent.len_bytes as u32, &stored);
                self.known.add(chunk)?;
                self.draft.push_pending(extent, chunk)?;
            }
            (None, None) => return Err(Error::new(ErrorKind::Io, "a known chunk is gone")),
        }
        if self.filling.is_full() {
            self.begin_store().await?;
        }
        Ok(())
    }

    async fn find(&self, digest: Digest) -> Result<Option<Chunk>> {
        if !self.known.may_have(&digest) {
            return Ok(None);
        }
        let (repo, known) = (self.repo.clone(), Arc::clone(&self.known));
        unblock(move || known.find(&repo, &digest)).await
    }

    /// Begins to store the pack that was filled, once the one before is stored: the disk is read
    /// meanwhile.
    async fn begin_store(&mut self) -> Result<()> {
        self.end_store().await?;
        let filling = std::mem::take(&mut self.filling);
        if !filling.chunks.is_empty() {
            let repo = self.repo.clone();
            self.known.full();
            self.storing = Some(Storing {
                numbers: self.draft.full(),
                chunks: spawn(unblock(move || filling.store(&repo))),
            });
        }
        Ok(())
    }

    /// Waits for the pack that is being stored.
    async fn end_store(&mut self) -> Result<()> {
        if let Some(storing) = self.storing.take() {
            let stored = storing.chunks.await?;
            if let Some(first) = stored.first() {
                self.draft.stored(storing.numbers, first.pack);
            }
            self.known.stored(stored);
        }
        Ok(())
    }
}

fn process(repo: &Repository, known: &Known, level: i32, data: &IoBuf) -> Result<Piece> {
    if data.iter().all(|byte| *byte == 0) {
        return Ok(Piece::Zero);
    }
    let digest = envelope::digest(repo.key.as_ref(), data);
    if let Some(chunk) = known.find(repo, &digest)? {
        return Ok(Piece::Known(chunk));
    }
    let small = compress(data, level).map_err(|error| Error::io("compress a chunk", error))?;
    let (codec, body): (u8, &[u8]) = if small.len() < data.len() {
        (1, &small)
    } else {
        (0, data)
    };
    let packed = [&[codec], body].concat();
    let stored = envelope::seal(repo.key.as_ref(), &digest, packed)?;
    Ok(Piece::New(digest, stored))
}
/// Compresses with what this thread keeps for that: making it anew takes longer than a small chunk.
fn compress(data: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static KEPT: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(of, _)| *of != level) {
            *kept = Some((level, Compressor::new(level)?));
        }
        match kept {
            Some((_, compressor)) => compressor.compress(data),
            None => zstd::bulk::compress(data, level),
        }
    })
}
