//! Waiting of tasks for what other tasks of the same thread do.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

/// Tasks that wait for a condition. Whoever changes the condition calls [`Notify::wake`].
#[derive(Debug, Default)]
pub(crate) struct Notify {
    wakers: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Has all who wait look at their condition again.
    pub(crate) fn wake(&self) {
        if self.wakers.borrow().is_empty() {
            return;
        }
        let mut wakers = self.wakers.take();
        for waker in wakers.drain(..) {
            waker.wake();
        }
        let mut kept = self.wakers.borrow_mut();
        if kept.is_empty() {
            *kept = wakers; // its memory serves the next wait
        }
    }

    /// Remembers whom to wake.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|known| known.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
    }

    /// Waits until `ready` answers something.
    pub(crate) async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        std::future::poll_fn(|context| match ready() {
            Some(value) => Poll::Ready(value),
            None => {
                self.register(context);
                Poll::Pending
            }
        })
        .await
    }

    /// Waits until `ready` holds.
    pub(crate) async fn when(&self, mut ready: impl FnMut() -> bool) {
        self.until(|| ready().then_some(())).await;
    }
}
