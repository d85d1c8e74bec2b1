//! Memory for I/O: page-aligned chunks whose disjoint ranges have one owner each.
//!
//! The only place of [`super::buf`] that needs `unsafe`: a chunk is shared by the handles that were
//! split from it, and each handle may write its own range.
#![allow(unsafe_code, reason = "raw memory that several handles own in parts")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use super::arena::{Arena, Block, PAGE_BYTES};
use super::budget::Permit;

/// Buffers up to this length in bytes are aligned to it and come from the heap: replies and
/// headers.
const SMALL_BYTES: usize = 512;

/// One allocation.
#[derive(Debug)]
pub(super) struct Chunk {
    start: NonNull<u8>,
    capacity: usize,
    home: Home,
    /// Given back to its budget with the memory.
    _permit: Option<Permit>,
}

#[derive(Debug)]
enum Home {
    Heap(Layout),
    Arena(Block),
}

// SAFETY: a chunk is plain memory that belongs to no thread; who may touch which part of it is
// decided by the handles, which are exclusive (`IoBufMut`) or read-only (`IoBuf`).
unsafe impl Send for Chunk {}
// SAFETY: as above: `&Chunk` gives access only through the two unsafe functions below, whose
// callers hold a handle of that range.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Zeroed memory of at least `len_bytes`.
    pub(super) fn zeroed(len_bytes: usize) -> Self {
        match block(len_bytes) {
            Some(block) => {
                let chunk = Self::in_arena(block, None);
                // SAFETY: within the block, which nobody else has yet.
                unsafe { chunk.slice_mut(0, len_bytes) }.fill(0);
                chunk
            }
            None => Self::on_heap(len_bytes, None),
        }
    }

    /// How many bytes it has.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Memory of at least `len_bytes` that holds zeroes or what an earlier buffer of this process
    /// held.
    pub(super) fn scratch(len_bytes: usize, permit: Option<Permit>) -> Self {
        match block(len_bytes) {
            Some(block) => Self::in_arena(block, permit),
            None => Self::on_heap(len_bytes, permit),
        }
    }

    fn on_heap(len_bytes: usize, permit: Option<Permit>) -> Self {
        let alignment = if len_bytes <= SMALL_BYTES {
            SMALL_BYTES
        } else {
            PAGE_BYTES
        };
        let capacity = len_bytes.max(1).next_multiple_of(SMALL_BYTES);
        let layout = Layout::from_size_align(capacity, alignment).expect("a request's length fits");
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        Self {
            start,
            capacity,
            home: Home::Heap(layout),
            _permit: permit,
        }
    }

    fn in_arena(block: Block, permit: Option<Permit>) -> Self {
        Self {
            start: block.arena().region().at(block.offset_bytes()),
            capacity: block.len_bytes(),
            home: Home::Arena(block),
            _permit: permit,
        }
    }

    /// The arena it is in.
    pub(super) fn arena(&self) -> Option<&Arc<Arena>> {
        match &self.home {
            Home::Heap(_) => None,
            Home::Arena(block) => Some(block.arena()),
        }
    }

    /// The address of a byte of it.
    pub(super) fn address(&self, at: usize) -> *mut u8 {
        self.start.as_ptr().wrapping_add(at)
    }

    /// A range to read.
    ///
    /// # Safety
    /// `start + len` is within the chunk, and nobody writes the range while the slice lives.
    pub(super) unsafe fn slice(&self, start: usize, len: usize) -> &[u8] {
        debug_assert!(start + len <= self.capacity);
        // SAFETY: the caller stays within the allocation.
        let first = unsafe { self.start.as_ptr().add(start) };
        // SAFETY: zeroed at birth, so initialised; the caller holds the range's handle.
        unsafe { std::slice::from_raw_parts(first, len) }
    }

    /// A range to write.
    ///
    /// # Safety
    /// `start + len` is within the chunk, and nobody else reads or writes the range while the slice
    /// lives.
    #[expect(
        clippy::mut_from_ref,
        reason = "the handles split a chunk into disjoint ranges"
    )]
    pub(super) unsafe fn slice_mut(&self, start: usize, len: usize) -> &mut [u8] {
        debug_assert!(start + len <= self.capacity);
        // SAFETY: the caller stays within the allocation.
        let first = unsafe { self.start.as_ptr().add(start) };
        // SAFETY: initialised, and the caller owns the range alone.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Home::Heap(layout) = self.home {
            // SAFETY: allocated in `on_heap` with the same layout, and freed once.
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

/// A block of the engine's memory, for buffers that are worth one.
fn block(len_bytes: usize) -> Option<Block> {
    if len_bytes <= SMALL_BYTES {
        return None;
    }
    super::exec::block(len_bytes)
}

/// Anonymous memory, zeroed at birth.
#[derive(Debug)]
pub(super) struct Region {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory that belongs to no thread; its blocks are handed out by the arena's
// allocator and are disjoint.
unsafe impl Send for Region {}
// SAFETY: as above: `&Region` gives addresses only.
unsafe impl Sync for Region {}

impl Region {
    /// `len` bytes, if the kernel has them.
    pub(super) fn new(len: usize) -> Option<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let memory = unsafe { libc::mmap(null_mut(), len, protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: advice about the mapping that was just made; refusing it changes nothing.
        let _ = unsafe { libc::madvise(memory, len, libc::MADV_HUGEPAGE) };
        let start = NonNull::new(memory.cast())?;
        Some(Self { start, len })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The address `offset` bytes after its start.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.len, "a block is within its region");
        // SAFETY: within the mapping, as was just checked.
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; the blocks keep the region alive, so nobody has
        // an address within it.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
