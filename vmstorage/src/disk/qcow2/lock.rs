//! Locks of ranges, served in the order in which they were asked for.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Range;
use std::task::{Poll, Waker};

/// Ranges that are locked or waited for, oldest first. A task that holds one must not ask for
/// another of the same table.
#[derive(Debug, Default)]
pub(super) struct RangeLocks {
    entries: RefCell<Vec<Waiting>>,
    next: Cell<u64>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    range: Range<u64>,
    waker: Option<Waker>,
}

/// A range that is locked, until it is dropped.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    locks: &'a RangeLocks,
    number: u64,
}

impl RangeLocks {
    /// Waits until nobody who asked before has any of the range.
    pub(super) async fn lock(&self, range: Range<u64>) -> Guard<'_> {
        let number = self.next.get();
        self.next.set(number + 1);
        self.entries.borrow_mut().push(Waiting {
            number,
            range: range.clone(),
            waker: None,
        });
        let guard = Guard {
            locks: self,
            number,
        };
        poll_fn(|context| {
            let mut entries = self.entries.borrow_mut();
            let busy = entries.iter().any(|other| {
                other.number < number
                    && other.range.start < range.end
                    && range.start < other.range.end
            });
            if !busy {
                return Poll::Ready(());
            }
            if let Some(own) = entries.iter_mut().find(|entry| entry.number == number) {
                own.waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
        guard
    }

    /// Waits until everybody who asked before has gone.
    pub(super) async fn lock_all(&self) -> Guard<'_> {
        self.lock(0..u64::MAX).await
    }

    /// Whether anybody has or wants a lock.
    pub(super) fn is_busy(&self) -> bool {
        !self.entries.borrow().is_empty()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut entries = self.locks.entries.borrow_mut();
        entries.retain(|entry| entry.number != self.number);
        let wakers: Vec<Waker> = entries.iter_mut().filter_map(|e| e.waker.take()).collect();
        drop(entries);
        wakers.into_iter().for_each(Waker::wake);
    }
}
