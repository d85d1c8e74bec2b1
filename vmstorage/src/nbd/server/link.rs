//! A connection in its transmission: what its reader, its writer and its requests share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::budget::{Budget, Permit};
use super::export::{Context, Served};
use crate::engine::IoBuf;
use crate::engine::Notify;
use crate::nbd::proto::{BlockStatus, Headers, Request, errno};

/// What a handshake came to, and what goes on under it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) served: Rc<Served>,
    pub(super) headers: Headers,
    /// The metadata contexts that the client chose; their index is their number.
    pub(super) contexts: Vec<Rc<dyn Context>>,
    pub(super) budget: Rc<Budget>,
    pub(super) payload_bytes: u32,
    /// How many had the export open before it and with it.
    pub(super) number: Cell<u64>,
    replies: RefCell<Vec<Reply>>,
    in_flight: Cell<usize>,
    state: Cell<State>,
    /// A reply is being sent, or a payload received: the client has to do its part.
    pub(super) sending: Cell<bool>,
    pub(super) receiving: Cell<bool>,
    /// A change of what is above.
    changed: Notify,
    /// Replies to send.
    ready: Notify,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Open,
    /// New requests are refused.
    Closing,
    /// Nothing is read any more; what is under way is answered.
    Ending,
    /// Nothing can be sent any more.
    Dead,
}

/// An answer to a request, and the request's part of the budget until the answer was sent.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) request: Request,
    pub(super) body: Body,
    _permit: Option<Permit>,
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Body {
    Done,
    /// The data of a read.
    Data(IoBuf),
    /// What contexts say.
    Status(Vec<BlockStatus>),
    /// An errno of the protocol and a message.
    Failed(u32, String),
}

/// A request that has to be answered, and is with `EIO` if it is dropped.
#[derive(Debug)]
pub(super) struct Token {
    /// None once it was answered.
    link: Option<Rc<Link>>,
    request: Request,
    permit: Option<Permit>,
}

impl Link {
    pub(super) fn new(
        served: Rc<Served>,
        headers: Headers,
        contexts: Vec<Rc<dyn Context>>,
        budget: Rc<Budget>,
        payload_bytes: u32,
    ) -> Rc<Self> {
        Rc::new(Self {
            served,
            headers,
            contexts,
            budget,
            payload_bytes,
            number: Cell::new(0),
            replies: RefCell::default(),
            in_flight: Cell::new(0),
            state: Cell::new(State::Open),
            sending: Cell::new(false),
            receiving: Cell::new(false),
            changed: Notify::default(),
            ready: Notify::default(),
        })
    }

    /// A request that was received.
    pub(super) fn token(self: &Rc<Self>, request: Request, permit: Option<Permit>) -> Token {
        self.in_flight.set(self.in_flight.get() + 1);
        Token {
            link: Some(Rc::clone(self)),
            request,
            permit,
        }
    }

    /// Whether new requests are refused.
    pub(super) fn is_closing(&self) -> bool {
        self.state.get() >= State::Closing
    }

    /// Refuses new requests from now on.
    pub(super) fn close(&self) {
        self.advance(State::Closing);
    }

    /// Says that there will be no more requests.
    pub(super) fn end(&self) {
        self.advance(State::Ending);
    }

    /// Says that nothing can be sent any more.
    pub(super) fn die(&self) {
        self.advance(State::Dead);
    }

    /// Waits until the connection is closing with nothing under way, or dead; tells which.
    pub(super) async fn closed(&self) -> bool {
        self.changed
            .until(|| match self.state.get() {
                State::Dead => Some(true),
                State::Closing if self.in_flight.get() == 0 => Some(false),
                _ => None,
            })
            .await
    }

    /// The replies that are to be sent, at least one, into `batch`; false when there will be no
    /// more.
    pub(super) async fn replies(&self, batch: &mut Vec<Reply>) -> bool {
        self.ready
            .until(|| {
                let mut replies = self.replies.borrow_mut();
                if !replies.is_empty() {
                    std::mem::swap(&mut *replies, batch);
                    return Some(true);
                }
                let over = self.state.get() >= State::Ending && self.in_flight.get() == 0;
                over.then_some(false)
            })
            .await
    }

    fn advance(&self, state: State) {
        if self.state.get() < state {
            self.state.set(state);
            self.changed.wake();
            self.ready.wake();
        }
    }

    fn answered(&self, reply: Reply) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.replies.borrow_mut().push(reply);
        self.ready.wake();
        if self.in_flight.get() == 0 && self.is_closing() {
            self.changed.wake();
        }
    }
}

impl Token {
    /// Answers.
    pub(super) fn complete(mut self, body: Body) {
        self.answer(body);
    }

    fn answer(&mut self, body: Body) {
        let Some(link) = self.link.take() else { return };
        let failed = matches!(body, Body::Failed(..));
        let (kind, len) = (self.request.command, self.request.len_bytes);
        link.served.statistics.count(kind, len, failed);
        link.answered(Reply {
            request: self.request,
            body,
            _permit: self.permit.take(),
        });
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let Some(link) = &self.link else { return };
        // When the engine is dropped with its tasks nobody is left to answer to.
        let forgotten = Rc::strong_count(link) > 1 && link.state.get() < State::Dead;
        self.answer(Body::Failed(
            errno::EIO,
            "the request was dropped by the server".into(),
        ));
        if forgotten {
            tracing::error!(request = ?self.request, "a request was dropped without an answer");
            #[cfg(test)]
            assert!(
                std::thread::panicking(),
                "a request was dropped without an answer"
            );
        }
    }
}
