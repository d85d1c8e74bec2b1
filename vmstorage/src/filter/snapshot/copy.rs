//! Copying before a write: what images still need of the part that is about to change.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::disk::{Disk, Error, ErrorKind, Extent, Result};
use crate::engine::{self, Budget, yield_now};

use super::super::gate::Gate;
use super::image::{Image, Readers};
use super::pool::{Pool, Slot};
use super::table::Place;
use super::{Numbers, OnError, Options};
use crate::engine::Notify;

/// The most that is copied at once.
const RUN_BYTES: u64 = 2 << 20;
/// Of a longer change this much is saved before more is looked at.
const WINDOW_BYTES: u64 = 16 << 20;
/// The memory that all copies of a disk take at once, in bytes; more wait.
const MEMORY_BYTES: usize = 32 << 20;

/// What the filter and its images share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) base: Rc<dyn Disk>,
    pub(super) gate: Rc<Gate>,
    pub(super) readers: Rc<Readers>,
    pub(super) options: Options,
    pub(super) pool: RefCell<Option<Rc<Pool>>>,
    pub(super) images: RefCell<Vec<Rc<Image>>>,
    /// Granules that are being copied now.
    copying: RefCell<HashMap<u64, Rc<Copy>>>,
    memory: Budget,
    copied: Cell<u64>,
    zeroes: Cell<u64>,
}

/// A copy under way of neighbouring granules.
#[derive(Debug)]
struct Copy {
    granules: Range<u64>,
    outcome: OnceCell<Result<()>>,
    ended: Notify,
    /// Who needs it. An image that is taken later has nothing to do with it: by then, what is being
    /// read here may be mixed with a write that did not wait for it.
    images: Vec<Weak<Image>>,
}

impl Core {
    pub(super) fn new(base: Rc<dyn Disk>, options: Options) -> Self {
        Self {
            base,
            gate: Rc::default(),
            readers: Rc::default(),
            options,
            pool: RefCell::default(),
            images: RefCell::default(),
            copying: RefCell::default(),
            memory: Budget::new(MEMORY_BYTES),
            copied: Cell::new(0),
            zeroes: Cell::new(0),
        }
    }

    /// How much there was to do so far.
    pub(super) fn numbers(&self) -> Numbers {
        let pool = self.pool.borrow();
        Numbers {
            images: self.images.borrow().len(),
            copied_bytes: self.copied.get(),
            zero_bytes: self.zeroes.get(),
            store_bytes: pool.as_ref().map_or(0, |pool| pool.used_bytes()),
        }
    }

    /// Waits until no image needs what is on the disk in `extent`.
    ///
    /// # Errors
    /// Of the copy, where the images want the guest's write to fail rather than themselves.
    pub(super) async fn save(self: &Rc<Self>, extent: Extent) -> Result<()> {
        let window = WINDOW_BYTES.max(self.options.granule_bytes);
        let (mut at, end) = (extent.offset_bytes, extent.end_bytes());
        // Images do not begin meanwhile, so what was saved stays so.
        while at < end && !self.images.borrow().is_empty() {
            let stop = end.min((at / window + 1).saturating_mul(window));
            self.save_window(Extent::new(at, stop - at)).await?;
            at = stop;
            if at < end {
                yield_now().await;
            }
        }
        Ok(())
    }

    async fn save_window(self: &Rc<Self>, extent: Extent) -> Result<()> {
        loop {
            let copies = self.begin(extent);
            if copies.is_empty() {
                return Ok(());
            }
            for copy in copies {
                self.wait(&copy).await?;
            }
        }
    }

    /// Begins the copies that `extent` needs, and finds those that are under way.
    fn begin(self: &Rc<Self>, extent: Extent) -> Vec<Rc<Copy>> {
        let mut copies: Vec<Rc<Copy>> = Vec::new();
        if self.images.borrow().is_empty() || extent.len_bytes == 0 {
            return copies;
        }
        let granule_bytes = self.options.granule_bytes;
        let first = extent.offset_bytes / granule_bytes;
        let end = extent.end_bytes().div_ceil(granule_bytes);
        let mut run = first..first;
        for granule in first..end {
            let needed = self
                .images
                .borrow()
                .iter()
                .any(|image| image.needs(granule));
            let under_way = self.copying.borrow().get(&granule).cloned();
            let begins = needed && under_way.is_none();
            if begins && run.end == granule && (run.end - run.start) * granule_bytes < RUN_BYTES {
                run.end += 1;
                continue;
            }
            copies.extend(self.start(run.clone()));
            run = if begins {
                granule..granule + 1
            } else {
                granule + 1..granule + 1
            };
            if needed
                && let Some(copy) = under_way
                && !copies.last().is_some_and(|last| Rc::ptr_eq(last, &copy))
            {
                copies.push(copy);
            }
        }
        copies.extend(self.start(run));
        copies
    }

