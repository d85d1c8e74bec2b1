//! Waiting for a condition that another task of the same thread brings about.

use std::cell::RefCell;
use std::task::{Poll, Waker};

/// Tasks that wait for something to change.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    wakers: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Has all who wait look at their condition again.
    pub(crate) fn notify(&self) {
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        for waker in wakers {
            waker.wake();
        }
    }

    /// Waits until `condition` holds; it is looked at now and after each [`Signal::notify`].
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        std::future::poll_fn(|context| {
            if condition() {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
