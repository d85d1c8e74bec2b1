//! How much of the server its clients may have in use: requests and bytes in flight.
//!
//! A connection that has used up its share is not read from until replies have left: TCP and the
//! socket buffers then slow the client down. The first [`Limits::own_bytes`] of every connection
//! are its own, so that clients which never read their replies can use up the common pool, but
//! cannot stop the others.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
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

/// What all connections share.
#[derive(Debug)]
pub(super) struct Pool {
    left: Cell<u64>,
    freed: Notify,
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

impl Pool {
    pub(super) fn new(bytes: u64) -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(bytes),
            freed: Notify::default(),
        })
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

    /// Room for a request with so many bytes, as soon as there is.
    pub(super) async fn acquire(self: &Rc<Self>, bytes: u64) -> Permit {
        std::future::poll_fn(|context| {
            if let Some(permit) = self.try_acquire(bytes) {
                return Poll::Ready(permit);
            }
            self.freed.register(context);
            self.pool.freed.register(context);
            Poll::Pending
        })
        .await
    }

    /// Room for a request with so many bytes, if there is.
    pub(super) fn try_acquire(self: &Rc<Self>, bytes: u64) -> Option<Permit> {
        let total = self.bytes.get().checked_add(bytes)?;
        if self.requests.get() >= self.limits.requests || total > self.limits.connection_bytes {
            return None;
        }
        let pooled = total.saturating_sub(self.limits.own_bytes);
        let more = pooled.saturating_sub(self.pooled.get());
        let left = self.pool.left.get().checked_sub(more)?;
        self.pool.left.set(left);
        self.pooled.set(self.pooled.get() + more);
        self.bytes.set(total);
        self.requests.set(self.requests.get() + 1);
        Some(Permit {
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
            budget.pool.freed.wake();
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
