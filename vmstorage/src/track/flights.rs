//! Changes that are under way, so that a checkpoint counts them for the epoch after it too.

use std::cell::{Cell, RefCell};

use tokio::sync::Notify;

use super::table::Blocks;

/// Most ranges of given-up changes that are told apart.
const MAX_ABANDONED: usize = 1024;

/// The changes under way of one disk.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: RefCell<Vec<Option<Blocks>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    /// Ranges of changes whose caller left before they ended: they may land at any later time.
    abandoned: RefCell<Vec<Blocks>>,
    watched: Cell<bool>,
    landed: Notify,
}

/// A change under way. Dropped before [`Flight::land`], it counts as under way for ever.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    /// Without one it changes nothing.
    id: Option<usize>,
}

impl Flights {
    /// A change of nothing begins.
    pub(super) fn stay(&self) -> Flight<'_> {
        Flight {
            flights: self,
            id: None,
        }
    }

    /// A change begins.
    pub(super) fn take_off(&self, blocks: Blocks) -> Flight<'_> {
        let mut under_way = self.under_way.borrow_mut();
        let id = match self.free.borrow_mut().pop() {
            Some(id) => id,
            None => {
                under_way.push(None);
                under_way.len() - 1
            }
        };
        under_way[id] = Some(blocks);
        self.count.set(self.count.get() + 1);
        Flight {
            flights: self,
            id: Some(id),
        }
    }

    /// All ranges that may still change, now.
    pub(super) fn all(&self) -> Vec<Blocks> {
        let mut all: Vec<Blocks> = self.under_way.borrow().iter().copied().flatten().collect();
        all.extend(self.abandoned.borrow().iter());
        all
    }

    /// Waits until no change is under way that still has a caller.
    pub(super) async fn all_landed(&self) {
        while self.count.get() > 0 {
            self.watched.set(true);
            self.landed.notified().await;
        }
    }

    fn end(&self, id: usize) -> Option<Blocks> {
        let blocks = self.under_way.borrow_mut()[id].take()?;
        self.free.borrow_mut().push(id);
        self.count.set(self.count.get() - 1);
        if self.count.get() == 0 && self.watched.replace(false) {
            self.landed.notify_waiters();
        }
        Some(blocks)
    }
}

impl Flight<'_> {
    /// The change has ended, well or not.
    pub(super) fn land(mut self) {
        if let Some(id) = self.id.take() {
            self.flights.end(id);
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(blocks) = self.id.and_then(|id| self.flights.end(id)) {
            let mut abandoned = self.flights.abandoned.borrow_mut();
            abandoned.push(blocks);
            if abandoned.len() > MAX_ABANDONED {
                join(&mut abandoned);
            }
        }
    }
}

/// Joins ranges that touch; if too many are left, all of them.
fn join(ranges: &mut Vec<Blocks>) {
    ranges.sort_by_key(|range| range.first);
    ranges.dedup_by(|next, range| {
        let touching = next.first <= range.last.saturating_add(1);
        if touching {
            range.last = range.last.max(next.last);
        }
        touching
    });
    if ranges.len() > MAX_ABANDONED / 2
        && let (Some(first), Some(last)) = (ranges.first().copied(), ranges.last().copied())
    {
        *ranges = vec![Blocks {
            first: first.first,
            last: last.last,
        }];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(first: u64, last: u64) -> Blocks {
        Blocks { first, last }
    }

    #[test]
    fn what_was_given_up_stays_under_way() {
        let flights = Flights::default();
        let one = flights.take_off(blocks(1, 2));
        let two = flights.take_off(blocks(5, 5));
        one.land();
        assert_eq!(flights.all(), [blocks(5, 5)]);
        drop(two);
        assert_eq!(flights.all(), [blocks(5, 5)]);
        assert_eq!(flights.count.get(), 0);
    }

    #[test]
    fn many_that_were_given_up_are_joined() {
        let flights = Flights::default();
        for first in (0..5000).rev() {
            drop(flights.take_off(blocks(first, first)));
        }
        assert!(flights.all().len() <= MAX_ABANDONED + 1);
        let covered = |block| {
            flights
                .all()
                .iter()
                .any(|r| r.first <= block && block <= r.last)
        };
        assert!((0..5000).all(covered));
    }
}
