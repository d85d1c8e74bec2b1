//! Which chunks a repository has: the beginnings of their digests in memory, the rest in packs.
//!
//! A beginning that is found says only where to look: a chunk is known when the footer of its pack
//! has the whole digest, so two chunks are never taken for each other. Footers that were looked at
//! last are kept, since a disk that is backed up again meets chunks in the order of their packs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::damage::Damage;
use super::envelope::Digest;
use super::index::Chunk;
use super::pack;
use super::repo::{Repository, pack_name};
use super::table::Table;
use crate::disk::{Error, ErrorKind, Result};

/// Chunks of footers that are kept, at least one footer: 10 MiB.
const KEPT_CHUNKS: usize = 1 << 17;
/// Threads that read footers when a run begins: a bucket takes its time for each.
const READERS: usize = 16;
/// Footers that are kept.
const KEPT_FOOTERS: usize = 256;

/// The chunks that a repository has, and those that are about to be stored in it.
#[derive(Debug, Default)]
pub(super) struct Known {
    state: Mutex<State>,
    footers: Mutex<Footers>,
}

#[derive(Debug, Default)]
struct State {
    /// By [`prefix`]: the pack's number in the upper half, the place in its footer in the lower.
    table: Table,
    /// Names of packs by their numbers.
    packs: Vec<Digest>,
    /// Chunks of packs that are full and not stored yet, which have the next numbers.
    storing: VecDeque<Vec<Chunk>>,
    /// Chunks of the pack that is being filled, which has the number after those.
    filling: Vec<Chunk>,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    pack: u32,
    index: u32,
}

/// A footer; whoever needs it while it is read waits.
type Footer = Arc<Mutex<Option<Arc<Vec<Chunk>>>>>;

/// The footers that were used last, and how many chunks each has; the latest is the last.
#[derive(Debug, Default)]
struct Footers {
    kept: VecDeque<(u32, Footer, usize)>,
}

impl Known {
    /// Reads the footers of all packs; chunks that are damaged are not known.
    ///
    /// # Errors
    /// When the store cannot list.
    pub(super) fn load(repo: &Repository, damage: &Damage) -> Result<Self> {
        let known = Self::default();
        let packs = repo.store.entries("packs")?;
        let next = AtomicUsize::new(0);
        let read = || -> Result<()> {
            while let Some((name, len)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                known.read_pack(repo, (name, *len), damage)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS.min(packs.len()))
                .map(|_| scope.spawn(read))
                .collect();
            let panicked = |_| Err(Error::new(ErrorKind::Io, "a reader of packs ended early"));
            readers
                .into_iter()
                .try_for_each(|reader| reader.join().unwrap_or_else(panicked))
        })?;
        Ok(known)
    }

    fn read_pack(&self, repo: &Repository, pack: (&str, u64), damage: &Damage) -> Result<()> {
        let (name, len_bytes) = pack;
        let footer =
            pack::digest_of(name).and_then(|pack| Ok((pack, pack::footer(repo, name, len_bytes)?)));
        match footer {
            Ok((pack, chunks)) => lock(&self.state).add_pack(pack, &chunks, damage),
            // A damaged pack is nothing to build on; `verify` is what names it.
            Err(error) => {
                tracing::warn!(%error, "a pack is not used for new points");
                Ok(())
            }
        }
    }

    /// The chunk of a digest. Its pack is zero until that is stored.
    ///
    /// # Errors
    /// When a footer that was read before cannot be read again.
    pub(super) fn find(&self, repo: &Repository, digest: &Digest) -> Result<Option<Chunk>> {
        let places: Vec<Place> = lock(&self.state).places(digest).collect();
        for place in places {
            let chunk = self.chunk(repo, place)?;
            if chunk.is_some_and(|chunk| chunk.digest == *digest) {
                return Ok(chunk);
            }
        }
        Ok(None)
    }

    /// Whether a digest begins as a known one does; if not, it is not known.
    pub(super) fn may_have(&self, digest: &Digest) -> bool {
        lock(&self.state).places(digest).next().is_some()
    }

    /// A chunk is in the pack that is being filled, after those that were added before.
    ///
    /// # Errors
    /// When there are too many packs or chunks to number.
    pub(super) fn add(&self, chunk: Chunk) -> Result<()> {
        let mut state = lock(&self.state);
        let pack = state.packs.len() + state.storing.len();
        let index = state.filling.len();
        state.insert(pack, index, &chunk.digest)?;
        state.filling.push(chunk);
        Ok(())
    }

    /// The pack that is being filled is full, and another one begins.
    pub(super) fn full(&self) {
        let mut state = lock(&self.state);
        let filling = std::mem::take(&mut state.filling);
        state.storing.push_back(filling);
    }

    /// The first pack that was full is stored; these are its chunks, which have its name.
    pub(super) fn stored(&self, chunks: Vec<Chunk>) {
        let Some(pack) = chunks.first().map(|chunk| chunk.pack) else {
            return;
        };
        let mut state = lock(&self.state);
        let (number, len) = (state.packs.len() as u32, chunks.len());
        state.packs.push(pack);
        state.storing.pop_front();
        let footer = Arc::new(Mutex::new(Some(Arc::new(chunks))));
        lock(&self.footers).keep(number, footer, len);
    }

    /// Bytes of memory that it takes, without the footers that it keeps.
    pub(super) fn bytes(&self) -> usize {
        let state = lock(&self.state);
        state.table.bytes() + state.packs.capacity() * size_of::<Digest>()
    }

    fn chunk(&self, repo: &Repository, place: Place) -> Result<Option<Chunk>> {
        let (number, index) = (place.pack, place.index as usize);
        let pack = {
            let state = lock(&self.state);
            match state.packs.get(number as usize) {
                Some(pack) => *pack,
                None => return Ok(state.unnamed(number, index)),
            }
        };
        let footer = lock(&self.footers).take(number);
        let mut chunks = lock(&footer);
        let chunks = match &*chunks {
            Some(chunks) => Arc::clone(chunks),
            None => {
                let name = pack_name(&pack);
                let read = pack::footer(repo, &name, repo.store.len_bytes(&name)?)?;
                let read = Arc::new(read);
                chunks.insert(read).clone()
            }
        };
        lock(&self.footers).keep(number, Arc::clone(&footer), chunks.len());
        Ok(chunks.get(index).copied())
    }
}

