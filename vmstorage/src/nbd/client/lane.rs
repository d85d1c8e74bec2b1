//! One connection kept up: requests queued, sent, answered; made again when it is lost.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};

use super::dial::Dial;
use super::handshake::{Exported, Session};
use super::loss::Loss;
use super::pending::{Answered, Ask, Pending};
use super::{Options, transfer};
use crate::disk::{Error, ErrorKind, Result};
use crate::engine::{Notify, sleep};

/// The wait before connecting a second time after a loss, the first time there is none; it doubles
/// up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// The longest wait before connecting again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How long ending the session politely may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often losses are warned of; more are logged for debugging only.
const QUIET: Duration = Duration::from_secs(5);
/// How long to wait where there is nothing to wait for but a change.
const LONG: Duration = Duration::from_secs(3600);

/// A connection, and what goes over it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) dial: Dial,
    pub(super) options: Options,
    /// What the export is; another one is not taken in its place.
    pub(super) exported: Exported,
    /// Not sent yet.
    pub(super) queue: RefCell<VecDeque<Rc<Pending>>>,
    /// Sent, by cookie.
    pub(super) in_flight: RefCell<BTreeMap<u64, Rc<Pending>>>,
    /// Requests that were begun and not ended, also those that wait for room.
    load: Cell<usize>,
    pub(super) next_cookie: Cell<u64>,
    /// How many requests were answered.
    pub(super) answers: Cell<u64>,
    /// When the server last said something, or had nothing to say.
    pub(super) heard: Cell<Instant>,
    down_since: Cell<Option<Instant>>,
    warned: Cell<Option<Instant>>,
    pub(super) closing: Cell<bool>,
    /// Nothing works any more, for this reason.
    broken: Rc<RefCell<Option<Error>>>,
    /// Why there is no connection.
    reason: RefCell<String>,
    /// Woken by every change of the above.
    changes: Notify,
}

