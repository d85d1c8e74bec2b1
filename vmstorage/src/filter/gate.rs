//! A place through which all changes of a disk go, and where they can be held.
//!
//! Holding waits for the changes that are under way and keeps later ones outside, so there is a
//! moment at which no write is half inside. Held gates of several disks make that moment one for
//! all of them.

use std::cell::Cell;
use std::rc::Rc;

use super::{Signal, to_the_end};
use crate::disk::{Answer, Disk, Durability, Extent, Geometry, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut};

/// Counts who is inside.
#[derive(Debug, Default)]
pub struct Gate {
    inside: Cell<usize>,
    held: Cell<bool>,
    holders_waiting: Cell<usize>,
    changed: Signal,
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
            self.changed.until(open).await;
        }
        self.inside.set(self.inside.get() + 1);
        Pass(Rc::clone(self))
    }

    /// Keeps others outside and waits until nobody is inside. Holders take turns.
    pub async fn hold(self: &Rc<Self>) -> Held {
        let waiting = Waiting::new(self);
        self.changed
            .until(|| self.inside.get() == 0 && !self.held.get())
            .await;
        self.held.set(true);
        drop(waiting);
        Held(Rc::clone(self))
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
            self.0.changed.notify();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.set(false);
        self.0.changed.notify();
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
        self.0.changed.notify();
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
        self.change(move |disk| async move { disk.write_zeroes(extent, how).await })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.change(move |disk| async move { disk.discard(extent).await })
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
mod tests {
    use super::*;
    use crate::disk::memory::Memory;
    use crate::engine::{run, spawn, yield_now};

    #[test]
    fn a_hold_waits_for_who_is_inside_and_keeps_others_out() {
        run(async {
            let gate = Rc::new(Gate::default());
            let pass = gate.enter().await;
            let mut hold = Box::pin(gate.hold());
            assert!(futures_util::poll!(&mut hold).is_pending());
            let mut late = Box::pin(gate.enter());
            assert!(futures_util::poll!(&mut late).is_pending());
            drop(pass);
            let held = hold.await;
            assert!(futures_util::poll!(&mut late).is_pending());
            drop(held);
            drop(late.await);
            // A holder that gives up lets others in.
            let pass = gate.enter().await;
            let mut hold = Box::pin(gate.hold());
            assert!(futures_util::poll!(&mut hold).is_pending());
            drop(hold);
            let _second = gate.enter().await;
            drop(pass);
        })
        .unwrap();
    }

    #[test]
    fn writes_wait_and_reads_go_by() {
        run(async {
            let gate = Rc::new(Gate::default());
            let disk = Rc::new(Gated::new(Rc::new(Memory::new(4096)), Rc::clone(&gate)));
            let held = gate.hold().await;
            let writer = Rc::clone(&disk);
            let write = spawn(async move {
                let data = IoBuf::copy_of(b"x");
                writer.write(0, data, Durability::Volatile).await
            });
            for _ in 0..4 {
                yield_now().await;
            }
            assert_eq!(disk.read(0, IoBufMut::zeroed(1)).await.unwrap()[0], 0);
            drop(held);
            write.await.unwrap();
            assert_eq!(disk.read(0, IoBufMut::zeroed(1)).await.unwrap()[0], b'x');
        })
        .unwrap();
    }
}
