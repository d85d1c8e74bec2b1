//! Flushes one at a time.
//!
//! Linux reports a lost write to one `fdatasync` of an open file only. Were two to run beside each
//! other, the one that is told nothing could be answered first; so those that come while one runs
//! wait for the next, which they share.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::{Inner, to_the_end};
use crate::disk::{Error, Result};

/// Which flushes there were.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    pub(super) begun: Cell<u64>,
    pub(super) ended: Cell<u64>,
    /// Who waits for the one that runs.
    waiting: RefCell<Vec<Waker>>,
}

impl Flushes {
    fn is_idle(&self) -> bool {
        self.begun.get() == self.ended.get()
    }

    /// Waits until number `needed` has ended, or somebody has to begin it.
    async fn wait(&self, needed: u64) {
        poll_fn(|context| {
            if self.is_idle() || self.ended.get() >= needed {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    pub(super) async fn flush(self: &Rc<Self>) -> Result<()> {
        // One that runs already may have missed what was written after it began.
        let needed = self.flushes.begun.get() + 1;
        loop {
            self.refuse_after_loss()?;
            if self.read_only || self.flushes.ended.get() >= needed {
                return Ok(());
            }
            if self.flushes.is_idle() {
                let inner = Rc::clone(self);
                to_the_end(async move { inner.sync().await }).await;
            } else {
                self.flushes.wait(needed).await;
            }
        }
    }

    async fn sync(&self) {
        if !self.flushes.is_idle() {
            return; // somebody else began in the meantime
        }
        self.flushes.begun.set(self.flushes.begun.get() + 1);
        if let Err(error) = self.file.sync_data().await {
            self.lose(Error::io(format!("fdatasync of {}", self.name), error));
        }
        self.flushes.ended.set(self.flushes.begun.get());
        let waiting = std::mem::take(&mut *self.flushes.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Remembers that written data may be lost.
    pub(super) fn lose(&self, error: Error) {
        self.lost.borrow_mut().get_or_insert(error);
    }

    fn refuse_after_loss(&self) -> Result<()> {
        let doing = "written data may be lost, so no flush succeeds any more";
        match &*self.lost.borrow() {
            Some(lost) => Err(lost.clone().context(doing)),
            None => Ok(()),
        }
    }
}
