//! Memory for I/O: page-aligned chunks whose disjoint ranges have one owner each.
//!
//! The only place of [`super::buf`] that needs `unsafe`: a chunk is shared by the handles that were
//! split from it, and each handle may write its own range.
#![allow(unsafe_code, reason = "raw memory that several handles own in parts")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Alignment of every chunk in bytes: what `O_DIRECT` asks for on any device (a page).
pub(super) const ALIGNMENT_BYTES: usize = 4096;

/// One allocation.
#[derive(Debug)]
pub(super) struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a chunk is plain memory that belongs to no thread; who may touch which part of it is
// decided by the handles, which are exclusive (`IoBufMut`) or read-only (`IoBuf`).
unsafe impl Send for Chunk {}
// SAFETY: as above: `&Chunk` gives access only through the two unsafe functions below, whose callers
// hold a handle of that range.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Zeroed memory of at least `len_bytes`.
    pub(super) fn zeroed(len_bytes: usize) -> Self {
        let size = len_bytes.max(1).next_multiple_of(512);
        let layout =
            Layout::from_size_align(size, ALIGNMENT_BYTES).expect("a request's length fits");
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        Self { start, layout }
    }

    /// How many bytes it has.
    pub(super) fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// A range to read.
    ///
    /// # Safety
    /// `start + len` is within the chunk, and nobody writes the range while the slice lives.
    pub(super) unsafe fn slice(&self, start: usize, len: usize) -> &[u8] {
        debug_assert!(start + len <= self.capacity());
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
        debug_assert!(start + len <= self.capacity());
        // SAFETY: the caller stays within the allocation.
        let first = unsafe { self.start.as_ptr().add(start) };
        // SAFETY: initialised, and the caller owns the range alone.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with the same layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
