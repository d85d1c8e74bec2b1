//! Making a point: read what changed, store what is new, then name it all in one object.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use zstd::bulk::Compressor;

use super::envelope::{self, Digest};
use super::index::{Chunk, Index, Manifest, Run};
use super::pack::{self, Filling, PACK_BYTES};
use super::repo::Repository;
use crate::disk::{Disk, Error, ErrorKind, Extent, Result, copy};
use crate::engine::{IoBuf, IoBufMut, unblock};

/// Reads at once.
const READS: usize = 16;
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

type Known = Arc<Mutex<HashMap<Digest, Option<Chunk>>>>;

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
    let old_bytes = parent.as_ref().map(|parent| parent.manifest.size_bytes);
    let changed = changes(&plan, old_bytes, size_bytes)?;
    let mut writer = Writer {
        repo: repo.clone(),
        level: plan.level,
        known,
        filling: Filling::default(),
        new: Vec::new(),
        progress: Progress {
            total_bytes: changed.iter().map(|extent| extent.len_bytes).sum(),
            ..Progress::default()
        },
    };
    writer.all(&*source, &changed, &mut sink).await?;
    writer.flush().await?;
    let progress = writer.progress;
    let manifest = Manifest {
        id: uuid::Uuid::new_v4().to_string(),
        disk: plan.disk,
        time_ms: plan.time_ms,
        parent: parent.as_ref().map(|parent| parent.manifest.id.clone()),
        size_bytes,
        reference: plan.reference,
        reference_digest: plan.reference_digest,
        read_bytes: progress.read_bytes,
        stored_bytes: progress.stored_bytes,
        deduplicated_bytes: progress.deduplicated_bytes,
    };
    let index = writer.index(parent, &changed, manifest.clone())?;
    unblock(move || {
        let name = format!("snapshots/{}", index.manifest.id);
        let object = envelope::wrap(repo.key.as_ref(), &name, index.encode()?)?;
        repo.store.put(&name, &object)
    })
    .await?;
    Ok(manifest)
}

fn prepare(repo: &Repository, plan: &Plan) -> Result<(Option<Index>, Known)> {
    let parent = match &plan.parent {
        None => None,
        Some(id) => Some(repo.index(&format!("snapshots/{id}"))?),
    };
    if parent
        .as_ref()
        .is_some_and(|parent| parent.manifest.disk != plan.disk)
    {
        let message = format!("the parent is not a point of disk `{}`", plan.disk);
        return Err(Error::new(ErrorKind::FullNeeded, message));
    }
    let mut known = HashMap::new();
    for name in repo.store.list("packs")? {
        // A damaged pack is nothing to build on; `verify` is what names it.
        match pack::footer(repo, &name) {
            Ok(chunks) => known.extend(chunks.into_iter().map(|chunk| (chunk.digest, Some(chunk)))),
            Err(error) => tracing::warn!(%error, "a pack is not used for new points"),
        }
    }
    Ok((parent, Arc::new(Mutex::new(known))))
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
    known: Known,
    filling: Filling,
    new: Vec<(Extent, Digest)>,
    progress: Progress,
}

enum Piece {
    Zero,
    Known(Digest),
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
        let batches = read.buffered(READS).ready_chunks(READS);
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
        let digest = match piece {
            Piece::Zero => {
                self.progress.zero_bytes += extent.len_bytes;
                return Ok(());
            }
            Piece::Known(digest) => {
                self.progress.deduplicated_bytes += extent.len_bytes;
                digest
            }
            Piece::New(digest, stored) => {
                let plain = extent.len_bytes as u32;
                let before = lock(&self.known).insert(digest, None);
                match before {
                    // The same bytes were under way twice.
                    Some(before) => {
                        lock(&self.known).insert(digest, before);
                        self.progress.deduplicated_bytes += extent.len_bytes;
                    }
                    None => {
                        self.filling.add(digest, plain, &stored);
                        self.progress.stored_bytes += stored.len() as u64;
                    }
                }
                digest
            }
        };
        self.new.push((extent, digest));
        if self.filling.data.len() >= PACK_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let filling = std::mem::take(&mut self.filling);
        if filling.chunks.is_empty() {
            return Ok(());
        }
        let repo = self.repo.clone();
        let stored = unblock(move || filling.store(&repo)).await?;
        let stored = stored.into_iter().map(|chunk| (chunk.digest, Some(chunk)));
        lock(&self.known).extend(stored);
        Ok(())
    }

    /// The parent's map with what was read put over it.
    fn index(self, parent: Option<Index>, changed: &[Extent], manifest: Manifest) -> Result<Index> {
        let (mut table, mut chunks) = (HashMap::new(), Vec::new());
        let mut number = |chunk: Chunk| {
            *table.entry((chunk.digest, chunk.pack)).or_insert_with(|| {
                chunks.push(chunk);
                chunks.len() - 1
            }) as u32
        };
        let mut runs = Vec::new();
        if let Some(parent) = parent {
            for run in &parent.runs {
                let chunk = parent.chunks[run.chunk as usize];
                for left in without(*run, changed, manifest.size_bytes) {
                    let chunk = number(chunk);
                    runs.push(Run { chunk, ..left });
                }
            }
        }
        let known = lock(&self.known);
        for (extent, digest) in &self.new {
            let chunk = known.get(digest).copied().flatten();
            let chunk = chunk.ok_or_else(|| Error::new(ErrorKind::Io, "a chunk was not stored"))?;
            runs.push(Run {
                extent: *extent,
                chunk: number(chunk),
                within: 0,
            });
        }
        runs.sort_by_key(|run| run.extent.offset_bytes);
        if u32::try_from(chunks.len()).is_err() {
            let message = "the disk has too many chunks; help: use bigger ones";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(Index {
            manifest,
            chunks,
            runs,
        })
    }
}

/// What is left of a run where nothing changed.
fn without(run: Run, changed: &[Extent], size_bytes: u64) -> Vec<Run> {
    let end = run.extent.end_bytes().min(size_bytes);
    let mut at = run.extent.offset_bytes;
    let mut left = Vec::new();
    let mut keep = |from: u64, to: u64| {
        if from < to {
            left.push(Run {
                extent: Extent::new(from, to - from),
                chunk: run.chunk,
                within: run.within + (from - run.extent.offset_bytes) as u32,
            });
        }
    };
    let first = changed.partition_point(|extent| extent.end_bytes() <= at);
    for extent in changed[first..]
        .iter()
        .take_while(|extent| extent.offset_bytes < end)
    {
        keep(at, extent.offset_bytes);
        at = extent.end_bytes().max(at);
    }
    keep(at, end);
    left
}

fn process(repo: &Repository, known: &Known, level: i32, data: &IoBuf) -> Result<Piece> {
    if data.iter().all(|byte| *byte == 0) {
        return Ok(Piece::Zero);
    }
    let digest = envelope::digest(repo.key.as_ref(), data);
    if lock(known).contains_key(&digest) {
        return Ok(Piece::Known(digest));
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
