//! A limit on the memory that requests take at once.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::IoBufMut;
use super::pool::lock;

/// A number of bytes that buffers share; who asks for more than is left waits.
///
/// Buffers count until their last handle is gone, so also while they are written or sent. Turns are
/// taken in the order of asking: large requests are not starved by small ones. A request larger
/// than the whole budget is served alone. It cannot deadlock as long as no task asks for a second
/// buffer while it holds one: take all of a request at once, and split it.
///
/// Clones are the same budget, also on other threads.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

/// A part of a budget; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Arc<Shared>,
    bytes: usize,
}

#[derive(Debug)]
struct Shared {
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Who asked, in order.
    queue: VecDeque<Wait>,
    next_id: u64,
}

#[derive(Debug)]
struct Wait {
    id: u64,
    bytes: usize,
    waker: Waker,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let state = State {
            free: bytes,
            queue: VecDeque::new(),
            next_id: 0,
        };
        Self {
            shared: Arc::new(Shared {
                total: bytes,
                state: Mutex::new(state),
            }),
        }
    }

    /// A buffer as [`IoBufMut::scratch`], as soon as there is room for it.
    pub async fn take(&self, len_bytes: usize) -> IoBufMut {
        let mut turn = Turn {
            shared: &self.shared,
            bytes: len_bytes.min(self.shared.total),
            id: None,
        };
        let permit = poll_fn(|context| turn.poll(context.waker())).await;
        IoBufMut::within(len_bytes, Some(permit))
    }

    /// A buffer if there is room for it now and nobody waits.
    pub fn try_take(&self, len_bytes: usize) -> Option<IoBufMut> {
        let bytes = len_bytes.min(self.shared.total);
        let mut state = lock(&self.shared.state);
        if !state.queue.is_empty() || state.free < bytes {
            return None;
        }
        let permit = state.grant(&self.shared, bytes);
        drop(state);
        Some(IoBufMut::within(len_bytes, Some(permit)))
    }

    /// Bytes that are not taken.
    pub fn free_bytes(&self) -> usize {
        lock(&self.shared.state).free
    }
}

impl State {
    fn grant(&mut self, shared: &Arc<Shared>, bytes: usize) -> Permit {
        self.free -= bytes;
        Permit {
            shared: Arc::clone(shared),
            bytes,
        }
    }

    /// Who is to be woken: the first in the queue, when there is room.
    fn first(&self) -> Option<Waker> {
        let first = self.queue.front()?;
        (first.bytes <= self.free).then(|| first.waker.clone())
    }
}

/// One who asks, leaving the queue when dropped.
struct Turn<'a> {
    shared: &'a Arc<Shared>,
    bytes: usize,
    id: Option<u64>,
}

impl Turn<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<Permit> {
        let mut state = lock(&self.shared.state);
        let first = match self.id {
            Some(id) => state.queue.front().is_none_or(|first| first.id == id),
            None => state.queue.is_empty(),
        };
        if first && state.free >= self.bytes {
            if self.id.take().is_some() {
                state.queue.pop_front();
            }
            let permit = state.grant(self.shared, self.bytes);
            let next = state.first();
            drop(state);
            next.into_iter().for_each(Waker::wake);
            return Poll::Ready(permit);
        }
        match self.id {
            Some(id) => {
                if let Some(wait) = state.queue.iter_mut().find(|wait| wait.id == id) {
                    wait.waker.clone_from(waker);
                }
            }
            None => {
                let id = state.next_id;
                state.next_id += 1;
                self.id = Some(id);
                state.queue.push_back(Wait {
                    id,
                    bytes: self.bytes,
                    waker: waker.clone(),
                });
            }
        }
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut state = lock(&self.shared.state);
            state.queue.retain(|wait| wait.id != id);
            let next = state.first();
            drop(state);
            next.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.free += self.bytes;
        let next = state.first();
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }
}
