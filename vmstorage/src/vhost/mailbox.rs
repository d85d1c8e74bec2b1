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

    /// Puts a message in, unless one that says the same waits to be taken.
    pub(super) fn put_once(&self, message: T, same: impl Fn(&T, &T) -> bool) {
        let mut state = lock(&self.state);
        if !state.messages.iter().any(|known| same(known, &message)) {
            state.messages.push_back(message);
            wake(state);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run;

    #[test]
    fn who_says_the_same_time_and_again_takes_no_memory() {
        let mailbox = Mailbox::new();
        for _ in 0..1000 {
            mailbox.put_once(1, |a, b| a == b);
            mailbox.put_once(2, |a, b| a == b);
        }
        assert_eq!(mailbox.state.lock().unwrap().messages.len(), 2);
        run(async {
            assert_eq!(mailbox.next().await, Some(1));
            // What was taken may be said again.
            mailbox.put_once(1, |a, b| a == b);
            assert_eq!(mailbox.next().await, Some(2));
            assert_eq!(mailbox.next().await, Some(1));
            mailbox.close();
            assert_eq!(mailbox.next().await, None);
        })
        .unwrap();
    }
}
