//! Flushes one at a time.
//!
//! Linux reports a lost write to one `fdatasync` of an open file only. Were two to run beside each
//! other, the one that is told nothing could be answered first; so those that come while one runs
//! wait for the next, which they share.

use std::cell::Cell;
use std::rc::Rc;

use super::Inner;
use crate::disk::{Error, Result};
use crate::engine::{Notify, to_the_end, yield_now};

/// Which flushes there were.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    pub(super) begun: Cell<u64>,
    pub(super) ended: Cell<u64>,
    /// Who waits for the one that runs.
    waiting: Notify,
}

impl Flushes {
    fn is_idle(&self) -> bool {
        self.begun.get() == self.ended.get()
    }

    /// Waits until number `needed` has ended, or somebody has to begin it.
    async fn wait(&self, needed: u64) {
        let over = || self.is_idle() || self.ended.get() >= needed;
        self.waiting.when(over).await;
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
                to_the_end(async move {
                    yield_now().await; // those that come in the same turn share it
                    inner.sync().await;
                })
                .await;
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
        self.flushes.waiting.wake();
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
