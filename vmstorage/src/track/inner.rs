//! What the parts of a tracker share, and its way to mark blocks: read their entries, make them
//! hot, set them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::{Mutex, Notify, oneshot};
use tracing::warn;

use super::flights::Flights;
use super::mark::Mark;
use super::page::{PAGE_BYTES, decode_page};
use super::root::{MAX_REASON, ROOT_BYTES, Root};
use super::table::{Blocks, Cool, Table};
use crate::disk::{Disk, Durability, Error, ErrorKind, Extent, Result};
use crate::engine::{IoBuf, IoBufMut, spawn};

/// Pages that one step of a large change marks.
const STEP_PAGES: usize = 64;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) disk: Rc<dyn Disk>,
    pub(super) map: Rc<dyn Disk>,
    pub(super) table: RefCell<Table>,
    /// Counts the tables that there were.
    pub(super) tables: Cell<u64>,
    /// The root as it is to be written next, but for what the table knows.
    pub(super) root: RefCell<Root>,
    /// The epoch of changes that begin now; the root in the file is never behind it.
    pub(super) epoch: Cell<u32>,
    /// How many hold new changes back.
    pub(super) held: Cell<usize>,
    pub(super) released: Notify,
    pub(super) flights: Flights,
    /// Taken by who changes epoch, generation or size.
    pub(super) cutting: Mutex<()>,
    /// Taken by who writes pages.
    pub(super) settling: Mutex<()>,
    /// Why nothing can be said of changes until a new generation has begun.
    pub(super) void: RefCell<Option<String>>,
    pub(super) closed: Cell<bool>,
    pub(super) read_only: bool,
    /// Where the disk carries its mark, if it can.
    pub(super) mark: RefCell<Option<Rc<dyn Mark>>>,
    commits: RefCell<Vec<oneshot::Sender<Result<()>>>>,
    committing: Cell<bool>,
    idle: Notify,
    /// The copy of the root to write first: never the only good one.
    pub(super) first_copy: Cell<u64>,
}

impl Inner {
    pub(super) fn new(
        disk: Rc<dyn Disk>,
        map: Rc<dyn Disk>,
        table: Table,
        root: Root,
        first_copy: u64,
        read_only: bool,
    ) -> Self {
        Self {
            disk,
            map,
            table: RefCell::new(table),
            tables: Cell::new(0),
            epoch: Cell::new(root.epoch),
            root: RefCell::new(root),
            held: Cell::new(0),
            released: Notify::new(),
            flights: Flights::default(),
            cutting: Mutex::new(()),
            settling: Mutex::new(()),
            void: RefCell::default(),
            closed: Cell::new(false),
            read_only,
            mark: RefCell::default(),
            commits: RefCell::default(),
            committing: Cell::new(false),
            idle: Notify::new(),
            first_copy: Cell::new(first_copy),
        }
    }

    /// The blocks of an extent that is not empty.
    pub(super) fn blocks(&self, extent: Extent) -> Option<Blocks> {
        let block = u64::from(self.root.borrow().block_bytes);
        let last = extent.len_bytes.checked_sub(1)?;
        Some(Blocks {
            first: extent.offset_bytes / block,
            last: extent.offset_bytes.saturating_add(last) / block,
        })
    }

    /// Puts another table in the place of the one there is, and answers that.
    pub(super) fn replace_table(&self, table: Table) -> Table {
        self.tables.set(self.tables.get() + 1);
        self.table.replace(table)
    }

    /// Waits while changes are held back.
    pub(super) async fn until_released(&self) {
        while self.held.get() > 0 {
            self.released.notified().await;
        }
    }

    /// Sees to it that blocks count as changed in the current epoch, also after a crash. That is so
    /// until the caller waits for anything.
    pub(super) async fn cover(self: &Rc<Self>, blocks: Blocks) -> Result<()> {
        let now = || (self.epoch.get(), self.tables.get());
        let (mut begun, mut first) = (now(), blocks.first);
        loop {
            if begun != now() {
                // What was marked does not count for the epoch that has begun meanwhile.
                (begun, first) = (now(), blocks.first);
            }
            let epoch = begun.0;
            let part = {
                let table = self.table.borrow();
                let rest = table.clip(Blocks { first, ..blocks });
                rest.and_then(|rest| table.uncovered(rest, epoch, STEP_PAGES))
            };
            let Some(part) = part else {
                return Ok(());
            };
            self.cover_step(part, epoch).await?;
            first = part.first;
        }
    }

