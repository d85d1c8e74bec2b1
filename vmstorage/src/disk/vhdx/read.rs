//! Reading blocks.

use futures_util::future::join_all;

use super::bat::{Entry, State};
use super::image::Image;
use crate::disk::{Extent, Result};
use crate::engine::IoBufMut;

/// So many parts of a block are read at once.
const RUNS_AT_ONCE: usize = 256;

/// The part of a request that lies in one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) block: u64,
    /// Where in the block it begins.
    pub(super) within: u64,
    pub(super) len: u64,
}

impl Image {
    /// The parts of a range, in order.
    pub(super) fn parts(&self, extent: Extent) -> impl Iterator<Item = Part> + use<> {
        let block_bytes = self.bat.block_bytes;
        let (mut offset, end) = (extent.offset_bytes, extent.end_bytes());
        std::iter::from_fn(move || {
            let within = offset % block_bytes;
            let len = (block_bytes - within).min(end - offset);
            let part = Part {
                block: offset / block_bytes,
                within,
                len,
            };
            offset += len;
            (len > 0).then_some(part)
        })
    }

    /// Fills a buffer.
    pub(super) async fn read(&self, offset: u64, buf: IoBufMut) -> Result<IoBufMut> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.geometry().check(extent)?;
        let mut parts = self.parts(extent);
        let Some(first) = parts.next() else {
            return Ok(buf);
        };
        if first.len == extent.len_bytes {
            return self.read_part(first, buf).await;
        }
        let mut rest = buf;
        let reads = std::iter::once(first).chain(parts).map(|part| {
            let buf = rest.split_to(part.len as usize);
            self.read_part(part, buf)
        });
        join(join_all(reads).await)
    }

    async fn read_part(&self, part: Part, mut buf: IoBufMut) -> Result<IoBufMut> {
        let guard = self.locks.shared(part.block).await;
        let entry = self.bat.payload(part.block);
        let answer = match entry {
            Err(error) => Err(error),
            Ok(Entry { state, offset }) => match state {
                State::Present => self.file.read(offset + part.within, buf).await,
                State::Partial => self.read_partial(part, offset, buf).await,
                State::NotPresent => self.read_parent(part, buf).await,
                State::Undefined | State::Zero | State::Unmapped => {
                    buf.fill(0);
                    Ok(buf)
                }
            },
        };
        guard.done();
        answer
    }

    /// Reads sectors of a block of which some are in the file and the others are the parent's.
    pub(super) async fn read_partial(
        &self,
        part: Part,
        offset: u64,
        buf: IoBufMut,
    ) -> Result<IoBufMut> {
        let runs = self.runs(part.block, part.within, part.len).await?;
        let mut within = part.within;
        let mut rest = buf;
        let mut done = Vec::new();
        for runs in runs.chunks(RUNS_AT_ONCE) {
            let reads = runs.iter().map(|&(len, here)| {
                let buf = rest.split_to(len as usize);
                let run = Part {
                    within,
                    len,
                    ..part
                };
                within += len;
                async move {
                    if here {
                        self.file.read(offset + run.within, buf).await
                    } else {
                        self.read_parent(run, buf).await
                    }
                }
            });
            done.extend(join_all(reads).await);
        }
        join(done)
    }

    /// Reads what the disk was before this file: the parent, and zeroes where there is none.
    pub(super) async fn read_parent(&self, part: Part, mut buf: IoBufMut) -> Result<IoBufMut> {
        let offset = part.block * self.bat.block_bytes + part.within;
        let below = match &self.parent {
            Some(parent) => parent.disk.geometry().size_bytes.saturating_sub(offset),
            None => 0,
        };
        let mut head = buf.split_to(below.min(buf.len() as u64) as usize);
        buf.fill(0);
        if let Some(parent) = &self.parent
            && !head.is_empty()
        {
            head = parent.disk.read(offset, head).await?;
        }
        head.unsplit(buf);
        Ok(head)
    }

    /// Has the file's parts that are in it read ahead.
    pub(super) async fn cache(&self, extent: Extent) -> Result<()> {
        self.geometry().check(extent)?;
        for part in self.parts(extent) {
            let entry = self.bat.payload(part.block)?;
            if entry.state == State::Present {
                self.file
                    .cache(Extent::new(entry.offset + part.within, part.len))
                    .await?;
            }
        }
        Ok(())
    }
}

/// Joins buffers that were split.
fn join(parts: Vec<Result<IoBufMut>>) -> Result<IoBufMut> {
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else {
        return Ok(IoBufMut::zeroed(0));
    };
    let mut whole = first?;
    for part in parts {
        whole.unsplit(part?);
    }
    Ok(whole)
}
