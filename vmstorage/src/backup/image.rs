//! A point as a disk, and bringing it back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::Progress;
use super::index::Index;
use super::lock::lock_to_read;
use super::manifest::{Manifest, point_name};
use super::repo::Repository;
use super::store::Guard;
use crate::disk::copy::{self, Options};
use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{IoBuf, IoBufMut, sleep, unblock};

/// Chunks that are kept.
const CACHED: usize = 32;
/// Between two reports of a copy.
const REPORTS: Duration = Duration::from_millis(100);

/// A point of a disk, read-only. Every byte is verified before it is given out.
#[derive(Debug)]
pub struct Image {
    repo: Repository,
    index: Index,
    cache: RefCell<VecDeque<(u32, Arc<Vec<u8>>)>>,
    /// Nothing is removed as long as it is read.
    _lock: Option<Box<dyn Guard>>,
}

impl Image {
    /// Opens a point by its id.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub async fn open(repo: &Repository, id: &str) -> Result<Self> {
        let (opened, name) = (repo.clone(), point_name(id));
        let locked = unblock(move || {
            let lock = lock_to_read(&*opened.store)?;
            Ok::<_, Error>((lock, opened.index(&name)?))
        });
        let (lock, index) = locked.await?;
        Ok(Self {
            repo: repo.clone(),
            index,
            cache: RefCell::default(),
            _lock: lock,
        })
    }

    /// What the point is.
    pub fn manifest(&self) -> &Manifest {
        &self.index.manifest
    }

    async fn chunk(&self, number: u32) -> Result<Arc<Vec<u8>>> {
        let found = self
            .cache
            .borrow()
            .iter()
            .find(|(have, _)| *have == number)
            .cloned();
        if let Some((_, data)) = found {
            return Ok(data);
        }
        let (repo, chunk) = (self.repo.clone(), self.index.chunks[number as usize]);
        let data = Arc::new(unblock(move || repo.chunk(&chunk)).await?);
        let mut cache = self.cache.borrow_mut();
        cache.push_back((number, Arc::clone(&data)));
        if cache.len() > CACHED {
            cache.pop_front();
        }
        Ok(data)
    }
}

fn read_only<'a>() -> Answer<'a, ()> {
    let error = Error::new(ErrorKind::ReadOnly, "a backup cannot be written");
    Box::pin(std::future::ready(Err(error)))
}

impl Disk for Image {
    fn name(&self) -> String {
        format!(
            "backup {} of `{}`",
            self.index.manifest.id, self.index.manifest.disk
        )
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.index.manifest.size_bytes,
            min_block_bytes: 1,
            preferred_block_bytes: self.repo.chunk_bytes,
            read_only: true,
        }
    }

    fn read(&self, offset_bytes: u64, mut buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            let wanted = Extent::new(offset_bytes, buf.len() as u64);
            self.geometry().check(wanted)?;
            buf.fill(0);
            for run in self.index.from(offset_bytes) {
                let start = run.extent.offset_bytes.max(offset_bytes);
                let end = run.extent.end_bytes().min(wanted.end_bytes());
                if start >= end {
                    break;
                }
                let data = self.chunk(run.chunk).await?;
                let from = run.within as usize + (start - run.extent.offset_bytes) as usize;
                let len = (end - start) as usize;
                let to = (start - offset_bytes) as usize;
                buf[to..to + len].copy_from_slice(&data[from..from + len]);
            }
            Ok(buf)
        })
    }

    fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
        read_only()
    }

    fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
        read_only()
    }

    fn discard(&self, _: Extent) -> Answer<'_, ()> {
        read_only()
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async move {
            self.geometry().check(extent)?;
            let mut parts: Vec<Status> = Vec::new();
            let mut at = extent.offset_bytes;
            let mut add = |end: u64, at: &mut u64, data: bool| {
                if end <= *at {
                    return;
                }
                let part = Extent::new(*at, end - *at);
                *at = end;
                match parts.last_mut().filter(|last| last.allocated == data) {
                    Some(last) => last.extent.len_bytes += part.len_bytes,
                    None => parts.push(Status {
                        extent: part,
                        allocated: data,
                        zero: !data,
                    }),
                }
            };
            let runs = self.index.from(at);
            for run in runs.iter().take(limit.max(1)) {
                add(
                    run.extent.offset_bytes.min(extent.end_bytes()),
                    &mut at,
                    false,
                );
                add(
                    run.extent.end_bytes().min(extent.end_bytes()),
                    &mut at,
                    true,
                );
            }
            if runs.len() <= limit.max(1) {
                add(extent.end_bytes(), &mut at, false);
            }
            parts.truncate(limit.max(1));
            Ok(parts)
        })
    }

    fn resize(&self, _: u64) -> Answer<'_, ()> {
        read_only()
    }
}

/// Brings a point back onto a disk of at least its size, and makes it durable. `fresh`: the target
/// reads as zeroes. Told is how much of the disk is done.
///
/// # Errors
/// Of both; a byte that is not what was stored is never written.
pub async fn restore(
    image: Image,
    target: &Rc<dyn Disk>,
    fresh: bool,
    sink: impl FnMut(Progress),
) -> Result<()> {
    let source: Rc<dyn Disk> = Rc::new(image);
    let options = Options {
        target_is_zero: fresh,
        ..Options::default()
    };
    let (total_bytes, progress) = (source.geometry().size_bytes, copy::Progress::default());
    let copying = copy::copy(&source, target, options, &progress);
    reported(total_bytes, &progress, copying, sink).await
}

/// Tells how far a copy is until it ends.
pub(super) async fn reported(
    total_bytes: u64,
    progress: &copy::Progress,
    work: impl Future<Output = Result<()>>,
    mut sink: impl FnMut(Progress),
) -> Result<()> {
    let bytes = |cell: &Cell<u64>| cell.get();
    let mut work = pin!(work);
    loop {
        let pause = pin!(sleep(REPORTS));
        let step = select(work, pause).await;
        sink(Progress {
            total_bytes,
            done_bytes: bytes(&progress.done_bytes),
            read_bytes: bytes(&progress.done_bytes),
            zero_bytes: bytes(&progress.zero_bytes),
            stored_bytes: bytes(&progress.copied_bytes),
            deduplicated_bytes: 0,
        });
        match step {
            Either::Left((done, _)) => return done,
            Either::Right(((), unfinished)) => work = unfinished,
        }
    }
}
