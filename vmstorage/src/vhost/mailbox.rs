//! Messages from other threads to a task of the engine.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A queue with one reader, which waits for messages without a thread.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<T>,
    waker: Option<Waker>,
    closed: bool,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                messages: VecDeque::new(),
                waker: None,
                closed: false,
            }),
        }
    }

    pub(super) fn put(&self, message: T) {
        let mut state = lock(&self.state);
        state.messages.push_back(message);
        wake(state);
    }

    /// Ends the reader once it has taken everything.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        wake(state);
    }

    /// The next message, or nothing when the mailbox was closed.
    pub(super) async fn next(&self) -> Option<T> {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.state);
            match state.messages.pop_front() {
                Some(message) => Poll::Ready(Some(message)),
                None if state.closed => Poll::Ready(None),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A lock whose holder panicked is taken all the same: what it guards is whole between calls.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
