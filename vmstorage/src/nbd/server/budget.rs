//! How much of the server its clients may have in use: requests and bytes in flight.
//!
//! A connection that has used up its share is not read from until replies have left: TCP and the
//! socket buffers then slow the client down. The first [`Limits::own_bytes`] of every connection
//! are its own, so that clients which never read their replies can use up the common pool, but
//! cannot stop the others.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::engine::Notify;

/// What clients may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, those in their handshake included; more are closed at once.
    pub connections: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a client may go on after a shutdown has been told to it and its requests are done.
    pub farewell: Duration,
    /// How long a client that sends no more requests may take to receive its replies.
    pub linger: Duration,
    /// How long a client that has part of the pool may take none of its replies, or send nothing of
    /// a payload that it has announced, while others wait for the pool; then it is disconnected.
    pub patience: Duration,
    /// Requests of a connection that run at once.
    pub requests: usize,
    /// Bytes of requests and replies that a connection has in memory without asking the pool.
    pub own_bytes: u64,
    /// The same with the pool, at least as large as `payload_bytes`.
    pub connection_bytes: u64,
    /// Size of the pool that all connections share.
    pub pool_bytes: u64,
    /// Largest read or write.
    pub payload_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            handshake: Duration::from_secs(10),
            farewell: Duration::from_millis(200),
            linger: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            requests: 256,
            own_bytes: 1 << 20,
            connection_bytes: 64 << 20,
            pool_bytes: 512 << 20,
            payload_bytes: crate::nbd::proto::MAX_PAYLOAD_BYTES,
        }
    }
}

impl Limits {
    /// The same where it can be kept: the largest request fits, or it would wait for ever.
    pub(super) fn sane(mut self) -> Self {
        self.payload_bytes = self.payload_bytes.clamp(64 << 10, 1 << 30);
        self.connection_bytes = self.connection_bytes.max(self.payload_bytes.into());
        self.pool_bytes = self.pool_bytes.max(self.payload_bytes.into());
        self.requests = self.requests.max(1);
        self
    }
}

/// What all connections share. Who asks for more than is left waits in a queue: only the first is
/// woken when something comes back, however many there are.
#[derive(Debug)]
pub(super) struct Pool {
    left: Cell<u64>,
    queue: RefCell<VecDeque<Turn>>,
    next_id: Cell<u64>,
}

#[derive(Debug)]
struct Turn {
    id: u64,
    waker: Waker,
}

/// What one connection has in use.
#[derive(Debug)]
pub(super) struct Budget {
    pool: Rc<Pool>,
    limits: Limits,
    requests: Cell<usize>,
    bytes: Cell<u64>,
    /// Which part of `bytes` is from the pool.
    pooled: Cell<u64>,
    freed: Notify,
}

/// A request's part of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Rc<Budget>,
    bytes: u64,
}

/// What there is no room in.
enum Full {
    Connection,
    Pool,
}

/// One who asks, leaving the queue when dropped.
struct Asking<'a> {
    pool: &'a Pool,
    id: Option<u64>,
}

impl Pool {
    pub(super) fn new(bytes: u64) -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(bytes),
            queue: RefCell::default(),
            next_id: Cell::new(0),
        })
    }

    fn wake_first(&self) {
        let first = self.queue.borrow().front().map(|turn| turn.waker.clone());
        first.into_iter().for_each(Waker::wake);
    }

    /// Nobody else has been waiting for longer.
    fn is_turn_of(&self, id: Option<u64>) -> bool {
        let queue = self.queue.borrow();
        queue.front().is_none_or(|first| Some(first.id) == id)
    }
}

