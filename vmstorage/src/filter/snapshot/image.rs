//! The disk as it was at one moment, for readers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_util::future::try_join_all;

use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{IoBuf, IoBufMut};

use super::OnError;
use super::pool::{Pool, Slot};
use super::table::{Place, Table};
use crate::engine::Notify;

/// Most granules that one question about the image is about: it is answered without a pause.
const STATUS_GRANULES: u64 = 1 << 16;

/// A read-only disk with the content of one moment.
///
/// A read of what is still on the disk below takes no lock. It looks afterwards whether the content
/// was copied meanwhile: a write to the disk begins only after its copy is in the table, so if it
/// is not there, no write had begun when the read ended. If it is there, the copy is read instead.
#[derive(Debug)]
pub(super) struct Image {
    base: Rc<dyn Disk>,
    readers: Rc<Readers>,
    pool: Rc<Pool>,
    granule_bytes: u64,
    size_bytes: u64,
    pub(super) on_error: OnError,
    table: RefCell<Table>,
    ended: RefCell<Option<Error>>,
    held_bytes: Cell<u64>,
}

/// Reads of images that are under way on the disk below: a shrink must not overtake them.
#[derive(Debug, Default)]
pub(super) struct Readers {
    ends: RefCell<Vec<u64>>,
    ended: Notify,
}

struct Reading<'a>(&'a Readers, u64);

impl Readers {
    fn begin(&self, extent: Extent) -> Reading<'_> {
        self.ends.borrow_mut().push(extent.end_bytes());
        Reading(self, extent.end_bytes())
    }

    /// Waits until nobody reads beyond a size.
    pub(super) async fn leave(&self, size_bytes: u64) {
        let within = || self.ends.borrow().iter().all(|&end| end <= size_bytes);
        self.ended.when(within).await;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut ends = self.0.ends.borrow_mut();
        if let Some(at) = ends.iter().position(|&end| end == self.1) {
            ends.swap_remove(at);
        }
        drop(ends);
        self.0.ended.wake();
    }
}

/// Where a part is read from.
enum Piece {
    Base,
    Slot(Slot),
    Zero,
    Forgotten,
}

impl Image {
    pub(super) fn new(
        base: Rc<dyn Disk>,
        readers: Rc<Readers>,
        pool: Rc<Pool>,
        granule_bytes: u64,
        on_error: OnError,
    ) -> Self {
        Self {
            size_bytes: base.geometry().size_bytes,
            base,
            readers,
            pool,
            granule_bytes,
            on_error,
            table: RefCell::default(),
            ended: RefCell::default(),
            held_bytes: Cell::new(0),
        }
    }

    /// The granule must be copied before it is written.
    pub(super) fn needs(&self, granule: u64) -> bool {
        granule * self.granule_bytes < self.size_bytes
            && self.ended.borrow().is_none()
            && self.table.borrow().place(granule) == Place::Base
    }

    /// A granule was copied.
    pub(super) fn saved(&self, granule: u64, place: Place) {
        if !self.needs(granule) {
            return;
        }
        if let Place::Slot(slot) = place {
            self.pool.keep(slot);
            self.held_bytes
                .set(self.held_bytes.get() + self.granule_bytes);
        }
        self.table.borrow_mut().set(granule, place);
    }

    /// Granules that are wholly inside `extent` need no copy any more, and theirs are let go.
    pub(super) fn forget(&self, extent: Extent) {
        if self.ended.borrow().is_some() {
            return;
        }
        let first = extent.offset_bytes.div_ceil(self.granule_bytes);
        let end = if extent.end_bytes() >= self.size_bytes {
            self.size_bytes.div_ceil(self.granule_bytes)
        } else {
            extent.end_bytes() / self.granule_bytes
        };
        for granule in first..end {
            let before = self.table.borrow_mut().set(granule, Place::Forgotten);
            if let Place::Slot(slot) = before {
                self.pool.release(slot);
                self.held_bytes
                    .set(self.held_bytes.get() - self.granule_bytes);
            }
        }
    }

