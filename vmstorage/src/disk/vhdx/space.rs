//! Which parts of the file are in use, one bit for each MiB.

use std::cell::{Cell, RefCell};

use super::layout::{MIB, Region};

/// The map. Everything in a VHDX file stands on multiples of 1 MiB.
#[derive(Debug)]
pub(super) struct Space {
    used: RefCell<Vec<u64>>,
    /// The file's length in MiB, rounded up.
    end: Cell<u64>,
    free: Cell<u64>,
    /// A search for this many found nothing, and nothing was given back since.
    too_many: Cell<u64>,
}

impl Space {
    /// The map of a file of which nothing is known to be in use.
    pub(super) fn new(file_bytes: u64) -> Self {
        let end = file_bytes.div_ceil(MIB);
        let space = Self {
            used: RefCell::new(vec![0; end.div_ceil(64) as usize]),
            end: Cell::new(end),
            free: Cell::new(file_bytes / MIB),
            too_many: Cell::new(u64::MAX),
        };
        // A last part that is not whole is never given out.
        if !file_bytes.is_multiple_of(MIB) {
            space.set(end - 1, true);
        }
        space
    }

    /// Marks a place that is in multiples of 1 MiB and within the file; `false` when part of it was
    /// in use already, and then nothing is marked.
    pub(super) fn claim(&self, place: Region) -> bool {
        let (first, last) = (place.offset / MIB, place.end().div_ceil(MIB));
        if last > self.end.get() || (first..last).any(|unit| self.is_used(unit)) {
            return false;
        }
        (first..last).for_each(|unit| self.set(unit, true));
        self.free.set(self.free.get().saturating_sub(last - first));
        true
    }

    /// Takes a free place within the file. Whatever was in it is still there.
    pub(super) fn take(&self, len: u64) -> Option<u64> {
        let wanted = len.div_ceil(MIB);
        if wanted > self.free.get() || wanted >= self.too_many.get() {
            return None;
        }
        let mut run = 0;
        let mut unit = 0;
        while unit < self.end.get() {
            if unit % 64 == 0 && self.used.borrow()[(unit / 64) as usize] == u64::MAX {
                (run, unit) = (0, unit + 64);
                continue;
            }
            run = if self.is_used(unit) { 0 } else { run + 1 };
            unit += 1;
            if run == wanted {
                let offset = (unit - wanted) * MIB;
                self.claim(Region { offset, len });
                return Some(offset);
            }
        }
        self.too_many.set(wanted);
        None
    }

    /// Gives a place back.
    pub(super) fn release(&self, place: Region) {
        let (first, last) = (place.offset / MIB, place.end().div_ceil(MIB));
        (first..last).for_each(|unit| self.set(unit, false));
        self.free.set(self.free.get() + last - first);
        self.too_many.set(u64::MAX);
    }

    /// Where the next place at the end of the file would be.
    pub(super) fn end_bytes(&self) -> u64 {
        self.end.get() * MIB
    }

    /// Notes that the file grew by a place, which is in use.
    pub(super) fn grown(&self, len: u64) {
        let first = self.end.get();
        self.end.set(first + len.div_ceil(MIB));
        self.used
            .borrow_mut()
            .resize(self.end.get().div_ceil(64) as usize, 0);
        (first..self.end.get()).for_each(|unit| self.set(unit, true));
    }

    fn is_used(&self, unit: u64) -> bool {
        self.used.borrow()[(unit / 64) as usize] & 1 << (unit % 64) != 0
    }

    fn set(&self, unit: u64, used: bool) {
        let word = &mut self.used.borrow_mut()[(unit / 64) as usize];
        let bit = 1 << (unit % 64);
        *word = if used { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mib: u64, len: u64) -> Region {
        Region {
            offset: mib * MIB,
            len: len * MIB,
        }
    }

    #[test]
    fn nothing_is_given_twice() {
        let space = Space::new(200 * MIB + 1);
        assert!(space.claim(at(0, 70)));
        assert!(!space.claim(at(69, 2)), "overlaps");
        assert!(space.claim(at(72, 120)));
        assert!(!space.claim(at(200, 2)), "beyond the end");
        assert_eq!(space.take(4 * MIB), Some(192 * MIB));
        assert_eq!(space.take(3 * MIB), Some(196 * MIB));
        assert_eq!(space.take(3 * MIB), None);
        assert_eq!(space.take(2 * MIB), Some(70 * MIB));
        assert_eq!(space.take(2 * MIB), None, "the last part is not whole");
        assert_eq!(space.take(MIB), Some(199 * MIB));
        space.release(at(196, 3));
        assert_eq!(space.take(3 * MIB), Some(196 * MIB));
        assert_eq!(space.end_bytes(), 201 * MIB);
        space.grown(5 * MIB);
        assert_eq!(space.end_bytes(), 206 * MIB);
        assert!(!space.claim(at(205, 1)));
    }
}