impl Asking<'_> {
    fn join(&mut self, waker: &Waker) {
        let mut queue = self.pool.queue.borrow_mut();
        match self.id {
            Some(id) => {
                if let Some(turn) = queue.iter_mut().find(|turn| turn.id == id) {
                    turn.waker.clone_from(waker);
                }
            }
            None => {
                let id = self.pool.next_id.get();
                self.pool.next_id.set(id + 1);
                self.id = Some(id);
                let waker = waker.clone();
                queue.push_back(Turn { id, waker });
            }
        }
    }

    fn leave(&mut self) {
        if let Some(id) = self.id.take() {
            self.pool.queue.borrow_mut().retain(|turn| turn.id != id);
            self.pool.wake_first();
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Budget {
    pub(super) fn new(pool: Rc<Pool>, limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            pool,
            limits,
            requests: Cell::new(0),
            bytes: Cell::new(0),
            pooled: Cell::new(0),
            freed: Notify::default(),
        })
    }

    /// It has something of the pool that others wait for.
    pub(super) fn is_wanted(&self) -> bool {
        self.pooled.get() > 0 && !self.pool.queue.borrow().is_empty()
    }

    /// Room for a request with so many bytes, as soon as there is.
    pub(super) async fn acquire(self: &Rc<Self>, bytes: u64) -> Permit {
        let mut asking = Asking {
            pool: &self.pool,
            id: None,
        };
        std::future::poll_fn(|context| match self.grant(bytes, asking.id) {
            Ok(permit) => {
                asking.leave();
                Poll::Ready(permit)
            }
            Err(full) => {
                match full {
                    Full::Connection => asking.leave(),
                    Full::Pool => asking.join(context.waker()),
                }
                self.freed.register(context);
                Poll::Pending
            }
        })
        .await
    }

    /// Room for a request with so many bytes, if there is.
    pub(super) fn try_acquire(self: &Rc<Self>, bytes: u64) -> Option<Permit> {
        self.grant(bytes, None).ok()
    }

    fn grant(self: &Rc<Self>, bytes: u64, id: Option<u64>) -> Result<Permit, Full> {
        let total = self.bytes.get().checked_add(bytes);
        let total = total.filter(|&total| total <= self.limits.connection_bytes);
        let Some(total) = total.filter(|_| self.requests.get() < self.limits.requests) else {
            return Err(Full::Connection);
        };
        let pooled = total.saturating_sub(self.limits.own_bytes);
        let more = pooled.saturating_sub(self.pooled.get());
        if more > 0 && !self.pool.is_turn_of(id) {
            return Err(Full::Pool);
        }
        let left = self.pool.left.get().checked_sub(more).ok_or(Full::Pool)?;
        self.pool.left.set(left);
        self.pooled.set(self.pooled.get() + more);
        self.bytes.set(total);
        self.requests.set(self.requests.get() + 1);
        Ok(Permit {
            budget: Rc::clone(self),
            bytes,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let budget = &self.budget;
        budget.requests.set(budget.requests.get() - 1);
        budget.bytes.set(budget.bytes.get() - self.bytes);
        let pooled = budget.bytes.get().saturating_sub(budget.limits.own_bytes);
        let back = budget.pooled.get().saturating_sub(pooled);
        budget.freed.wake();
        if back > 0 {
            budget.pooled.set(pooled);
            budget.pool.left.set(budget.pool.left.get() + back);
            budget.pool.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            requests: 3,
            own_bytes: 10,
            connection_bytes: 100,
            pool_bytes: 60,
            ..Limits::default()
        }
    }

    #[test]
    fn the_own_part_is_left_when_the_pool_is_used_up() {
        let pool = Pool::new(limits().pool_bytes);
        let greedy = Budget::new(Rc::clone(&pool), limits());
        let modest = Budget::new(Rc::clone(&pool), limits());
        let held = greedy.try_acquire(70).unwrap();
        assert!(greedy.try_acquire(1).is_none());
        let small = modest.try_acquire(10).unwrap();
        assert!(modest.try_acquire(1).is_none());
        drop(small);
        drop(held);
        assert_eq!(pool.left.get(), limits().pool_bytes);
    }

    #[test]
    fn who_waits_for_the_pool_has_it_in_turn() {
        crate::engine::run(async {
            let pool = Pool::new(limits().pool_bytes);
            let [held, large, small] = [70, 100, 11].map(|bytes| {
                let budget = Budget::new(Rc::clone(&pool), limits());
                (Box::pin(async move { budget.acquire(bytes).await }), bytes)
            });
            let held = held.0.await;
            let (mut large, mut small) = (large.0, small.0);
            assert!(futures_util::poll!(&mut large).is_pending());
            assert!(futures_util::poll!(&mut small).is_pending());
            assert_eq!(pool.queue.borrow().len(), 2);
            let greedy = Budget::new(Rc::clone(&pool), limits());
            drop(held);
            // What came back is for those who wait, in their order.
            assert!(greedy.try_acquire(11).is_none());
            assert!(futures_util::poll!(&mut small).is_pending());
            // This one wants more than there ever is, and gives up.
            assert!(futures_util::poll!(&mut large).is_pending());
            drop(large);
            drop(small.await);
            assert!(pool.queue.borrow().is_empty());
            assert_eq!(pool.left.get(), limits().pool_bytes);
        })
        .unwrap();
    }

    #[test]
    fn requests_and_bytes_of_a_connection_are_bounded() {
        let pool = Pool::new(1000);
        let budget = Budget::new(pool, limits());
        assert!(budget.try_acquire(101).is_none());
        assert!(budget.try_acquire(u64::MAX).is_none());
        let held: Vec<_> = (0..3).map(|_| budget.try_acquire(1).unwrap()).collect();
        assert!(budget.try_acquire(0).is_none());
        drop(held);
        budget.try_acquire(100).unwrap();
    }
}