    /// Starts the copy of a run of granules.
    fn start(self: &Rc<Self>, run: Range<u64>) -> Option<Rc<Copy>> {
        if run.is_empty() {
            return None;
        }
        let copy = Rc::new(Copy {
            granules: run.clone(),
            outcome: OnceCell::new(),
            ended: Notify::default(),
            images: self.images.borrow().iter().map(Rc::downgrade).collect(),
        });
        for granule in run.clone() {
            self.copying.borrow_mut().insert(granule, Rc::clone(&copy));
        }
        let (core, started) = (Rc::clone(self), Rc::clone(&copy));
        engine::spawn(async move {
            let outcome = core.copy(&started).await;
            let outcome = outcome.or_else(|error| core.fail(&started, &error));
            for granule in run {
                core.copying.borrow_mut().remove(&granule);
            }
            let _ = started.outcome.set(outcome);
            started.ended.wake();
            core.tidy().await;
        })
        .detach();
        Some(copy)
    }

    /// A copy that ends when its images are gone gives back what it filled.
    async fn tidy(&self) {
        let pool = self.pool.borrow().clone();
        if let Some(pool) = pool
            && self.images.borrow().is_empty()
            && let Err(error) = pool.trim().await
        {
            tracing::warn!(disk = self.base.name(), %error, "a snapshot keeps its space");
        }
    }

    /// Waits for a copy, as long as the options allow.
    async fn wait(&self, copy: &Rc<Copy>) -> Result<()> {
        let ended = copy.ended.when(|| copy.outcome.get().is_some());
        let Some(limit) = self.options.timeout else {
            ended.await;
            return copy.outcome.get().cloned().unwrap_or(Ok(()));
        };
        match select(Box::pin(ended), Box::pin(engine::sleep(limit))).await {
            Either::Left(_) => copy.outcome.get().cloned().unwrap_or(Ok(())),
            Either::Right(_) => self.fail(copy, &too_slow(limit)),
        }
    }

    /// Copies granules, and tells the images where they are now.
    async fn copy(&self, copy: &Copy) -> Result<()> {
        let run = copy.granules.clone();
        let Some(pool) = self.pool.borrow().clone() else {
            return Err(Error::new(ErrorKind::Io, "the snapshot has no store"));
        };
        let granule_bytes = self.options.granule_bytes;
        let start = run.start * granule_bytes;
        let size_bytes = self.base.geometry().size_bytes;
        let len = (run.end * granule_bytes)
            .min(size_bytes)
            .saturating_sub(start);
        let buf = self.memory.take(len as usize).await;
        let old = self.base.read(start, buf).await?.freeze();
        let mut places = Vec::new();
        for part in 0..len.div_ceil(granule_bytes) {
            let from = (part * granule_bytes) as usize;
            let to = old.len().min(from + granule_bytes as usize);
            let part = old.slice(from..to);
            places.push(if is_zero(&part) {
                self.zeroes.set(self.zeroes.get() + part.len() as u64);
                None
            } else {
                let slot = pool.allocate().await?;
                self.copied.set(self.copied.get() + part.len() as u64);
                slot.write(part).await?;
                Some(slot)
            });
        }
        for (granule, slot) in run.zip(&places) {
            let place = slot
                .as_ref()
                .map_or(Place::Zero, |slot: &Slot| Place::Slot(slot.index()));
            for image in copy.images.iter().filter_map(Weak::upgrade) {
                image.saved(granule, place);
            }
        }
        Ok(())
    }

    /// A copy has failed: the images that need it do, or else the write that waits for it.
    fn fail(&self, copy: &Copy, error: &Error) -> Result<()> {
        let needs = |image: &Image| copy.granules.clone().any(|granule| image.needs(granule));
        let hit: Vec<_> = copy.images.iter().filter_map(Weak::upgrade).collect();
        let hit: Vec<_> = hit.into_iter().filter(|image| needs(image)).collect();
        let error = error.clone().context("copying old content for a snapshot");
        if hit.iter().any(|image| image.on_error == OnError::FailWrite) {
            return Err(error);
        }
        for image in hit {
            tracing::warn!(disk = self.base.name(), %error, "a snapshot has failed");
            image.end(error.clone());
        }
        Ok(())
    }
}

fn too_slow(limit: Duration) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("the store took longer than {} ms", limit.as_millis()),
    )
}

/// All bytes are zero.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}
