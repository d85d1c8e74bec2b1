//! Slices of tables in memory: L2 tables and refcount blocks.
//!
//! A slice that was changed stays until [`super::commit`] has written it, so that there is one
//! writer of tables and one order of writes. Others make room when there are too many.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::file::ImageFile;
use crate::disk::Ranges;
use crate::disk::Result;
use crate::engine::{IoBuf, IoBufMut};

/// Slices by their offset in the file.
#[derive(Debug)]
pub(super) struct Cache {
    slice_bytes: u64,
    capacity: usize,
    slices: RefCell<HashMap<u64, Rc<Slice>>>,
    clock: Cell<u64>,
    dirty: Cell<usize>,
    /// One task at a time reads a slice, so that none puts an old one in the place of a newer.
    loading: Ranges,
}

/// A slice. It must be fetched anew after every await before it is changed.
#[derive(Debug)]
pub(super) struct Slice {
    offset: u64,
    bytes: RefCell<Vec<u8>>,
    dirty: Cell<bool>,
    used: Cell<u64>,
}

/// What a slice held when a commit began. It stays in memory until that has ended.
#[derive(Debug)]
pub(super) struct Saved {
    slice: Rc<Slice>,
    pub(super) offset: u64,
    pub(super) bytes: IoBuf,
}

impl Cache {
    /// A cache of at most about `capacity_bytes`.
    pub(super) fn new(slice_bytes: u64, capacity_bytes: u64) -> Self {
        Self {
            slice_bytes,
            capacity: (capacity_bytes / slice_bytes).max(16) as usize,
            slices: RefCell::default(),
            clock: Cell::new(0),
            dirty: Cell::new(0),
            loading: Ranges::default(),
        }
    }

    fn start_of(&self, offset: u64) -> u64 {
        offset & !(self.slice_bytes - 1)
    }

    /// The slice of a byte of the file, if it is in memory.
    pub(super) fn peek(&self, offset: u64) -> Option<Rc<Slice>> {
        let slice = Rc::clone(self.slices.borrow().get(&self.start_of(offset))?);
        let now = self.clock.get() + 1;
        self.clock.set(now);
        slice.used.set(now);
        Some(slice)
    }

    /// The slice of a byte of the file.
    pub(super) async fn get(&self, file: &ImageFile, offset: u64) -> Result<Rc<Slice>> {
        if let Some(slice) = self.peek(offset) {
            return Ok(slice);
        }
        let start = self.start_of(offset);
        let _alone = self.loading.enter(start, start + 1, true).await;
        if let Some(slice) = self.peek(offset) {
            return Ok(slice);
        }
        let buf = IoBufMut::zeroed(self.slice_bytes as usize);
        let bytes = file.read_table(start, buf).await?;
        self.make_room();
        let slice = Rc::new(Slice {
            offset: start,
            bytes: RefCell::new(bytes.to_vec()),
            dirty: Cell::new(false),
            used: Cell::new(self.clock.get()),
        });
        self.slices.borrow_mut().insert(start, Rc::clone(&slice));
        Ok(slice)
    }

    /// Forgets what is cached of a part of the file that has become something else.
    pub(super) fn forget(&self, offset: u64, len_bytes: u64) {
        let mut slices = self.slices.borrow_mut();
        for start in (offset..offset + len_bytes).step_by(self.slice_bytes as usize) {
            if let Some(slice) = slices.remove(&start)
                && slice.dirty.get()
            {
                self.dirty.set(self.dirty.get() - 1);
            }
        }
    }

    fn make_room(&self) {
        let mut slices = self.slices.borrow_mut();
        if slices.len() < self.capacity {
            return;
        }
        let mut ages: Vec<(u64, u64)> = slices
            .values()
            .filter(|slice| !slice.dirty.get() && Rc::strong_count(slice) == 1)
            .map(|slice| (slice.used.get(), slice.offset))
            .collect();
        ages.sort_unstable();
        for (_, offset) in ages.iter().take(self.capacity / 8 + 1) {
            slices.remove(offset);
        }
    }

    /// Marks a slice as changed.
    pub(super) fn touch(&self, slice: &Slice) {
        if !slice.dirty.replace(true) {
            self.dirty.set(self.dirty.get() + 1);
        }
    }

    /// Whether any slice was changed.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.get() > 0
    }

    /// Whether there are so many changed slices that they should be written.
    pub(super) fn is_crowded(&self) -> bool {
        self.dirty.get() * 2 > self.capacity
    }

    /// Takes copies of what was changed, which is clean from then on.
    pub(super) fn take_changed(&self) -> Vec<Saved> {
        let slices = self.slices.borrow();
        let mut saved: Vec<Saved> = slices
            .values()
            .filter(|slice| slice.dirty.replace(false))
            .map(|slice| Saved {
                slice: Rc::clone(slice),
                offset: slice.offset,
                bytes: IoBuf::copy_of(&slice.bytes.borrow()),
            })
            .collect();
        self.dirty.set(0);
        saved.sort_unstable_by_key(|slice| slice.offset);
        saved
    }

    /// Marks slices as changed again that could not be written.
    pub(super) fn restore(&self, saved: &[Saved]) {
        for old in saved {
            self.touch(&old.slice);
        }
    }
}

impl Slice {
    /// The big-endian word at a byte of the file.
    pub(super) fn word(&self, offset: u64) -> u64 {
        let at = (offset - self.offset) as usize;
        let bytes = self.bytes.borrow();
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_be_bytes(word)
    }

    /// Changes a word; the caller marks the slice.
    pub(super) fn set_word(&self, offset: u64, word: u64) {
        let at = (offset - self.offset) as usize;
        self.bytes.borrow_mut()[at..at + 8].copy_from_slice(&word.to_be_bytes());
    }

    /// Works on the bytes, which must not take long.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        work(&mut self.bytes.borrow_mut())
    }
}
