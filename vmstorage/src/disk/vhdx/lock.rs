//! Locks of blocks: many requests use a block at once, one alone changes where it is.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// The lock of what only one task may do: log and headers.
pub(super) const COMMIT: u64 = u64::MAX;
/// The lock of the file's growth.
pub(super) const GROW: u64 = u64::MAX - 1;
/// The lock of changes of the disk's size.
pub(super) const RESIZE: u64 = u64::MAX - 2;

/// Locks by number; one that nobody holds takes no memory.
#[derive(Debug, Default)]
pub(super) struct Locks {
    table: RefCell<HashMap<u64, Slot>>,
    abandoned: RefCell<HashSet<u64>>,
}

#[derive(Debug, Default)]
struct Slot {
    shared: usize,
    exclusive: bool,
    /// Tasks that wait to be alone; no new ones are let in beside them.
    alone: usize,
    wakers: Vec<Waker>,
}

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    locks: &'a Locks,
    key: u64,
    exclusive: bool,
    done: Cell<bool>,
}

/// A task that waits to be alone.
struct Waiting<'a> {
    locks: &'a Locks,
    key: u64,
    counted: bool,
}

impl Locks {
    /// Waits until nobody holds the lock alone.
    pub(super) async fn shared(&self, key: u64) -> Guard<'_> {
        poll_fn(|context| {
            let mut table = self.table.borrow_mut();
            let slot = table.entry(key).or_default();
            if slot.exclusive || slot.alone > 0 {
                slot.wakers.push(context.waker().clone());
                return Poll::Pending;
            }
            slot.shared += 1;
            Poll::Ready(())
        })
        .await;
        self.guard(key, false)
    }

    /// Waits until nobody holds the lock.
    pub(super) async fn exclusive(&self, key: u64) -> Guard<'_> {
        let mut waiting = Waiting {
            locks: self,
            key,
            counted: false,
        };
        poll_fn(|context| {
            let mut table = self.table.borrow_mut();
            let slot = table.entry(key).or_default();
            if slot.exclusive || slot.shared > 0 {
                if !std::mem::replace(&mut waiting.counted, true) {
                    slot.alone += 1;
                }
                slot.wakers.push(context.waker().clone());
                return Poll::Pending;
            }
            slot.exclusive = true;
            Poll::Ready(())
        })
        .await;
        let guard = self.guard(key, true);
        drop(waiting);
        guard
    }

    /// Whether a request on that block was dropped before it had ended: the image may still be
    /// written there, so its space must not be used for anything else.
    pub(super) fn was_abandoned(&self, key: u64) -> bool {
        self.abandoned.borrow().contains(&key)
    }

    /// Whether anybody uses the block or waits for it.
    pub(super) fn is_held(&self, key: u64) -> bool {
        self.table.borrow().contains_key(&key)
    }

    fn guard(&self, key: u64, exclusive: bool) -> Guard<'_> {
        Guard {
            locks: self,
            key,
            exclusive,
            done: Cell::new(false),
        }
    }

    /// Changes a slot, wakes who waits for it, and forgets it when nobody uses it.
    fn leave(&self, key: u64, change: impl FnOnce(&mut Slot)) {
        let mut table = self.table.borrow_mut();
        let Some(slot) = table.get_mut(&key) else {
            return;
        };
        change(slot);
        let wakers = std::mem::take(&mut slot.wakers);
        if slot.shared == 0 && !slot.exclusive && slot.alone == 0 {
            table.remove(&key);
        }
        drop(table);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Guard<'_> {
    /// Says that the request has ended.
    pub(super) fn done(self) {
        self.done.set(true);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.done.get() && !self.exclusive {
            self.locks.abandoned.borrow_mut().insert(self.key);
        }
        self.locks.leave(self.key, |slot| {
            if self.exclusive {
                slot.exclusive = false;
            } else {
                slot.shared -= 1;
            }
        });
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.locks.leave(self.key, |slot| slot.alone -= 1);
        }
    }
}
