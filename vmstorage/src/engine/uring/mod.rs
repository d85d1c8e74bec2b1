//! The driver that speaks io_uring: what all tasks ask for is submitted, and what the kernel has
//! finished is taken, by one system call in each turn of the loop.

mod polling;
mod sys;

use std::cell::RefCell;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::arena::Arena;
use super::request::{Answer, Handle, Request};
use sys::{Key, Ring};

/// One io_uring, of the thread that made it.
pub(super) struct Uring {
    ring: RefCell<Ring>,
}

impl Uring {
    /// Sets one up; `event` wakes it.
    ///
    /// # Errors
    /// Why the kernel refuses it.
    pub(super) fn new(event: &Arc<OwnedFd>) -> Result<Self, String> {
        Ok(Self {
            ring: RefCell::new(Ring::new(Arc::clone(event))?),
        })
    }

    /// Registers memory that buffers will come from.
    pub(super) fn register(&self, arena: &Arc<Arena>) {
        self.ring.borrow_mut().register(arena);
    }

    /// Takes away who waits, as the loop is going away.
    pub(super) fn take_wakers(&self) -> Vec<Waker> {
        self.ring.borrow_mut().take_wakers()
    }

    /// Submits, waits for at most `wait` (for ever when `None`), and wakes whose requests are done.
    pub(super) fn turn(&self, wait: Option<Duration>) {
        self.ring.borrow_mut().turn(wait);
    }
}

/// One request of a task. Dropping it leaves the request, and what it uses, to the ring.
pub(super) struct Pending {
    core: Rc<super::exec::Core>,
    state: State,
}

enum State {
    New(Option<(Handle, Request)>),
    Asked { key: Key, poll: bool },
    Answered,
}

impl Pending {
    pub(super) fn new(core: Rc<super::exec::Core>, handle: Handle, request: Request) -> Self {
        Self {
            core,
            state: State::New(Some((handle, request))),
        }
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        let Some(uring) = this.core.uring() else {
            return Poll::Pending; // made for an engine with a ring only
        };
        let mut ring = uring.ring.borrow_mut();
        match &mut this.state {
            State::New(asked) => {
                if let Some((handle, request)) = asked.take() {
                    let poll = matches!(request, Request::Poll(_));
                    let key = ring.start(handle, request, context.waker().clone());
                    this.state = State::Asked { key, poll };
                }
                Poll::Pending
            }
            State::Asked { key, .. } => match ring.take(*key, context.waker()) {
                Some(answer) => {
                    this.state = State::Answered;
                    Poll::Ready(answer)
                }
                None => Poll::Pending,
            },
            State::Answered => Poll::Pending,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let State::Asked { key, poll } = self.state
            && let Some(uring) = self.core.uring()
        {
            let left = uring.ring.borrow_mut().abandon(key, poll);
            drop(left);
        }
    }
}
