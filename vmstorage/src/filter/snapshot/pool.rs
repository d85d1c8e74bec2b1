//! Where old content is kept: one disk cut into slots of a granule each, shared by all images.
//!
//! A slot is counted by the images that show it and by who reads or fills it. The last who lets go
//! puts it on the list of those to be given back; [`Pool::trim`] gives their space back to the disk
//! and lets them be used again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::disk::{Disk, Durability, Error, ErrorKind, Extent, Result};
use crate::engine::{IoBuf, IoBufMut};

use crate::engine::Notify;

/// How many slots the store grows by at a time.
const GROW_SLOTS: u64 = 256;

/// The slots of one store.
#[derive(Debug)]
pub(super) struct Pool {
    disk: Rc<dyn Disk>,
    granule_bytes: u64,
    max_slots: u64,
    /// How many users each slot has that was ever used.
    users: RefCell<Vec<u32>>,
    /// Slots without users that may be used again.
    free: RefCell<Vec<u32>>,
    /// Slots without users whose space the store still holds.
    spent: RefCell<Vec<u32>>,
    used: Cell<u64>,
    growing: Cell<bool>,
    grown: Notify,
}

/// A use of a slot.
#[derive(Debug)]
pub(super) struct Slot {
    pool: Rc<Pool>,
    index: u32,
}

impl Pool {
    /// Slots of `granule_bytes` on `disk`, at most `max_bytes` of them.
    pub(super) fn new(disk: Rc<dyn Disk>, granule_bytes: u64, max_bytes: u64) -> Self {
        Self {
            disk,
            granule_bytes,
            max_slots: (max_bytes / granule_bytes).min(u64::from(u32::MAX - 2)),
            users: RefCell::default(),
            free: RefCell::default(),
            spent: RefCell::default(),
            used: Cell::new(0),
            growing: Cell::new(false),
            grown: Notify::default(),
        }
    }

    /// Bytes that images hold.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used.get() * self.granule_bytes
    }

    /// A slot that nobody uses.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] when the limit is reached, and what growing the store says.
    pub(super) async fn allocate(self: &Rc<Self>) -> Result<Slot> {
        let reused = self.free.borrow_mut().pop();
        let reused = reused.or_else(|| self.spent.borrow_mut().pop());
        let index = match reused {
            Some(index) => index,
            None => {
                let index = self.users.borrow().len();
                if index as u64 >= self.max_slots {
                    return Err(Error::new(
                        ErrorKind::NoSpace,
                        format!(
                            "the store of the snapshot has its limit of {} bytes",
                            self.max_slots * self.granule_bytes
                        ),
                    ));
                }
                self.users.borrow_mut().push(0);
                index as u32
            }
        };
        self.users.borrow_mut()[index as usize] += 1;
        self.used.set(self.used.get() + 1);
        let slot = Slot {
            pool: Rc::clone(self),
            index,
        };
        self.grow_to((u64::from(index) + 1) * self.granule_bytes)
            .await?;
        Ok(slot)
    }

    /// Another use of a slot that is in use.
    pub(super) fn share(self: &Rc<Self>, index: u32) -> Slot {
        self.users.borrow_mut()[index as usize] += 1;
        Slot {
            pool: Rc::clone(self),
            index,
        }
    }

    /// Counts a use that an image's table keeps.
    pub(super) fn keep(&self, index: u32) {
        self.users.borrow_mut()[index as usize] += 1;
    }

    /// Ends a use.
    pub(super) fn release(&self, index: u32) {
        let mut users = self.users.borrow_mut();
        let count = &mut users[index as usize];
        *count -= 1;
        if *count == 0 {
            self.spent.borrow_mut().push(index);
            self.used.set(self.used.get() - 1);
        }
    }

    /// Gives the space of slots without users back.
    ///
    /// # Errors
    /// Of the store; what could not be given back can still be used again.
    pub(super) async fn trim(&self) -> Result<()> {
        let mut spent = std::mem::take(&mut *self.spent.borrow_mut());
        spent.sort_unstable();
        let mut done = Ok(());
        for run in spent.chunk_by(|a, b| a + 1 == *b) {
            let extent = Extent::new(
                u64::from(run[0]) * self.granule_bytes,
                run.len() as u64 * self.granule_bytes,
            );
            // Nobody is given these slots before they are in `free`.
            if let Err(error) = self.disk.discard(extent).await {
                done = Err(error);
            }
            self.free.borrow_mut().extend(run);
        }
        done
    }

    async fn grow_to(&self, size_bytes: u64) -> Result<()> {
        while self.disk.geometry().size_bytes < size_bytes {
            if self.growing.replace(true) {
                self.grown.when(|| !self.growing.get()).await;
                continue;
            }
            let step = GROW_SLOTS * self.granule_bytes;
            let wanted = size_bytes.div_ceil(step).saturating_mul(step);
            let grown = self.disk.resize(wanted).await;
            self.growing.set(false);
            self.grown.wake();
            grown?;
        }
        Ok(())
    }
}

impl Slot {
    /// Its number.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Fills its beginning.
    pub(super) async fn write(&self, data: IoBuf) -> Result<()> {
        let offset_bytes = u64::from(self.index) * self.pool.granule_bytes;
        let disk = &self.pool.disk;
        disk.write(offset_bytes, data, Durability::Volatile).await
    }

    /// Reads from `within_bytes` on; the buffer ends within the slot.
    pub(super) async fn read(&self, within_bytes: u64, buf: IoBufMut) -> Result<IoBufMut> {
        let offset_bytes = u64::from(self.index) * self.pool.granule_bytes + within_bytes;
        self.pool.disk.read(offset_bytes, buf).await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.release(self.index);
    }
}
