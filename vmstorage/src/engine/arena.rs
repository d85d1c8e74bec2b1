//! Memory that an engine takes its buffers from, in two regions. The first is registered with
//! io_uring once, so that the kernel need not look up and pin its pages for every request. The
//! second is for more than that, and takes memory when it is used. What fits neither comes from the
//! heap.
//!
//! A buddy allocator hands out blocks: powers of two from a page to [`MAX_BLOCK_BYTES`].

use std::sync::{Arc, Mutex};

use super::pool::lock;
use super::sys::Region;

/// Smallest block in bytes.
pub(super) const PAGE_BYTES: usize = 4096;
/// Largest block in bytes; a request of the usual front ends is no longer.
pub(super) const MAX_BLOCK_BYTES: usize = PAGE_BYTES << MAX_ORDER;
const MAX_ORDER: usize = 9;
/// Bytes that an engine registers, all of them in memory from then on: what users without
/// privileges may lock by default.
pub(super) const REGISTERED_BYTES: usize = 8 << 20;
/// Bytes of the second region.
pub(super) const SPARE_BYTES: usize = 32 << 20;

/// Marks the end of a list, and a block that is not free.
const NONE: u16 = u16::MAX;
const TAKEN: u8 = u8::MAX;

/// One region with its allocator. Buffers keep it alive.
#[derive(Debug)]
pub(super) struct Arena {
    region: Region,
    buddy: Mutex<Buddy>,
}

/// A part of an arena.
#[derive(Debug)]
pub(super) struct Block {
    arena: Arc<Arena>,
    page: u16,
    order: usize,
}

impl Arena {
    /// A region of `bytes`, some largest blocks, if the kernel has that much.
    pub(super) fn new(bytes: usize) -> Option<Arc<Self>> {
        let region = Region::new(bytes)?;
        let buddy = Mutex::new(Buddy::new(bytes / PAGE_BYTES));
        Some(Arc::new(Self { region, buddy }))
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// A block of at least `len_bytes`, if one is free.
    pub(super) fn take(self: &Arc<Self>, len_bytes: usize) -> Option<Block> {
        if len_bytes > MAX_BLOCK_BYTES {
            return None;
        }
        let pages = len_bytes.div_ceil(PAGE_BYTES).next_power_of_two();
        let order = pages.trailing_zeros() as usize;
        let page = lock(&self.buddy).take(order)?;
        Some(Block {
            arena: Arc::clone(self),
            page,
            order,
        })
    }
}

impl Block {
    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Where it starts in the region.
    pub(super) fn offset_bytes(&self) -> usize {
        usize::from(self.page) * PAGE_BYTES
    }

    pub(super) fn len_bytes(&self) -> usize {
        PAGE_BYTES << self.order
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        lock(&self.arena.buddy).give(self.page, self.order);
    }
}

/// Which pages are free: a doubly linked list of free blocks for each order.
#[derive(Debug)]
struct Buddy {
    /// Order of the free block that starts at the page.
    free_order: Vec<u8>,
    next: Vec<u16>,
    previous: Vec<u16>,
    heads: [u16; MAX_ORDER + 1],
}

impl Buddy {
    /// All of `pages` free; a multiple of the largest block, less than 65536.
    fn new(pages: usize) -> Self {
        let mut buddy = Self {
            free_order: vec![TAKEN; pages],
            next: vec![NONE; pages],
            previous: vec![NONE; pages],
            heads: [NONE; MAX_ORDER + 1],
        };
        for page in (0..pages).step_by(1 << MAX_ORDER).rev() {
            buddy.link(page as u16, MAX_ORDER);
        }
        buddy
    }

    fn take(&mut self, order: usize) -> Option<u16> {
        let found = (order..=MAX_ORDER).find(|&order| self.heads[order] != NONE)?;
        let page = self.heads[found];
        self.unlink(page, found);
        for half in (order..found).rev() {
            self.link(page + (1 << half), half);
        }
        Some(page)
    }

    fn give(&mut self, mut page: u16, mut order: usize) {
        while order < MAX_ORDER {
            let buddy = page ^ (1 << order);
            if usize::from(self.free_order[usize::from(buddy)]) != order {
                break;
            }
            self.unlink(buddy, order);
            page = page.min(buddy);
            order += 1;
        }
        self.link(page, order);
    }

    fn link(&mut self, page: u16, order: usize) {
        let head = self.heads[order];
        if head != NONE {
            self.previous[usize::from(head)] = page;
        }
        self.next[usize::from(page)] = head;
        self.previous[usize::from(page)] = NONE;
        self.free_order[usize::from(page)] = order as u8;
        self.heads[order] = page;
    }

    fn unlink(&mut self, page: u16, order: usize) {
        let (next, previous) = (
            self.next[usize::from(page)],
            self.previous[usize::from(page)],
        );
        if next != NONE {
            self.previous[usize::from(next)] = previous;
        }
        match previous {
            NONE => self.heads[order] = next,
            previous => self.next[usize::from(previous)] = next,
        }
        self.free_order[usize::from(page)] = TAKEN;
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn blocks_never_overlap_and_all_come_back() {
        let arena = Arena::new(REGISTERED_BYTES).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let mut held: Vec<Block> = Vec::new();
        let mut used = vec![false; REGISTERED_BYTES / PAGE_BYTES];
        let pages = |block: &Block| {
            let first = block.offset_bytes() / PAGE_BYTES;
            first..first + block.len_bytes() / PAGE_BYTES
        };
        for _ in 0..20_000 {
            if rng.random_bool(0.5) && !held.is_empty() {
                let block = held.swap_remove(rng.random_range(0..held.len()));
                used[pages(&block)].fill(false);
            } else if let Some(block) = arena.take(1 << rng.random_range(0..22)) {
                assert!(used[pages(&block)].iter().all(|used| !used));
                used[pages(&block)].fill(true);
                held.push(block);
            }
        }
        held.clear();
        let largest: Vec<_> = std::iter::from_fn(|| arena.take(MAX_BLOCK_BYTES)).collect();
        assert_eq!(largest.len(), REGISTERED_BYTES / MAX_BLOCK_BYTES);
        assert!(arena.take(1).is_none());
    }
}
