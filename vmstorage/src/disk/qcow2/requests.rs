//! Requests under way, by generation: a cluster that was freed is used again only after every
//! request that may still know it has ended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// The requests under way.
#[derive(Debug, Default)]
pub(super) struct Requests {
    generation: Cell<u64>,
    live: RefCell<BTreeMap<u64, u64>>,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    requests: &'a Requests,
    generation: u64,
    pins: Cell<bool>,
}

impl Requests {
    pub(super) fn start(&self) -> Ticket<'_> {
        let generation = self.generation.get();
        *self.live.borrow_mut().entry(generation).or_default() += 1;
        Ticket {
            requests: self,
            generation,
            pins: Cell::new(false),
        }
    }

    /// Ends the generation, and returns its number.
    pub(super) fn turn(&self) -> u64 {
        let generation = self.generation.get();
        self.generation.set(generation + 1);
        generation
    }

    /// Whether all requests of that generation and of those before have ended.
    pub(super) fn have_ended(&self, generation: u64) -> bool {
        self.live
            .borrow()
            .first_key_value()
            .is_none_or(|(oldest, _)| *oldest > generation)
    }
}

impl Ticket<'_> {
    /// Says that the file is being written: if the request is dropped before [`Ticket::done`], the
    /// write may go on, and its clusters are not used again while the image is open.
    pub(super) fn pin(&self) {
        self.pins.set(true);
    }

    /// Says that nothing is being written any more.
    pub(super) fn done(&self) {
        self.pins.set(false);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.pins.get() {
            return;
        }
        let mut live = self.requests.live.borrow_mut();
        if let Some(count) = live.get_mut(&self.generation) {
            *count -= 1;
            if *count == 0 {
                live.remove(&self.generation);
            }
        }
    }
}
