//! Which parts of a disk are being written, in the order of arrival.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Ranges that are held or waited for. Shared ones may overlap each other, an exclusive one
/// nothing. Turns are taken in the order of arrival, so nobody waits for ever.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    entries: Vec<Entry>,
    /// How many of them are exclusive: without any nobody is in anybody's way.
    exclusive: usize,
    next_id: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    start: u64,
    end: u64,
    exclusive: bool,
    waker: Option<Waker>,
}

/// A range that is held, or waited for; dropping it lets others go on.
pub(crate) struct Guard<'a> {
    ranges: &'a Ranges,
    id: u64,
}

impl Entry {
    fn conflicts(&self, other: &Self) -> bool {
        (self.exclusive || other.exclusive) && self.start < other.end && other.start < self.end
    }
}

impl State {
    /// Where an entry is; they are in the order of their numbers.
    fn position(&self, id: u64) -> Option<usize> {
        self.entries
            .binary_search_by_key(&id, |entry| entry.id)
            .ok()
    }

    /// Whether nobody who came earlier is in the way of entry `at`.
    fn is_free(&self, at: usize) -> bool {
        if self.exclusive == 0 {
            return true;
        }
        let (earlier, rest) = self.entries.split_at(at);
        rest.first()
            .is_none_or(|entry| !earlier.iter().any(|other| other.conflicts(entry)))
    }
}

impl Ranges {
    /// Waits for a range, `end` not included.
    pub(crate) async fn enter(&self, start: u64, end: u64, exclusive: bool) -> Guard<'_> {
        let guard = self.arrive(start, end, exclusive);
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            let Some(at) = state.position(guard.id) else {
                return Poll::Ready(());
            };
            if state.is_free(at) {
                state.entries[at].waker = None;
                return Poll::Ready(());
            }
            state.entries[at].waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        guard
    }

    /// Waits until everybody who came before has gone, and keeps all others out.
    pub(crate) async fn enter_all(&self) -> Guard<'_> {
        self.enter(0, u64::MAX, true).await
    }

    /// Whether anybody holds a range or waits for one.
    pub(crate) fn is_busy(&self) -> bool {
        !self.state.borrow().entries.is_empty()
    }

    fn arrive(&self, start: u64, end: u64, exclusive: bool) -> Guard<'_> {
        let mut state = self.state.borrow_mut();
        let id = state.next_id;
        state.next_id += 1;
        state.exclusive += usize::from(exclusive);
        state.entries.push(Entry {
            id,
            start,
            end,
            exclusive,
            waker: None,
        });
        Guard { ranges: self, id }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut state = self.ranges.state.borrow_mut();
        let Some(at) = state.position(self.id) else {
            return;
        };
        let left = state.entries.remove(at);
        if state.exclusive == 0 {
            return;
        }
        state.exclusive -= usize::from(left.exclusive);
        for entry in &mut state.entries[at..] {
            if entry.conflicts(&left)
                && let Some(waker) = entry.waker.take()
            {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::engine::{run, spawn, yield_now};

    #[test]
    fn who_came_first_goes_first_and_only_overlaps_wait() {
        run(async {
            let ranges = Rc::new(Ranges::default());
            let log = Rc::new(RefCell::new(String::new()));
            let first = ranges.enter(0, 10, true).await;
            let enter = |name: char, start, end, exclusive| {
                let (ranges, log) = (Rc::clone(&ranges), Rc::clone(&log));
                spawn(async move {
                    let _held = ranges.enter(start, end, exclusive).await;
                    log.borrow_mut().push(name);
                    yield_now().await;
                    log.borrow_mut().push(name.to_ascii_lowercase());
                })
            };
            let tasks = [
                enter('A', 5, 20, true),
                enter('B', 10, 11, false),
                enter('C', 20, 30, false),
                enter('D', 20, 30, false),
                enter('E', 29, 40, true),
            ];
            yield_now().await;
            assert_eq!(*log.borrow(), "CDcdEe", "those that overlap `first` wait");
            drop(first);
            for task in tasks {
                task.await;
            }
            let log = log.borrow();
            assert!(log.find('a') < log.find('B'), "{log}");
            assert!(ranges.state.borrow().entries.is_empty());
        })
        .unwrap();
    }
}
