//! What the page cache does at once, on the engine's own thread.
//!
//! A read of cached pages is a copy: a ring adds a system call to it, a thread two switches. A
//! write to the page cache is a copy as well, but ext4 has no way to say that it would wait (it
//! refuses `RWF_NOWAIT` for buffered writes), and so a ring gives each to a worker thread. It is
//! made here, until one did wait, for memory or for the journal: then writes go the long way for a
//! while, so that a slow disk holds up its other requests for a small part of the time.

use std::cell::Cell;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

use super::arena::PAGE_BYTES;

/// Longer transfers go the long way: their copy alone would hold up others.
const MOST_READ_BYTES: usize = 1 << 20;
const MOST_WRITTEN_BYTES: usize = 128 << 10;
/// A write that took longer than this has waited.
const WAITED: Duration = Duration::from_millis(1);
/// For how many times as long as a write has waited others go the long way.
const PENANCE: u32 = 50;

/// When an engine may write to the page cache on its own thread again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    after: Cell<Option<Instant>>,
}

/// Reads what is in the page cache from the offset on; nothing if it would have to be fetched, or
/// the file system cannot tell.
pub(super) fn read(file: impl AsFd, buf: &mut [u8], offset: u64) -> Option<usize> {
    if buf.len() > MOST_READ_BYTES {
        return None;
    }
    let mut parts = [IoSliceMut::new(buf)];
    let read = preadv2(file, &mut parts, offset, ReadWriteFlags::NOWAIT);
    // Whether the file ends here, the long way says.
    read.ok().filter(|read| *read > 0)
}

impl Pace {
    /// Writes if that is expected to be a copy: whole pages, so that none has to be read before.
    /// Nothing if it was not tried.
    pub(super) fn write(
        &self,
        file: impl AsFd,
        data: &[u8],
        offset: u64,
    ) -> Option<Result<usize, Errno>> {
        let whole = |at: usize| at.is_multiple_of(PAGE_BYTES);
        let fits = data.len() <= MOST_WRITTEN_BYTES && whole(data.len());
        if !fits || !offset.is_multiple_of(PAGE_BYTES as u64) {
            return None;
        }
        let begun = Instant::now();
        if self.after.get().is_some_and(|after| begun < after) {
            return None;
        }
        let written = pwritev2(file, &[IoSlice::new(data)], offset, ReadWriteFlags::empty());
        let took = begun.elapsed();
        let waited = took > WAITED;
        self.after.set(waited.then(|| begun + took * PENANCE));
        Some(written)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use rustix::fs::Advice;

    use super::*;
    use crate::engine::{self, File, IoBufMut};

    #[test]
    fn what_is_cached_in_part_is_read_whole() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..64 << 10).map(|at: u32| (at / 257) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        file.sync_all().unwrap();
        let hole = std::num::NonZeroU64::new(16 << 10);
        rustix::fs::fadvise(&file, 16 << 10, hole, Advice::DontNeed).unwrap();
        let read = engine::run(async {
            let file = File::new(file);
            file.read_at(100, IoBufMut::zeroed(100 << 10)).await
        });
        assert!(read.unwrap().unwrap()[..] == bytes[100..]);
    }

    #[test]
    fn whole_pages_are_written_at_once_until_one_waits() {
        let file = tempfile::tempfile().unwrap();
        let (pace, page) = (Pace::default(), [7; PAGE_BYTES]);
        assert!(pace.write(&file, &page[1..], 0).is_none());
        assert!(pace.write(&file, &page, 1).is_none());
        assert!(
            pace.write(&file, &vec![0; MOST_WRITTEN_BYTES + PAGE_BYTES], 0)
                .is_none()
        );
        assert_eq!(
            pace.write(&file, &page, PAGE_BYTES as u64),
            Some(Ok(PAGE_BYTES))
        );
        pace.after
            .set(Some(Instant::now() + Duration::from_secs(3600)));
        assert!(pace.write(&file, &page, 0).is_none());
    }
}