impl Lane {
    /// A lane of an export; what breaks one lane of it breaks all.
    pub(super) fn new(
        dial: Dial,
        options: Options,
        exported: Exported,
        broken: Rc<RefCell<Option<Error>>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            dial,
            options,
            exported,
            queue: RefCell::default(),
            in_flight: RefCell::default(),
            load: Cell::new(0),
            next_cookie: Cell::new(1),
            answers: Cell::new(0),
            heard: Cell::new(Instant::now()),
            down_since: Cell::new(None),
            warned: Cell::new(None),
            closing: Cell::new(false),
            broken,
            reason: RefCell::default(),
            changes: Notify::default(),
        })
    }

    /// How much it has to do; lanes with less are asked first, those without a connection last.
    pub(super) fn load(&self) -> (bool, usize) {
        (self.down_since.get().is_some(), self.load.get())
    }

    /// Asks, and waits for the answer. What was sent ends also when the future is dropped.
    pub(super) async fn ask(self: &Rc<Self>, ask: Ask) -> Result<Answered> {
        struct Counted<'a>(&'a Lane);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.load.set(self.0.load.get() - 1);
            }
        }
        self.load.set(self.load.get() + 1);
        let _counted = Counted(self);
        let limit = self.options.in_flight;
        self.when(|| {
            self.queue.borrow().len() + self.in_flight.borrow().len() < limit
                || self.ended().is_some()
        })
        .await;
        if let Some(error) = self.ended() {
            return Err(error);
        }
        let pending = Pending::new(ask);
        pending.deadline.set(
            self.down_since
                .get()
                .map(|since| since + self.options.reconnect_delay),
        );
        self.queue.borrow_mut().push_back(Rc::clone(&pending));
        self.changed();
        pending.answered().await
    }

    fn ended(&self) -> Option<Error> {
        let closed = || Loss::Closed.into_error(&self.dial.target.to_string());
        let broken = self.broken.borrow().clone();
        broken.or_else(|| self.closing.get().then(closed))
    }

    /// Keeps the connection up until the lane is closed.
    pub(super) async fn run(self: Rc<Self>, first: Option<Session>) {
        let mut session = first;
        let mut backoff = Duration::ZERO;
        loop {
            let connected = match session.take() {
                Some(session) => Ok(session),
                None => match self.beside(self.connect()).await {
                    Some(connected) => connected,
                    None => return,
                },
            };
            let loss = match connected {
                Ok(session) => {
                    self.down_since.set(None);
                    self.heard.set(Instant::now());
                    let before = self.answers.get();
                    let loss = self.transmit(session).await;
                    if self.answers.get() > before {
                        backoff = Duration::ZERO;
                        self.forget_deadlines();
                    }
                    loss
                }
                Err(loss) => loss,
            };
            if self.is_done() {
                return;
            }
            self.warn(&loss);
            if !self.down(loss) || self.beside(sleep(backoff)).await.is_none() {
                return;
            }
            backoff = (backoff * 2).clamp(FIRST_BACKOFF, LONGEST_BACKOFF);
        }
    }

    /// A server that answered was there: waiting for it begins anew when it is lost again. One that
    /// only takes connections does not count, or what it never answers would be asked for ever.
    fn forget_deadlines(&self) {
        let (queue, in_flight) = (self.queue.borrow(), self.in_flight.borrow());
        for pending in queue.iter().chain(in_flight.values()) {
            pending.deadline.set(None);
        }
    }

    /// Tells people, not more often than they can read.
    fn warn(&self, loss: &Loss) {
        let (export, why) = (&self.dial.target, loss.what());
        let quiet = self.warned.get().is_some_and(|last| last.elapsed() < QUIET);
        if quiet {
            tracing::debug!(%export, why, "no NBD connection");
            return;
        }
        self.warned.set(Some(Instant::now()));
        tracing::warn!(%export, why, "no NBD connection");
    }

    /// Connects again, to the same export or not at all.
    async fn connect(&self) -> std::result::Result<Session, Loss> {
        let opening = async {
            let handshake = self.dial.connect().await?;
            let export = &self.dial.target.export;
            handshake.go(export, &self.exported.contexts).await
        };
        let session = in_time(self.options.connect_timeout, opening).await?;
        if session.exported != self.exported {
            return Err(Loss::Changed(format!(
                "the export is not what it was: {:?} now, {:?} before",
                session.exported, self.exported
            )));
        }
        Ok(session)
    }

    async fn transmit(&self, mut session: Session) -> Loss {
        let wire = session.input.wire().clone();
        let receiving = pin!(transfer::receive(self, &mut session));
        let sending = pin!(transfer::send(self, wire.clone()));
        let watching = pin!(self.watch());
        let loss = match select(select(receiving, sending), watching).await {
            Either::Left((Either::Left((loss, _)) | Either::Right((loss, _)), _))
            | Either::Right((loss, _)) => loss,
        };
        match loss {
            // The peer may be slow to take the goodbye; nothing depends on it.
            Loss::Closed => {
                let _ = select(pin!(wire.close()), pin!(sleep(GOODBYE))).await;
            }
            _ => wire.shutdown(),
        }
        loss
    }

    /// Ends when the server has been silent for too long.
    async fn watch(&self) -> Loss {
        let Some(limit) = self.options.reply_timeout else {
            return std::future::pending().await;
        };
        loop {
            let silent = self.heard.get().elapsed();
            if self.in_flight.borrow().is_empty() {
                sleep(limit).await;
            } else if silent >= limit {
                return Loss::Lost(format!("the server did not answer for {limit:?}"));
            } else {
                sleep(limit - silent).await;
            }
        }
    }

    /// Takes back what was sent; false when there is nothing to go on with.
    fn down(&self, loss: Loss) -> bool {
        let target = self.dial.target.to_string();
        let sent = std::mem::take(&mut *self.in_flight.borrow_mut());
        let now = Instant::now();
        if self.down_since.get().is_none() {
            self.down_since.set(Some(now));
        }
        *self.reason.borrow_mut() = loss.what().to_owned();
        match loss {
            Loss::Lost(_) | Loss::Refused(_) => {}
            Loss::Violated(_) => {
                let error = loss.into_error(&target);
                sent.values()
                    .for_each(|pending| pending.fail(error.clone()));
                self.changed();
                return true;
            }
            Loss::Changed(_) | Loss::Closed => {
                let error = loss.into_error(&target);
                *self.broken.borrow_mut() = Some(error.clone());
                let queued = std::mem::take(&mut *self.queue.borrow_mut());
                for pending in sent.values().chain(&queued) {
                    pending.fail(error.clone());
                }
                self.changed();
                return false;
            }
        }
        let mut queue = self.queue.borrow_mut();
        for (_, pending) in sent.into_iter().rev() {
            pending.forget();
            queue.push_front(pending);
        }
        let deadline = now + self.options.reconnect_delay;
        for pending in queue
            .iter()
            .filter(|pending| pending.deadline.get().is_none())
        {
            pending.deadline.set(Some(deadline));
        }
        drop(queue);
        self.expire();
        true
    }

    /// Runs `future`, and fails requests that have waited for a connection long enough.
    /// Nothing when the lane is closed and idle.
    async fn beside<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            if self.is_done() {
                return None;
            }
            let next = self.expire();
            let queued = self.queue.borrow().len();
            let changed =
                pin!(self.when(|| { self.queue.borrow().len() != queued || self.is_done() }));
            let later = pin!(sleep(next));
            match select(future.as_mut(), select(changed, later)).await {
                Either::Left((output, _)) => return Some(output),
                Either::Right(_) => {}
            }
        }
    }

    /// Fails requests whose time is up; answers when the next one's is.
    fn expire(&self) -> Duration {
        let now = Instant::now();
        let mut next = LONG;
        let before = self.queue.borrow().len();
        self.queue.borrow_mut().retain(|pending| {
            let Some(deadline) = pending.deadline.get() else {
                return true;
            };
            if deadline > now {
                next = next.min(deadline - now);
                return true;
            }
            let what = format!(
                "{}: {}: no connection for {:?}: {}",
                self.dial.target,
                pending.describe(),
                self.options.reconnect_delay,
                self.reason.borrow()
            );
            pending.fail(Error::new(ErrorKind::Io, what));
            false
        });
        if self.queue.borrow().len() != before {
            self.changed();
        }
        next
    }

    /// Whether the lane is closed and nothing is under way.
    pub(super) fn is_done(&self) -> bool {
        let idle = self.queue.borrow().is_empty() && self.in_flight.borrow().is_empty();
        self.closing.get() && idle
    }

    /// Ends the lane once nothing is under way.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.changed();
    }

    /// Has everybody look again who waits for a change.
    pub(super) fn changed(&self) {
        self.changes.wake();
    }

    /// Waits until `ready` holds.
    pub(super) async fn when(&self, ready: impl FnMut() -> bool) {
        self.changes.when(ready).await;
    }
}

/// Gives `future` a time.
pub(super) async fn in_time<T>(
    limit: Duration,
    future: impl Future<Output = std::result::Result<T, Loss>>,
) -> std::result::Result<T, Loss> {
    match select(pin!(future), pin!(sleep(limit))).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(Loss::Lost(format!("no answer for {limit:?}"))),
    }
}
