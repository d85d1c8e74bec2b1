//! A point that is being made: its map grows while the disk is read.

use super::envelope::Digest;
use super::index::{Chunk, Index, Run};
use super::known::prefix;
use super::manifest::Manifest;
use super::table::Table;
use crate::disk::{Error, ErrorKind, Extent, Result};

/// The map of a point before it is stored.
#[derive(Debug, Default)]
pub(super) struct Draft {
    chunks: Vec<Chunk>,
    /// Their numbers by [`prefix`].
    numbers: Table,
    /// Numbers of chunks in the pack that is being filled, in its order.
    pending: Vec<u32>,
    /// How many chunks are in packs that are full and not stored yet.
    storing: usize,
    runs: Vec<Run>,
}

impl Draft {
    /// What is left of the parent where nothing changed.
    ///
    /// # Errors
    /// When there are too many chunks to number.
    pub(super) fn from_parent(parent: &Index, changed: &[Extent], size_bytes: u64) -> Result<Self> {
        let mut draft = Self::default();
        for run in &parent.runs {
            let left = without(*run, changed, size_bytes);
            if left.is_empty() {
                continue;
            }
            let chunk = draft.number(parent.chunks[run.chunk as usize])?;
            draft
                .runs
                .extend(left.into_iter().map(|left| Run { chunk, ..left }));
        }
        Ok(draft)
    }

    /// A part of the disk is a chunk.
    ///
    /// # Errors
    /// When there are too many chunks to number.
    pub(super) fn push(&mut self, extent: Extent, chunk: Chunk) -> Result<()> {
        let run = Run {
            extent,
            chunk: self.number(chunk)?,
            within: 0,
        };
        self.runs.push(run);
        Ok(())
    }

    /// A part of the disk is a chunk that was just put into the pack that is being filled.
    ///
    /// # Errors
    /// As [`Draft::push`].
    pub(super) fn push_pending(&mut self, extent: Extent, chunk: Chunk) -> Result<()> {
        self.push(extent, chunk)?;
        self.pending.extend(self.runs.last().map(|run| run.chunk));
        Ok(())
    }

    /// The pack is full, and another one begins; these numbers are told when it is stored.
    pub(super) fn full(&mut self) -> Vec<u32> {
        let numbers = std::mem::take(&mut self.pending);
        self.storing += numbers.len();
        numbers
    }

    /// The pack of these chunks is stored under this name.
    pub(super) fn stored(&mut self, numbers: Vec<u32>, pack: Digest) {
        self.storing -= numbers.len();
        for number in numbers {
            self.chunks[number as usize].pack = pack;
        }
    }

    /// The whole map.
    ///
    /// # Errors
    /// When a chunk's pack was not stored.
    pub(super) fn finish(mut self, manifest: Manifest) -> Result<Index> {
        if !self.pending.is_empty() || self.storing > 0 {
            return Err(Error::new(ErrorKind::Io, "a chunk was not stored"));
        }
        self.runs.sort_by_key(|run| run.extent.offset_bytes);
        Ok(Index {
            manifest,
            chunks: self.chunks,
            runs: self.runs,
        })
    }

    /// The place of a chunk in the map's list.
    fn number(&mut self, chunk: Chunk) -> Result<u32> {
        let key = prefix(&chunk.digest);
        let mut same = self.numbers.values(key);
        if let Some(number) = same.find(|number| self.chunks[*number as usize] == chunk) {
            return Ok(number as u32);
        }
        drop(same);
        let number = u32::try_from(self.chunks.len()).map_err(|_| {
            let message = "the disk has too many chunks; help: use bigger ones";
            Error::new(ErrorKind::Unsupported, message)
        })?;
        self.numbers.insert(key, number.into());
        self.chunks.push(chunk);
        Ok(number)
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
