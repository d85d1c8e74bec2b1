//! Buffers that I/O owns while it is under way: [`IoBufMut`] to read into, [`IoBuf`] to write from.
//!
//! They are handles of ranges of one aligned allocation. A buffer can be split, its parts filled by
//! several reads at once, and joined again without a copy; a frozen one can be written to several
//! disks at once. Starting at offset 0 of its allocation a buffer is aligned to a page (up to 512
//! bytes long, to 512 bytes), so `O_DIRECT` needs no copy.

use std::fmt;
use std::ops::{Bound, Deref, DerefMut, RangeBounds};
use std::sync::Arc;

use super::arena::Arena;
use super::budget::Permit;
use super::sys::Chunk;

/// A range of memory with one owner, who may write it.
pub struct IoBufMut {
    chunk: Arc<Chunk>,
    start: usize,
    len: usize,
}

/// A range of memory that nobody writes any more; clones share it.
#[derive(Clone)]
pub struct IoBuf {
    chunk: Arc<Chunk>,
    start: usize,
    len: usize,
}

impl IoBufMut {
    /// `len_bytes` of zeroes, aligned to a page.
    pub fn zeroed(len_bytes: usize) -> Self {
        Self {
            chunk: Arc::new(Chunk::zeroed(len_bytes)),
            start: 0,
            len: len_bytes,
        }
    }

    /// `len_bytes` to be filled wholly, aligned to a page: cheaper than [`IoBufMut::zeroed`]. Until
    /// then it holds zeroes or what an earlier buffer of this process held.
    pub fn scratch(len_bytes: usize) -> Self {
        Self::within(len_bytes, None)
    }

    /// As [`IoBufMut::scratch`], counted in a budget until the memory is free again.
    pub(super) fn within(len_bytes: usize, permit: Option<Permit>) -> Self {
        Self {
            chunk: Arc::new(Chunk::scratch(len_bytes, permit)),
            start: 0,
            len: len_bytes,
        }
    }

    /// Where the kernel finds byte `at`.
    pub(super) fn address(&self, at: usize) -> *mut u8 {
        self.chunk.address(self.start + at)
    }

    /// The arena that it is in.
    pub(super) fn arena(&self) -> Option<&Arc<Arena>> {
        self.chunk.arena()
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buf = Self::scratch(bytes.len());
        buf.copy_from_slice(bytes);
        buf
    }

    /// The first `at` bytes as a buffer of their own; `self` keeps the rest.
    ///
    /// # Panics
    /// When `at` is beyond the end.
    pub fn split_to(&mut self, at: usize) -> Self {
        assert!(
            at <= self.len,
            "a buffer of {} bytes has no byte {at}",
            self.len
        );
        let head = Self {
            chunk: Arc::clone(&self.chunk),
            start: self.start,
            len: at,
        };
        self.start += at;
        self.len -= at;
        head
    }

    /// Joins what [`IoBufMut::split_to`] parted: `next` follows `self` in the same allocation.
    ///
    /// # Panics
    /// When it does not.
    pub fn unsplit(&mut self, next: Self) {
        assert!(
            Arc::ptr_eq(&self.chunk, &next.chunk) && self.start + self.len == next.start,
            "only neighbours of one allocation can be joined"
        );
        self.len += next.len;
    }

    /// Forgets all but the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Has the whole allocation again, with what is in it, after a part was split off or truncated
    /// away: one buffer can receive many times. It fails while another handle of it lives.
    pub fn reclaim(&mut self) -> bool {
        match Arc::get_mut(&mut self.chunk) {
            Some(chunk) => {
                (self.start, self.len) = (0, chunk.capacity());
                true
            }
            None => false,
        }
    }

    /// Gives up writing, for a handle that can be shared.
    pub fn freeze(self) -> IoBuf {
        IoBuf {
            chunk: self.chunk,
            start: self.start,
            len: self.len,
        }
    }
}

impl IoBuf {
    /// `len_bytes` of zeroes.
    pub fn zeroed(len_bytes: usize) -> Self {
        IoBufMut::zeroed(len_bytes).freeze()
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        IoBufMut::copy_of(bytes).freeze()
    }

    /// Where the kernel finds byte `at`.
    pub(super) fn address(&self, at: usize) -> *const u8 {
        self.chunk.address(self.start + at)
    }

    /// The arena that it is in.
    pub(super) fn arena(&self) -> Option<&Arc<Arena>> {
        self.chunk.arena()
    }

    /// A part, sharing the memory.
    ///
    /// # Panics
    /// When the range is not within the buffer.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end + 1,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len,
        };
        assert!(
            start <= end && end <= self.len,
            "{start}..{end} of {} bytes",
            self.len
        );
        Self {
            chunk: Arc::clone(&self.chunk),
            start: self.start + start,
            len: end - start,
        }
    }
}

#[allow(
    unsafe_code,
    reason = "the handles are what makes access to a chunk exclusive"
)]
impl Deref for IoBufMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: this handle alone owns the range: `split_to` gives disjoint ranges, `unsplit` and
        // `freeze` consume the handles that they replace.
        unsafe { self.chunk.slice(self.start, self.len) }
    }
}

#[allow(
    unsafe_code,
    reason = "the handles are what makes access to a chunk exclusive"
)]
impl DerefMut for IoBufMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` keeps this handle's own slices away.
        unsafe { self.chunk.slice_mut(self.start, self.len) }
    }
}

#[allow(
    unsafe_code,
    reason = "the handles are what makes access to a chunk exclusive"
)]
impl Deref for IoBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the writer of the range was consumed by `freeze`.
        unsafe { self.chunk.slice(self.start, self.len) }
    }
}

impl fmt::Debug for IoBufMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoBufMut({} bytes)", self.len)
    }
}

impl fmt::Debug for IoBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_without_a_copy() {
        let mut rest = IoBufMut::copy_of(b"abcdef");
        let mut head = rest.split_to(2);
        head.copy_from_slice(b"xy");
        rest[0] = b'z';
        head.unsplit(rest);
        assert_eq!(&head[..], b"xyzdef");
        assert_eq!(&head.freeze().slice(1..3)[..], b"yz");
    }

    #[test]
    fn what_was_cut_off_is_reclaimed_by_the_last_handle() {
        let mut rest = IoBufMut::zeroed(1024);
        let mut head = rest.split_to(2);
        head.copy_from_slice(b"ab");
        rest.truncate(1);
        assert!(!rest.reclaim());
        drop(head);
        assert!(rest.reclaim());
        assert_eq!((rest.len(), &rest[..2]), (1024, &b"ab"[..]));
    }

    #[test]
    #[should_panic(expected = "only neighbours")]
    fn strangers_are_not_joined() {
        IoBufMut::zeroed(1).unsplit(IoBufMut::zeroed(1));
    }
}
