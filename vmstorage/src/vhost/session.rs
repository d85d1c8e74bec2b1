//! A front end's stay: which requests of it are under way, and whether more are taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::mailbox::lock;

/// What the threads share of one front end.
#[derive(Debug)]
pub(super) struct Session {
    state: Mutex<State>,
    ended: Condvar,
    features: AtomicU64,
}

#[derive(Debug)]
struct State {
    closed: bool,
    /// Requests under way, by queue.
    in_flight: Vec<usize>,
}

/// A request under way, or looking for one; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    session: Arc<Session>,
    queue: usize,
}

impl Session {
    pub(super) fn new(queues: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                closed: false,
                in_flight: vec![0; queues],
            }),
            ended: Condvar::new(),
            features: AtomicU64::new(0),
        })
    }

    /// What the guest agreed to.
    pub(super) fn features(&self) -> u64 {
        self.features.load(Ordering::Acquire)
    }

    pub(super) fn agree(&self, features: u64) {
        self.features.store(features, Ordering::Release);
    }

    /// Keeps a queue from being stopped; nothing once the front end has gone.
    pub(super) fn begin(self: &Arc<Self>, queue: usize) -> Option<Busy> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        *state.in_flight.get_mut(queue)? += 1;
        Some(Busy {
            session: Arc::clone(self),
            queue,
        })
    }

    /// How much of a queue is under way.
    pub(super) fn load(&self, queue: usize) -> usize {
        lock(&self.state).in_flight.get(queue).copied().unwrap_or(0)
    }

    /// Waits until a queue has nothing under way.
    pub(super) fn drain(&self, queue: usize) {
        self.wait(|state| state.in_flight.get(queue).is_none_or(|&count| count == 0));
    }

    /// Takes no more, and waits until nothing is under way.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.wait(|state| state.in_flight.iter().all(|&count| count == 0));
    }

    fn wait(&self, done: impl Fn(&State) -> bool) {
        let state = lock(&self.state);
        let waited = self.ended.wait_while(state, |state| !done(state));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.session.state).in_flight.get_mut(self.queue) {
            *count -= 1;
        }
        self.session.ended.notify_all();
    }
}
