//! A place through which all changes of a disk go, and where they can be held.
//!
//! Holding waits for the changes that are under way and keeps later ones outside, so there is a
//! moment at which no write is half inside. Held gates of several disks make that moment one for
//! all of them.

use std::cell::Cell;
use std::rc::Rc;

use crate::disk::{Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut};
use crate::engine::{Notify, to_the_end};

/// Longer zeroes and discards go inside in parts, each by itself: where they have to be written out
/// they take minutes, and a hold would wait for them.
const PART_BYTES: u64 = 64 << 20;

/// Counts who is inside.
#[derive(Debug, Default)]
pub struct Gate {
    inside: Cell<usize>,
    held: Cell<bool>,
    holders_waiting: Cell<usize>,
    changed: Notify,
    hurry: Cell<bool>,
}

/// Being inside; dropping it leaves.
#[derive(Debug)]
pub struct Pass(Rc<Gate>);

/// Nobody is inside; dropping it opens the gate again.
#[derive(Debug)]
pub struct Held(Rc<Gate>);

/// A disk behind a [`Gate`]: changes pass through it, reads and flushes go by.
#[derive(Debug)]
pub struct Gated {
    gate: Rc<Gate>,
    disk: Rc<dyn Disk>,
}

impl Gate {
    /// Goes inside, as soon as the gate is not held and nobody waits to hold it.
    pub async fn enter(self: &Rc<Self>) -> Pass {
        let open = || !self.held.get() && self.holders_waiting.get() == 0;
        if !open() {
            self.changed.when(open).await;
        }
        self.inside.set(self.inside.get() + 1);
        Pass(Rc::clone(self))
    }

    /// Keeps others outside and waits until nobody is inside. Holders take turns.
    pub async fn hold(self: &Rc<Self>) -> Held {
        let waiting = Waiting::new(self);
        self.changed
            .when(|| self.inside.get() == 0 && !self.held.get())
            .await;
        self.held.set(true);
        drop(waiting);
        Held(Rc::clone(self))
    }

    /// Has long changes end half-way from now on, with [`ErrorKind::Shutdown`]: the disk is closed.
    pub fn hurry(&self) {
        self.hurry.set(true);
    }

    /// Somebody holds it now.
    pub fn is_held(&self) -> bool {
        self.held.get()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.inside.set(self.0.inside.get() - 1);
        if self.0.inside.get() == 0 {
            self.0.changed.wake();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.set(false);
        self.0.changed.wake();
    }
}

/// A holder that waits; it also ends when the future is dropped.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.holders_waiting.set(gate.holders_waiting.get() + 1);
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.holders_waiting.set(self.0.holders_waiting.get() - 1);
        self.0.changed.wake();
    }
}

impl Gated {
    /// `disk`, whose changes go through `gate`.
    pub fn new(disk: Rc<dyn Disk>, gate: Rc<Gate>) -> Self {
        Self { gate, disk }
    }

    /// Has a change done inside.
    fn change<C, F>(&self, change: C) -> Answer<'_, ()>
    where
        C: FnOnce(Rc<dyn Disk>) -> F + 'static,
        F: Future<Output = crate::disk::Result<()>> + 'static,
    {
        let (gate, disk) = (Rc::clone(&self.gate), Rc::clone(&self.disk));
        to_the_end(async move {
            let _pass = gate.enter().await;
            change(disk).await
        })
    }

    /// Has a change done that may be long.
    fn change_parts<C, F>(&self, extent: Extent, change: C) -> Answer<'_, ()>
    where
        C: Fn(Rc<dyn Disk>, Extent) -> F + 'static,
        F: Future<Output = crate::disk::Result<()>> + 'static,
    {
        let (gate, disk) = (Rc::clone(&self.gate), Rc::clone(&self.disk));
        to_the_end(async move {
            disk.geometry().check_write(extent)?;
            let (mut at, end) = (extent.offset_bytes, extent.end_bytes());
            loop {
                let _pass = gate.enter().await;
                // Ending at multiples, so that only the first and the last have edges.
                let stop = end.min((at / PART_BYTES + 1).saturating_mul(PART_BYTES));
                change(Rc::clone(&disk), Extent::new(at, stop - at)).await?;
                if stop == end {
                    return Ok(());
                }
                if gate.hurry.get() {
                    let why = "the disk is being closed";
                    return Err(Error::new(ErrorKind::Shutdown, why));
                }
                at = stop;
            }
        })
    }
}

impl Disk for Gated {
    fn name(&self) -> String {
        self.disk.name()
    }

    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.disk.read(offset_bytes, buf)
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        self.change(move |disk| async move { disk.write(offset_bytes, data, durability).await })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        if extent.len_bytes <= PART_BYTES {
            return self.change(move |disk| async move { disk.write_zeroes(extent, how).await });
        }
        let volatile = Zeroes {
            durability: Durability::Volatile,
            ..how
        };
        let zeroed = self.change_parts(extent, move |disk, part| async move {
            disk.write_zeroes(part, volatile).await
        });
        Box::pin(async move {
            zeroed.await?;
            match how.durability {
                Durability::Volatile => Ok(()),
                Durability::Durable => self.disk.flush().await,
            }
        })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.change_parts(extent, |disk, part| async move { disk.discard(part).await })
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
        self.change(move |disk| async move { disk.resize(size_bytes).await })
    }
}

#[cfg(test)]
mod tests;
