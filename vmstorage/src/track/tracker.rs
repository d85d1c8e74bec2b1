//! The filter: every change of a disk is marked in the map before it is made.

use std::rc::Rc;
use std::time::Duration;

use super::fingerprint::Fingerprint;
use super::flights::Flight;
use super::inner::Inner;
use super::point::Point;
use super::table::Cool;
use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{IoBuf, IoBufMut, sleep};

/// A disk whose changes are tracked. Clones are the same tracker.
///
/// A change waits only if it is the first one of its epoch to a part of the disk that had none
/// lately (one small durable write of the map), or if a checkpoint is being made. When the map
/// cannot be written the change fails: none is made without being tracked.
#[derive(Debug, Clone)]
pub struct Tracker {
    pub(super) inner: Rc<Inner>,
}

/// New changes wait while it lives.
#[derive(Debug)]
pub struct Hold<'a> {
    inner: &'a Rc<Inner>,
}

impl Tracker {
    /// Ends an epoch and answers it as a point. Everything that was acknowledged before is part of
    /// the point and durable; what is under way counts as changed since it too.
    ///
    /// # Errors
    /// When disk or map cannot be written; then there is no point, and tracking goes on.
    pub async fn checkpoint(&self) -> Result<Point> {
        // Most is written before changes have to wait.
        self.inner.settle(Cool::All).await?;
        self.inner.disk.flush().await?;
        self.hold_now().checkpoint().await
    }

    /// Makes a point of which is known what changed since: a dirty bitmap of QEMU, say. The blocks
    /// of `changed` count as changed after the point; changes until it are not known.
    ///
    /// # Errors
    /// As [`Tracker::checkpoint`].
    pub async fn import_bitmap(&self, changed: &[Extent]) -> Result<Point> {
        let geometry = self.geometry();
        for &extent in changed {
            geometry.check(extent)?;
        }
        let hold = self.hold_now();
        let point = hold.checkpoint().await?;
        for &extent in changed {
            if let Some(blocks) = self.inner.blocks(extent) {
                self.inner.cover(blocks).await?;
            }
        }
        Ok(point)
    }

    /// Holds new changes back, and waits for those under way: for an instant that several disks
    /// share, or to replace what is below.
    pub async fn hold(&self) -> Hold<'_> {
        let hold = self.hold_now();
        self.inner.flights.all_landed().await;
        hold
    }

    fn hold_now(&self) -> Hold<'_> {
        self.inner.held.set(self.inner.held.get() + 1);
        Hold { inner: &self.inner }
    }

    /// Writes the map back from time to time, so that a crash makes little more count as changed
    /// than what did. Runs until it is dropped.
    pub async fn tend(&self, every: Duration) {
        loop {
            sleep(every).await;
            if let Err(error) = self.settle().await {
                let disk = self.inner.disk.name();
                tracing::warn!(disk, %error, "the map is not written back");
            }
        }
    }

    /// Writes the map back once; parts without new changes since the last time cool.
    ///
    /// # Errors
    /// When the map cannot be written. Nothing is forgotten.
    pub async fn settle(&self) -> Result<()> {
        if self.inner.table.borrow().is_settled() {
            return Ok(());
        }
        self.inner.settle(Cool::Idle).await?;
        self.inner.commit().await
    }

    /// Ends tracking: the disk is flushed, the map whole, and both are bound to each other by what
    /// `fingerprint` makes of the disk after its last change. Later changes fail.
    ///
    /// # Errors
    /// When disk or map cannot be written; the next opening then goes on as after a crash.
    pub async fn close(
        &self,
        fingerprint: impl AsyncFnOnce() -> Result<Fingerprint>,
    ) -> Result<()> {
        let _turn = self.inner.cutting.lock().await;
        let _hold = self.hold().await;
        if self.inner.closed.get() {
            return Ok(());
        }
        self.inner.disk.flush().await?;
        self.inner.settle(Cool::All).await?;
        let prints = fingerprint().await?.prints();
        {
            let mut root = self.inner.root.borrow_mut();
            root.prints = prints;
            root.clean = self.inner.void.borrow().is_none();
        }
        let committed = self.inner.commit().await;
        // Whoever opens the map next must not meet a write of this one.
        self.inner.committed().await;
        self.inner.closed.set(true);
        committed
    }

    /// What the disk is in the map: a point that would end the current epoch.
    pub fn now(&self) -> Point {
        self.inner.now()
    }

    /// Bytes of memory that the map takes at most while no more parts of the disk change: 4 KiB for
    /// each page of the cache, and about 7 KiB for each segment (5.2 GiB of a disk with 64 KiB
    /// blocks) that has a change.
    pub fn memory_bytes(&self) -> usize {
        self.inner.table.borrow().memory_bytes()
    }

    /// Marks a change and lets it begin.
    async fn begin(&self, extent: Extent) -> Result<Flight<'_>> {
        let inner = &self.inner;
        loop {
            inner.until_released().await;
            if inner.closed.get() {
                return Err(Error::new(ErrorKind::Shutdown, "the disk is closed"));
            }
            self.geometry().check_write(extent)?;
            let Some(blocks) = inner.blocks(extent) else {
                return Ok(inner.flights.stay());
            };
            let covered = inner.table.borrow().covered(blocks, inner.epoch.get());
            if !covered {
                inner.cover(blocks).await?;
            }
            let as_before = inner.held.get() == 0 && !inner.closed.get();
            if covered || (as_before && self.geometry().check_write(extent).is_ok()) {
                return Ok(inner.flights.take_off(blocks));
            }
        }
    }
}

impl Hold<'_> {
    /// As [`Tracker::checkpoint`].
    ///
    /// # Errors
    /// As [`Tracker::checkpoint`].
    pub async fn checkpoint(&self) -> Result<Point> {
        self.inner.checkpoint().await
    }

    /// What is below is about to be replaced, by a revert for instance: no older point is answered
    /// any more. To be called before it is replaced.
    ///
    /// # Errors
    /// When the map cannot be written; then nothing may be replaced.
    pub async fn begin_generation(&self, reason: &str) -> Result<()> {
        let _turn = self.inner.cutting.lock().await;
        self.inner.new_generation(reason, None).await
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let held = self.inner.held.get() - 1;
        self.inner.held.set(held);
        if held == 0 {
            self.inner.released.notify_waiters();
        }
    }
}

impl Disk for Tracker {
    fn name(&self) -> String {
        format!("tracked {}", self.inner.disk.name())
    }

    fn geometry(&self) -> Geometry {
        let below = self.inner.disk.geometry();
        Geometry {
            read_only: below.read_only || self.inner.read_only,
            ..below
        }
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.inner.disk.read(offset_bytes, buf)
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            let extent = Extent::new(offset_bytes, data.len() as u64);
            let flight = self.begin(extent).await?;
            let written = self.inner.disk.write(offset_bytes, data, durability).await;
            flight.land();
            written
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(async move {
            let flight = self.begin(extent).await?;
            let written = self.inner.disk.write_zeroes(extent, how).await;
            flight.land();
            written
        })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            let flight = self.begin(extent).await?;
            let discarded = self.inner.disk.discard(extent).await;
            flight.land();
            discarded
        })
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.inner.disk.flush()
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        self.inner.disk.cache(extent)
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.inner.disk.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let _turn = self.inner.cutting.lock().await;
            let _hold = self.hold().await;
            self.inner.resize(size_bytes).await
        })
    }
}