    /// Bytes of the store that it shows, some of them perhaps with other images.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes.get()
    }

    /// Why it cannot be read any more.
    pub(super) fn error(&self) -> Option<Error> {
        self.ended.borrow().clone()
    }

    /// Ends it: reads fail with `reason` from now on, and its copies are let go.
    pub(super) fn end(&self, reason: Error) {
        self.ended.borrow_mut().get_or_insert(reason);
        for slot in self.table.take().slots() {
            self.pool.release(slot);
        }
        self.held_bytes.set(0);
    }

    fn check(&self, extent: Extent) -> Result<()> {
        if let Some(error) = &*self.ended.borrow() {
            return Err(error.clone());
        }
        self.geometry().check(extent)
    }

    /// Cuts a part where its place changes, with a use of each slot: an image that ends meanwhile
    /// must not have them filled by somebody else.
    fn pieces(&self, extent: Extent) -> Vec<(Extent, Piece)> {
        let pieces = self.places(extent).into_iter();
        let hold = |place| match place {
            Place::Slot(slot) => Piece::Slot(self.pool.share(slot)),
            Place::Base => Piece::Base,
            Place::Zero => Piece::Zero,
            Place::Forgotten => Piece::Forgotten,
        };
        pieces
            .map(|(extent, place)| (extent, hold(place)))
            .collect()
    }

    fn places(&self, extent: Extent) -> Vec<(Extent, Place)> {
        let table = self.table.borrow();
        let mut pieces: Vec<(Extent, Place)> = Vec::new();
        let mut at = extent.offset_bytes;
        while at < extent.end_bytes() {
            let granule = at / self.granule_bytes;
            let end = extent.end_bytes().min((granule + 1) * self.granule_bytes);
            let place = table.place(granule);
            match pieces.last_mut() {
                Some((last, before)) if *before == place => last.len_bytes += end - at,
                _ => pieces.push((Extent::new(at, end - at), place)),
            }
            at = end;
        }
        pieces
    }

    /// All of a part is still on the disk below.
    fn is_base(&self, extent: Extent) -> bool {
        let granules = extent.offset_bytes / self.granule_bytes
            ..extent.end_bytes().div_ceil(self.granule_bytes);
        let table = self.table.borrow();
        granules
            .into_iter()
            .all(|granule| table.place(granule) == Place::Base)
    }

    async fn read_piece(
        &self,
        extent: Extent,
        piece: Piece,
        mut buf: IoBufMut,
    ) -> Result<IoBufMut> {
        match piece {
            Piece::Zero => {
                buf.fill(0);
                Ok(buf)
            }
            Piece::Forgotten => Err(Error::new(
                ErrorKind::Io,
                "this part of the snapshot was given back after it had been read",
            )),
            Piece::Slot(slot) => {
                slot.read(extent.offset_bytes % self.granule_bytes, buf)
                    .await
            }
            Piece::Base => {
                let reading = self.readers.begin(extent);
                let buf = self.base.read(extent.offset_bytes, buf).await?;
                drop(reading);
                self.check(extent)?;
                if self.is_base(extent) {
                    return Ok(buf);
                }
                self.read(extent.offset_bytes, buf).await
            }
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.end(Error::new(ErrorKind::Shutdown, "the snapshot was deleted"));
    }
}

impl Disk for Image {
    fn name(&self) -> String {
        format!("snapshot of {}", self.base.name())
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size_bytes,
            read_only: true,
            ..self.base.geometry()
        }
    }

    fn read(&self, offset_bytes: u64, mut buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            let extent = Extent::new(offset_bytes, buf.len() as u64);
            self.check(extent)?;
            let mut reads = Vec::new();
            for (extent, piece) in self.pieces(extent) {
                let part = buf.split_to(extent.len_bytes as usize);
                reads.push(self.read_piece(extent, piece, part));
            }
            for part in try_join_all(reads).await?.into_iter().rev() {
                let mut joined = part;
                joined.unsplit(buf);
                buf = joined;
            }
            Ok(buf)
        })
    }

    fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
        refuse()
    }

    fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
        refuse()
    }

    fn discard(&self, _: Extent) -> Answer<'_, ()> {
        refuse()
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async move {
            self.check(extent)?;
            let most = STATUS_GRANULES * self.granule_bytes;
            let extent = Extent::new(extent.offset_bytes, extent.len_bytes.min(most));
            let mut parts = Vec::new();
            for (extent, place) in self.places(extent) {
                if parts.len() >= limit.max(1) {
                    break;
                }
                let known = |zero| Status {
                    extent,
                    allocated: true,
                    zero,
                };
                match place {
                    Place::Zero => parts.push(known(true)),
                    Place::Slot(_) | Place::Forgotten => parts.push(known(false)),
                    Place::Base => {
                        let reading = self.readers.begin(extent);
                        let below = self.base.status(extent, limit - parts.len()).await?;
                        drop(reading);
                        self.check(extent)?;
                        if self.is_base(extent) {
                            let covered: u64 = below.iter().map(|part| part.extent.len_bytes).sum();
                            parts.extend(below);
                            if covered < extent.len_bytes {
                                break;
                            }
                        } else {
                            // Written meanwhile: say what is always right.
                            parts.push(known(false));
                        }
                    }
                }
            }
            Ok(parts)
        })
    }

    fn resize(&self, _: u64) -> Answer<'_, ()> {
        refuse()
    }
}

fn refuse() -> Answer<'static, ()> {
    let error = Error::new(ErrorKind::ReadOnly, "a snapshot does not change");
    Box::pin(std::future::ready(Err(error)))
}