impl State {
    fn places(&self, digest: &Digest) -> impl Iterator<Item = Place> + '_ {
        self.table.values(prefix(digest)).map(|value| Place {
            pack: (value >> 32) as u32,
            index: value as u32,
        })
    }

    /// A chunk of a pack that is not stored yet.
    fn unnamed(&self, pack: u32, index: usize) -> Option<Chunk> {
        let later = (pack as usize).checked_sub(self.packs.len())?;
        let chunks = self.storing.get(later).unwrap_or(&self.filling);
        chunks.get(index).copied()
    }

    fn add_pack(&mut self, pack: Digest, chunks: &[Chunk], damage: &Damage) -> Result<()> {
        let number = self.packs.len();
        for (index, chunk) in chunks.iter().enumerate() {
            if !damage.has(chunk) {
                self.insert(number, index, &chunk.digest)?;
            }
        }
        self.packs.push(pack);
        Ok(())
    }

    fn insert(&mut self, pack: usize, index: usize, digest: &Digest) -> Result<()> {
        // The last number is none, so that no value is the table's mark of a free slot.
        let pack = u32::try_from(pack).ok().filter(|pack| *pack < u32::MAX);
        let (Some(pack), Ok(index)) = (pack, u32::try_from(index)) else {
            let message = "the repository has too many packs; help: begin another one";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let value = u64::from(pack) << 32 | u64::from(index);
        self.table.insert(prefix(digest), value);
        Ok(())
    }
}

impl Footers {
    /// A footer, which is to be read if it is empty.
    fn take(&mut self, number: u32) -> Footer {
        let found = self.kept.iter().rev().find(|(have, ..)| *have == number);
        if let Some((_, footer, _)) = found {
            return Arc::clone(footer);
        }
        let footer = Footer::default();
        self.kept.push_back((number, Arc::clone(&footer), 0));
        footer
    }

    /// A footer of `len` chunks was used.
    fn keep(&mut self, number: u32, footer: Footer, len: usize) {
        self.kept.retain(|(have, ..)| *have != number);
        self.kept.push_back((number, footer, len));
        let mut chunks: usize = self.kept.iter().map(|(.., len)| len).sum();
        while self.kept.len() > 1 && (chunks > KEPT_CHUNKS || self.kept.len() > KEPT_FOOTERS) {
            chunks -= self.kept.pop_front().map_or(0, |(.., len)| len);
        }
    }
}

