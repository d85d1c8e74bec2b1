//! The mark that a disk's image carries: what tells an older copy of it from the image itself.
//!
//! The map knows the newest mark, an older copy has an older one. It changes at each opening and
//! before each point is answered: a copy with the newest mark was made after the latest point, and
//! all that changed since is marked in the map.

use std::fmt::Debug;
use std::rc::Rc;

use tracing::warn;
use uuid::Uuid;

use super::fingerprint::mark_print;
use super::inner::Inner;
use crate::disk::{Answer, Error, ErrorKind, Result};

/// Most marks that are accepted at once: the one that is known, and those whose writing failed.
const MAX_MARKS: usize = 8;

/// An image that can carry a mark.
pub trait Mark: Debug {
    /// Puts another mark in the place of the one there is: durably, and wholly or not at all.
    fn set_mark(&self, mark: Vec<u8>) -> Answer<'_, ()>;
}

impl Inner {
    /// Marks the disk for the first time in this session. An image without room stays unmarked.
    pub(super) async fn begin_marks(self: &Rc<Self>, mark: Rc<dyn Mark>) -> Result<()> {
        *self.mark.borrow_mut() = Some(mark);
        match self.renew_mark().await {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                warn!(disk = self.disk.name(), %error, "older copies of the disk are not told");
                self.mark.borrow_mut().take();
                Ok(())
            }
            renewed => renewed,
        }
    }

    /// Gives the disk another mark. The map accepts both while it is written, so that a crash
    /// leaves one that is known, and only the new one when this has ended.
    pub(super) async fn renew_mark(self: &Rc<Self>) -> Result<()> {
        let Some(mark) = self.mark.borrow().clone() else {
            return Ok(());
        };
        let (value, print) = {
            let mut root = self.root.borrow_mut();
            let ids = [root.disk_id, root.generation, Uuid::new_v4()];
            let value = ids.map(Uuid::into_bytes).concat();
            let print = mark_print(&value);
            if root.prints.iter().filter(|known| known.is_mark()).count() >= MAX_MARKS {
                return Err(Error::new(
                    ErrorKind::Io,
                    format!("`{}` could not be marked too often", self.disk.name()),
                ));
            }
            root.prints.push(print.clone());
            (value, print)
        };
        self.commit().await?;
        let set = mark.set_mark(value).await;
        set.map_err(|error| error.context("writing the tracker's mark"))?;
        self.root
            .borrow_mut()
            .prints
            .retain(|known| !known.is_mark() || *known == print);
        self.commit().await
    }
}