    async fn cover_step(self: &Rc<Self>, part: Blocks, epoch: u32) -> Result<()> {
        let unread = self.table.borrow().unread(part, epoch);
        if let Some(page) = unread {
            return self.load(page).await;
        }
        let hot = self.table.borrow().is_hot(part, epoch);
        if hot {
            self.table.borrow_mut().touch(part, epoch);
            return Ok(());
        }
        let room = self.table.borrow_mut().heat(part, epoch);
        if room {
            return self.commit().await;
        }
        let before = self.table.borrow().hot_count();
        self.settle(Cool::Idle).await?;
        if self.table.borrow().hot_count() > before / 2 {
            self.settle(Cool::All).await?;
        }
        Ok(())
    }

    /// Brings the entries of a page to memory. A damaged page counts as changed, and voids the map.
    pub(super) async fn load(self: &Rc<Self>, page: u32) -> Result<()> {
        let Some((place, crc)) = self.table.borrow().place_of(page) else {
            return Ok(());
        };
        let (generation, epoch) = {
            let root = self.root.borrow();
            (root.generation, root.epoch)
        };
        let buf = self.map.read(place, IoBufMut::zeroed(PAGE_BYTES)).await?;
        let read = decode_page(&buf, generation, page, epoch);
        let still = self.table.borrow().place_of(page) == Some((place, crc));
        match read {
            _ if !still => {}
            Ok((entries, found)) if found == crc => {
                self.table.borrow_mut().insert(page, crc, entries);
            }
            _ => {
                self.table.borrow_mut().claim_all(page, epoch);
                self.set_void(format!("page {page} of {} is damaged", self.map.name()));
            }
        }
        Ok(())
    }

    /// From now on no question about changes is answered; a new generation begins soon.
    fn set_void(self: &Rc<Self>, reason: String) {
        warn!(
            disk = self.disk.name(),
            reason, "the generation map is void"
        );
        *self.void.borrow_mut() = Some(reason.clone());
        if self.read_only {
            return;
        }
        let inner = Rc::clone(self);
        let begin = async move {
            if let Err(error) = inner.void_generation(&reason).await {
                warn!(%error, "a new generation cannot begin");
            }
        };
        spawn(begin).detach();
    }

    /// Writes the root; what it says is durable when this has ended.
    pub(super) async fn commit(self: &Rc<Self>) -> Result<()> {
        if self.read_only || self.closed.get() {
            return Err(Error::new(
                ErrorKind::Shutdown,
                "the map is not open for writing",
            ));
        }
        let (done, wait) = oneshot::channel();
        self.commits.borrow_mut().push(done);
        if !self.committing.replace(true) {
            // A task of its own: a caller that leaves must not leave a write behind that could end
            // after the next one.
            spawn(Rc::clone(self).commit_all()).detach();
        }
        let lost = Err(Error::new(
            ErrorKind::Shutdown,
            "the engine is shutting down",
        ));
        wait.await.unwrap_or(lost)
    }

    /// Waits until no write of the root is under way.
    pub(super) async fn committed(&self) {
        while self.committing.get() {
            self.idle.notified().await;
        }
    }

    async fn commit_all(self: Rc<Self>) {
        loop {
            let waiting = std::mem::take(&mut *self.commits.borrow_mut());
            if waiting.is_empty() {
                self.committing.set(false);
                self.idle.notify_waiters();
                return;
            }
            let image = {
                let mut root = self.root.borrow_mut();
                let table = self.table.borrow();
                root.seq += 1;
                root.segments = table.durable_slots;
                root.hot = table.hot_list();
                root.clone()
            };
            let bytes = IoBuf::copy_of(&image.encode());
            let first = self.first_copy.get();
            let written = self.write_copy(first, bytes.clone()).await;
            if written.is_ok() {
                self.first_copy.set(1 - first);
                if self.root.borrow().generation == image.generation {
                    self.table.borrow_mut().hot_is_durable(&image.hot);
                }
            }
            for done in waiting {
                let _ = done.send(written.clone());
            }
            if written.is_ok()
                && let Err(error) = self.write_copy(1 - first, bytes).await
            {
                warn!(%error, "the second copy of the root is not written");
            }
        }
    }

    async fn write_copy(&self, copy: u64, bytes: IoBuf) -> Result<()> {
        self.map
            .write(copy * ROOT_BYTES as u64, bytes, Durability::Durable)
            .await
            .map_err(|error| error.context(format!("writing the root of {}", self.map.name())))
    }

    /// Refuses when nothing is known of changes.
    pub(super) fn check_void(&self) -> Result<()> {
        match &*self.void.borrow() {
            None => Ok(()),
            Some(reason) => Err(full_needed(reason)),
        }
    }
}

/// The answer when changes cannot be known.
pub(super) fn full_needed(reason: &str) -> Error {
    Error::new(
        ErrorKind::FullNeeded,
        format!("a full backup is needed: {reason}"),
    )
}

/// As much of a reason as a root has room for.
pub(super) fn shorten(reason: &str) -> String {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
