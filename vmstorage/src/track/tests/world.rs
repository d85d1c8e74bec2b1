//! A disk and its map that lose their power at the same moment.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disk::fault::Fault;
use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{IoBuf, IoBufMut, yield_now};
use crate::track::{Beginning, Fingerprint, Options, Tracker, open};

/// Block size of the maps in tests.
pub(super) const BLOCK: u64 = 4096;

#[derive(Debug)]
pub(super) struct World {
    pub(super) disk: Rc<Fault>,
    pub(super) map: Rc<Fault>,
    pub(super) power: Rc<Power>,
    pub(super) hot_pages: usize,
    pub(super) cache_pages: usize,
}

/// Changes and flushes of both until the power goes; and how long each takes.
#[derive(Debug)]
pub(super) struct Power {
    pub(super) left: Cell<Option<u64>>,
    pub(super) done: Cell<u64>,
    rng: RefCell<Option<StdRng>>,
}

#[derive(Debug)]
pub(super) struct Wire {
    fault: Rc<Fault>,
    power: Rc<Power>,
}

impl World {
    pub(super) fn new(size_bytes: u64) -> Self {
        Self::with(vec![0; size_bytes as usize], Vec::new())
    }

    pub(super) fn with(disk: Vec<u8>, map: Vec<u8>) -> Self {
        let power = Power {
            left: Cell::new(None),
            done: Cell::new(0),
            rng: RefCell::new(None),
        };
        Self {
            disk: Rc::new(Fault::new(disk)),
            map: Rc::new(Fault::new(map)),
            power: Rc::new(power),
            hot_pages: 8,
            cache_pages: 2,
        }
    }

    /// Lets operations take different times.
    pub(super) fn disorder(self, seed: u64) -> Self {
        *self.power.rng.borrow_mut() = Some(StdRng::seed_from_u64(seed));
        self
    }

    pub(super) fn copy(&self) -> Self {
        Self::with(self.disk.content(), self.map.content())
    }

    /// What the devices hold after the power was cut.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let disk = self.disk.after_power_cut(seed);
        Self::with(disk, self.map.after_power_cut(seed ^ 0x5eed))
    }

    pub(super) fn look(&self) -> Fingerprint {
        Fingerprint::new().with("id", b"the same file", true).with(
            "content",
            &self.disk.content(),
            false,
        )
    }

    /// The power is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.power.left.get() == Some(u64::MAX)
    }

    pub(super) fn wire(&self, fault: &Rc<Fault>) -> Rc<Wire> {
        Rc::new(Wire {
            fault: Rc::clone(fault),
            power: Rc::clone(&self.power),
        })
    }

    pub(super) async fn open(&self) -> Result<(Tracker, Beginning)> {
        let options = Options {
            block_bytes: BLOCK as u32,
            cache_pages: self.cache_pages,
            hot_pages: self.hot_pages,
            read_only: false,
        };
        let (disk, map) = (self.wire(&self.disk), self.wire(&self.map));
        open(disk, map, &self.look(), &options).await
    }
}

/// Whether a byte is within the extents.
pub(super) fn covered(byte: u64, extents: &[Extent]) -> bool {
    extents
        .iter()
        .any(|e| e.offset_bytes <= byte && byte < e.end_bytes())
}

impl Power {
    /// Answers whether the power goes now; fails when it is gone.
    async fn tick(&self) -> Result<bool> {
        self.pause().await;
        match self.left.get() {
            Some(u64::MAX) => Err(Error::new(ErrorKind::Io, "the power is gone")),
            Some(0) => {
                self.left.set(Some(u64::MAX));
                Ok(true)
            }
            left => {
                self.left.set(left.map(|left| left - 1));
                self.done.set(self.done.get() + 1);
                Ok(false)
            }
        }
    }

    async fn pause(&self) {
        let turns = match &mut *self.rng.borrow_mut() {
            Some(rng) => rng.random_range(0..4),
            None => 0,
        };
        for _ in 0..turns {
            yield_now().await;
        }
    }
}

impl Wire {
    async fn change<T>(&self, change: impl Future<Output = Result<T>>) -> Result<T> {
        if self.power.tick().await? {
            self.fault.cut_power_after(0);
        }
        let changed = change.await;
        self.power.pause().await;
        changed
    }
}

impl Disk for Wire {
    fn name(&self) -> String {
        "wire".into()
    }

    fn geometry(&self) -> Geometry {
        self.fault.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            self.power.pause().await;
            self.fault.read(offset_bytes, buf).await
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        Box::pin(self.change(self.fault.write(offset_bytes, data, how)))
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(self.change(self.fault.write_zeroes(extent, how)))
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(self.change(self.fault.discard(extent)))
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(self.change(self.fault.flush()))
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.fault.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(self.change(self.fault.resize(size_bytes)))
    }
}
