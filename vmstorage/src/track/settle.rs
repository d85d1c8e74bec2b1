//! Write-back: pages and index pages go to the file, then what was hot for their sake may cool.

use std::rc::Rc;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::inner::Inner;
use super::table::{Cool, Staged};
use crate::disk::{Durability, Error, ErrorKind, Result};
use crate::engine::{IoBuf, spawn};

/// Writes that run beside each other.
const BATCH: usize = 32;

impl Inner {
    /// Writes back what differs from the file. The log names less from the next commit on.
    pub(super) async fn settle(self: &Rc<Self>, cool: Cool) -> Result<()> {
        let (done, wait) = oneshot::channel();
        let inner = Rc::clone(self);
        // A task of its own, as for a commit: half a write-back must not be left behind.
        let settle = async move {
            let _turn = inner.settling.lock().await;
            let _ = done.send(inner.settle_now(cool).await);
        };
        spawn(settle).detach();
        let lost = Err(Error::new(
            ErrorKind::Shutdown,
            "the engine is shutting down",
        ));
        wait.await.unwrap_or(lost)
    }

    /// As [`Inner::settle`], for who has the turn.
    async fn settle_now(&self, cool: Cool) -> Result<()> {
        if self.read_only || self.closed.get() {
            return Err(Error::new(
                ErrorKind::Shutdown,
                "the map is not open for writing",
            ));
        }
        let staged = {
            let mut root = self.root.borrow_mut();
            root.stamp += 1;
            self.table.borrow_mut().stage(root.generation, root.stamp)
        };
        let written = self.write_staged(&staged).await;
        self.table
            .borrow_mut()
            .settled(&staged, written.is_ok(), cool);
        written.map_err(|error| error.context(format!("writing back {}", self.map.name())))
    }

    async fn write_staged(&self, staged: &Staged) -> Result<()> {
        if staged.indexes.is_empty() {
            return Ok(());
        }
        if self.map.geometry().size_bytes < staged.file_bytes {
            self.map.resize(staged.file_bytes).await?;
        }
        let first = staged
            .indexes
            .iter()
            .map(|(first, _, bytes)| (*first, bytes));
        let pages = staged.pages.iter().map(|(place, bytes)| (*place, bytes));
        self.write_all(pages.chain(first)).await?;
        self.map.flush().await?;
        self.table.borrow_mut().first_copies_written(staged);
        let second = staged
            .indexes
            .iter()
            .map(|(_, second, bytes)| (*second, bytes));
        self.write_all(second).await?;
        self.map.flush().await
    }

    async fn write_all<'a>(&self, writes: impl Iterator<Item = (u64, &'a Vec<u8>)>) -> Result<()> {
        let mut writes = writes.peekable();
        while writes.peek().is_some() {
            let batch = writes.by_ref().take(BATCH).map(|(place, bytes)| {
                self.map
                    .write(place, IoBuf::copy_of(bytes), Durability::Volatile)
            });
            // All of them end before the next write to the same place can begin, also if one fails.
            join_all(batch).await.into_iter().collect::<Result<()>>()?;
        }
        Ok(())
    }
}