/// The first 8 bytes of a digest.
pub(super) fn prefix(digest: &Digest) -> u64 {
    let (head, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*head)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::super::Local;
    use super::super::index::Run;
    use super::super::pack::Filling;
    use super::*;

    fn digest(begin: u64, rest: u8) -> Digest {
        let mut digest = [rest; 32];
        digest[..8].copy_from_slice(&begin.to_be_bytes());
        digest
    }

    #[test]
    fn digests_that_begin_alike_are_different_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Local::create(folder.path()).unwrap());
        let repo = Repository::create(store, None, 4096).unwrap();
        let known = Known::default();
        let add = |known: &Known, digest| {
            let mut filling = Filling::default();
            let chunk = filling.add(digest, 4096, &[rand::random(); 100]);
            known.add(chunk).unwrap();
            filling
        };
        // Five stored ones and one in the pack that is being filled, all with one beginning.
        for rest in 1..6 {
            let filling = add(&known, digest(7, rest));
            known.full();
            known.stored(filling.store(&repo).unwrap());
        }
        let pending = add(&known, digest(7, 6));
        let loaded = Known::load(&repo, &Damage::default()).unwrap();
        for (known, have) in [(&known, 6), (&loaded, 5)] {
            for rest in 0..9 {
                let wanted = digest(7, rest);
                assert!(known.may_have(&wanted));
                let found = known.find(&repo, &wanted).unwrap();
                assert_eq!(found.is_some(), (1..=have).contains(&rest), "{rest}");
                assert!(found.is_none_or(|chunk| chunk.digest == wanted));
                assert!(found.is_none_or(|chunk| chunk.is_pending() == (rest == 6)));
            }
            assert!(!known.may_have(&digest(8, 1)));
        }
        // The next one is filled while it is stored.
        known.full();
        let next = add(&known, digest(7, 8));
        let is_pending = |rest| {
            known
                .find(&repo, &digest(7, rest))
                .unwrap()
                .unwrap()
                .is_pending()
        };
        assert!(is_pending(6) && is_pending(8));
        known.stored(pending.store(&repo).unwrap());
        assert!(!is_pending(6) && is_pending(8));
        known.full();
        known.stored(next.store(&repo).unwrap());
        assert!(!is_pending(6) && !is_pending(8));
        assert_eq!(loaded.find(&repo, &digest(7, 6)).unwrap(), None);
        // What is found only by its beginning is not believed when the pack cannot be read.
        for name in repo.store.list("packs").unwrap() {
            repo.store.delete(&name).unwrap();
        }
        let again = Known {
            state: loaded.state,
            footers: Mutex::default(),
        };
        again.find(&repo, &digest(7, 1)).unwrap_err();
    }

    #[test]
    fn a_chunk_takes_at_most_24_bytes() {
        let (known, mut rng) = (Known::default(), StdRng::seed_from_u64(2));
        // Packs of 16 MiB of chunks of 64 KiB that cannot be compressed.
        let (packs, each) = (600, 256);
        for _ in 0..packs {
            let chunk = || Chunk {
                digest: rng.random(),
                pack: [1; 32],
                offset: 0,
                stored: 65_536,
                plain: 65_536,
            };
            let chunks: Vec<Chunk> = std::iter::repeat_with(chunk).take(each).collect();
            lock(&known.state)
                .add_pack([1; 32], &chunks, &Damage::default())
                .unwrap();
        }
        // The figures of the reference page.
        assert_eq!((size_of::<Chunk>(), size_of::<Run>()), (80, 24));
        let bytes = known.bytes() / (packs * each);
        assert!((16..=24).contains(&bytes), "{bytes} bytes a chunk");
    }

    #[test]
    fn long_footers_are_read_in_two_parts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Local::create(folder.path()).unwrap());
        let repo = Repository::create(store, None, 4096).unwrap();
        let mut rng = StdRng::seed_from_u64(3);
        let mut digests: Vec<Digest> = Vec::new();
        // Just below what is read at once, just above, and far.
        for count in [1, 2, 815, 816, 817, 818, 819, 820, 5000] {
            let mut filling = Filling::default();
            for _ in 0..count {
                digests.push(rng.random());
                filling.add(digests[digests.len() - 1], 4096, &rng.random::<[u8; 9]>());
            }
            assert_eq!(filling.store(&repo).unwrap().len(), count);
        }
        let known = Known::load(&repo, &Damage::default()).unwrap();
        assert_eq!(lock(&known.state).table.len(), digests.len());
        for digest in &digests {
            let found = known.find(&repo, digest).unwrap().unwrap();
            assert_eq!(found.digest, *digest);
        }
    }

    #[test]
    fn few_footers_are_kept() {
        let mut footers = Footers::default();
        for number in 0..1000 {
            let footer = footers.take(number);
            footers.keep(number, footer, 1 << 10);
            let chunks: usize = footers.kept.iter().map(|(.., len)| len).sum();
            assert!(chunks <= KEPT_CHUNKS && footers.kept.len() <= KEPT_FOOTERS);
        }
        // One that is longer than all that is kept is kept alone.
        let footer = footers.take(1000);
        footers.keep(1000, footer, KEPT_CHUNKS * 2);
        assert_eq!(footers.kept.len(), 1);
        for number in 0..1000 {
            footers.take(number);
            let footer = footers.take(number);
            footers.keep(number, footer, 1);
            assert!(footers.kept.len() <= KEPT_FOOTERS);
        }
    }
}
