//! Limits on how much clients may do in a second.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::select;

use super::Signal;
use crate::disk::{Answer, Disk, Durability, Extent, Geometry, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut, sleep};

/// How far ahead of an even rate requests may run: what was not used for so long is lost.
const BURST: Duration = Duration::from_millis(100);

/// Limits; without one there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a second of all kinds but flushes.
    pub operations_per_second: Option<u64>,
    /// Bytes a second, read and written. Zeroes and discards move none.
    pub bytes_per_second: Option<u64>,
}

/// A disk whose requests are slowed down to limits, in the order in which they come. Limits can
/// change at any time, also for requests that wait.
#[derive(Debug)]
pub struct Throttle {
    disk: Rc<dyn Disk>,
    limits: Cell<Limits>,
    meters: RefCell<[Meter; 2]>,
    /// Counts changes of the limits.
    version: Cell<u64>,
    changed: Signal,
}

/// When what was let in so far would be through at an even rate.
#[derive(Debug, Clone, Copy)]
struct Meter {
    through: Instant,
}

impl Meter {
    /// Lets `amount` in at `rate`, and answers when.
    fn reserve(&mut self, amount: u64, rate: u64, now: Instant) -> Instant {
        let begin = self.through.max(now);
        let seconds = amount as f64 / rate.max(1) as f64;
        // A request that would take longer than a year is not told from one that takes a year.
        self.through = begin + Duration::from_secs_f64(seconds.min(3e7));
        begin.checked_sub(BURST).unwrap_or(now)
    }
}

impl Throttle {
    /// `disk` with limits.
    pub fn new(disk: Rc<dyn Disk>, limits: Limits) -> Self {
        let through = Instant::now();
        Self {
            disk,
            limits: Cell::new(limits),
            meters: RefCell::new([Meter { through }; 2]),
            version: Cell::new(0),
            changed: Signal::default(),
        }
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// Other limits from now on.
    pub fn set(&self, limits: Limits) {
        let through = Instant::now();
        self.limits.set(limits);
        *self.meters.borrow_mut() = [Meter { through }; 2];
        self.version.set(self.version.get() + 1);
        self.changed.notify();
    }

    /// Waits until a request may begin.
    async fn admit(&self, len_bytes: u64) {
        loop {
            let limits = self.limits.get();
            if limits == Limits::default() {
                return;
            }
            let now = Instant::now();
            let begin = self.reserve(limits, len_bytes, now);
            if begin <= now {
                return;
            }
            let version = self.version.get();
            let changed = pin!(self.changed.until(|| self.version.get() != version));
            select(pin!(sleep(begin - now)), changed).await;
            if self.version.get() == version {
                return;
            }
        }
    }

    fn reserve(&self, limits: Limits, len_bytes: u64, now: Instant) -> Instant {
        let mut begin = now;
        let wanted = [
            (limits.operations_per_second, 1),
            (limits.bytes_per_second, len_bytes),
        ];
        for (meter, (rate, amount)) in self.meters.borrow_mut().iter_mut().zip(wanted) {
            if let Some(rate) = rate {
                begin = begin.max(meter.reserve(amount, rate, now));
            }
        }
        begin
    }

    fn is_free(&self) -> bool {
        self.limits.get() == Limits::default()
    }
}

impl Disk for Throttle {
    fn name(&self) -> String {
        self.disk.name()
    }

    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        if self.is_free() {
            return self.disk.read(offset_bytes, buf);
        }
        Box::pin(async move {
            self.admit(buf.len() as u64).await;
            self.disk.read(offset_bytes, buf).await
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        if self.is_free() {
            return self.disk.write(offset_bytes, data, durability);
        }
        Box::pin(async move {
            self.admit(data.len() as u64).await;
            self.disk.write(offset_bytes, data, durability).await
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(async move {
            self.admit(0).await;
            self.disk.write_zeroes(extent, how).await
        })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            self.admit(0).await;
            self.disk.discard(extent).await
        })
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.disk.flush()
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        self.disk.cache(extent)
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.disk.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        self.disk.resize(size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::Memory;
    use crate::engine::{run, spawn};

    #[test]
    fn the_rate_is_even_after_a_burst() {
        let start = Instant::now();
        let mut meter = Meter { through: start };
        let begins: Vec<_> = (0..30)
            .map(|_| {
                meter
                    .reserve(1, 100, start)
                    .saturating_duration_since(start)
            })
            .collect();
        assert!(begins[..=10].iter().all(Duration::is_zero));
        assert!(begins[29].abs_diff(Duration::from_millis(190)) < Duration::from_millis(1));
        // What was not used for long is lost.
        let later = start + Duration::from_secs(10);
        let begin = (0..12).map(|_| meter.reserve(1, 100, later)).max().unwrap();
        assert!(begin > later);
    }

    #[test]
    fn requests_that_wait_see_new_limits() {
        run(async {
            let slow = Limits {
                operations_per_second: Some(1),
                bytes_per_second: Some(1),
            };
            let disk = Rc::new(Throttle::new(Rc::new(Memory::new(4096)), slow));
            let reads = (0..8).map(|_| {
                let disk = Rc::clone(&disk);
                spawn(async move { disk.read(0, IoBufMut::zeroed(4096)).await })
            });
            let reads: Vec<_> = reads.collect();
            sleep(Duration::from_millis(5)).await;
            assert!(!reads[7].is_finished());
            disk.set(Limits::default());
            for read in reads {
                read.await.unwrap();
            }
        })
        .unwrap();
    }
}
