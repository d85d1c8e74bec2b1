//! Where each granule of an image is: four bytes each, in pages that exist once they are needed.

/// Granules of a page.
const PAGE: usize = 1024;

/// Where the old content of a granule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Still on the disk below: nobody wrote it since.
    Base,
    /// In a slot of the store.
    Slot(u32),
    /// It was all zeroes.
    Zero,
    /// Nobody reads it any more.
    Forgotten,
}

/// The places of all granules; [`Place::Base`] unless set.
#[derive(Debug, Default)]
pub(super) struct Table {
    pages: Vec<Option<Box<[u32; PAGE]>>>,
}

// Slots are numbered from 1 in an entry, so that a page of zeroes means `Base`.
const ZERO: u32 = u32::MAX;
const FORGOTTEN: u32 = u32::MAX - 1;

impl Table {
    /// Where a granule is.
    pub(super) fn place(&self, granule: u64) -> Place {
        let (page, entry) = position(granule);
        match self.pages.get(page) {
            Some(Some(page)) => decode(page[entry]),
            _ => Place::Base,
        }
    }

    /// Says where a granule is; the answer is where it was.
    pub(super) fn set(&mut self, granule: u64, place: Place) -> Place {
        let (page, entry) = position(granule);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new([0; PAGE]));
        decode(std::mem::replace(&mut page[entry], encode(place)))
    }

    /// All slots, in the order of their granules.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        let entries = self.pages.iter().flatten().flat_map(|page| page.iter());
        entries.filter_map(|&entry| match decode(entry) {
            Place::Slot(slot) => Some(slot),
            _ => None,
        })
    }
}

fn position(granule: u64) -> (usize, usize) {
    let granule = granule as usize;
    (granule / PAGE, granule % PAGE)
}

fn encode(place: Place) -> u32 {
    match place {
        Place::Base => 0,
        Place::Slot(slot) => slot + 1,
        Place::Zero => ZERO,
        Place::Forgotten => FORGOTTEN,
    }
}

fn decode(entry: u32) -> Place {
    match entry {
        0 => Place::Base,
        ZERO => Place::Zero,
        FORGOTTEN => Place::Forgotten,
        slot => Place::Slot(slot - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_kept() {
        let mut table = Table::default();
        let places = [
            (5000, Place::Slot(0)),
            (3, Place::Zero),
            (4, Place::Forgotten),
            (7, Place::Slot(9)),
        ];
        for (granule, place) in places {
            assert_eq!(table.set(granule, place), Place::Base);
        }
        for (granule, place) in places {
            assert_eq!(table.place(granule), place);
        }
        assert_eq!(table.place(6), Place::Base);
        assert_eq!(table.place(1 << 40), Place::Base);
        assert_eq!(table.slots().collect::<Vec<_>>(), [9, 0]);
    }
}
