//! Who writes blocks in part writes alone.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Lets many in, or one alone. Those who wait for being alone keep others out.
#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: Cell<usize>,
    alone: Cell<bool>,
    waiting: Cell<usize>,
    wakers: RefCell<Vec<Waker>>,
}

/// Being inside; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    alone: bool,
}

impl Gate {
    /// Goes in with others.
    pub(super) async fn shared(&self) -> Pass<'_> {
        self.when(|| !self.alone.get() && self.waiting.get() == 0)
            .await;
        self.inside.set(self.inside.get() + 1);
        Pass {
            gate: self,
            alone: false,
        }
    }

    /// Goes in alone.
    pub(super) async fn alone(&self) -> Pass<'_> {
        struct Waiting<'a>(&'a Gate);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.waiting.set(self.0.waiting.get() - 1);
                self.0.wake();
            }
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waiting = Waiting(self);
        self.when(|| !self.alone.get() && self.inside.get() == 0)
            .await;
        self.alone.set(true);
        Pass {
            gate: self,
            alone: true,
        }
    }

    async fn when(&self, open: impl Fn() -> bool) {
        poll_fn(|context| {
            if open() {
                return Poll::Ready(());
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|known| known.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn wake(&self) {
        for waker in self.wakers.take() {
            waker.wake();
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.alone {
            self.gate.alone.set(false);
        } else {
            self.gate.inside.set(self.gate.inside.get() - 1);
        }
        self.gate.wake();
    }
}
