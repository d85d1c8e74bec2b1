//! Images against copies of the whole disk that were made at the same moment.

use std::cell::RefCell;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::disk::fault::{Fault, Operation};
use crate::disk::memory::Memory;
use crate::engine::{self, run, sleep, spawn, yield_now};

const GRANULE: u64 = 4096;

/// A disk that does everything in two halves, and lets others run before, between and after.
#[derive(Debug)]
struct Halves {
    disk: Memory,
    rng: RefCell<StdRng>,
}

impl Halves {
    fn new(size: u64, seed: u64) -> Rc<Self> {
        Rc::new(Self {
            disk: Memory::new(size),
            rng: RefCell::new(StdRng::seed_from_u64(seed)),
        })
    }

    async fn pause(&self) {
        let turns = self.rng.borrow_mut().random_range(0..4);
        for _ in 0..turns {
            yield_now().await;
        }
    }
}

impl Disk for Halves {
    fn name(&self) -> String {
        "halves".into()
    }

    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn read(&self, offset_bytes: u64, mut buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            self.pause().await;
            let head = buf.split_to(buf.len() / 2);
            let middle = offset_bytes + head.len() as u64;
            let mut head = self.disk.read(offset_bytes, head).await?;
            self.pause().await;
            head.unsplit(self.disk.read(middle, buf).await?);
            self.pause().await;
            Ok(head)
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            self.pause().await;
            let half = data.len() / 2;
            self.disk
                .write(offset_bytes, data.slice(..half), how)
                .await?;
            self.pause().await;
            let middle = offset_bytes + half as u64;
            self.disk.write(middle, data.slice(half..), how).await?;
            self.pause().await;
            Ok(())
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        self.write(
            extent.offset_bytes,
            IoBuf::zeroed(extent.len_bytes as usize),
            how.durability,
        )
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.write(
            extent.offset_bytes,
            IoBuf::zeroed(extent.len_bytes as usize),
            Durability::Volatile,
        )
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.disk.flush()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.disk.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            self.pause().await;
            self.disk.resize(size_bytes).await?;
            self.pause().await;
            Ok(())
        })
    }
}

fn filter(base: Rc<dyn Disk>, store: Rc<dyn Disk>, max_bytes: u64) -> Rc<Snapshots> {
    let options = Options {
        granule_bytes: GRANULE,
        timeout: None,
    };
    let filter = Snapshots::new(base, options).unwrap();
    filter.set_store(store, max_bytes).unwrap();
    Rc::new(filter)
}

async fn content(disk: &dyn Disk) -> Vec<u8> {
    let buf = IoBufMut::zeroed(disk.geometry().size_bytes as usize);
    disk.read(0, buf).await.unwrap().to_vec()
}

async fn fill(disk: &dyn Disk, offset: u64, len: usize, byte: u8) -> Result<()> {
    let data = IoBuf::copy_of(&vec![byte; len]);
    disk.write(offset, data, Durability::Volatile).await
}

/// One random change; a shrink may overtake it, so that it is out of range by then.
async fn random_change(disk: &Snapshots, rng: &RefCell<StdRng>) {
    let (kind, extent, byte) = {
        let mut rng = rng.borrow_mut();
        let size = disk.geometry().size_bytes;
        let offset = rng.random_range(0..size);
        let len = rng.random_range(1..=(size - offset).min(3 * GRANULE + 77));
        (
            rng.random_range(0..20),
            Extent::new(offset, len),
            rng.random(),
        )
    };
    let zeroes = Zeroes {
        durability: Durability::Volatile,
        may_unmap: true,
        fast_only: false,
    };
    let done = match kind {
        0..=1 => disk.write_zeroes(extent, zeroes).await,
        2..=3 => disk.discard(extent).await,
        4 => disk.resize(40_000 + extent.offset_bytes).await,
        _ => fill(disk, extent.offset_bytes, extent.len_bytes as usize, byte).await,
    };
    if let Err(error) = done {
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
    }
}

/// Reads a random part of an image and compares it with the copy.
async fn random_read(image: &dyn Disk, copy: &[u8], rng: &RefCell<StdRng>) {
    let (start, end) = {
        let mut rng = rng.borrow_mut();
        let start = rng.random_range(0..copy.len());
        (start, rng.random_range(start + 1..=copy.len()))
    };
    let buf = IoBufMut::zeroed(end - start);
    let read = image.read(start as u64, buf).await.unwrap();
    assert!(read[..] == copy[start..end], "{start}..{end} differs");
}

fn images_are_the_moment(seed: u64) {
    run(async {
        let base = Halves::new(100_000, seed);
        let store = Halves::new(0, seed + 1);
        let disk = filter(Rc::clone(&base) as _, Rc::clone(&store) as _, 64 << 20);
        let rng = Rc::new(RefCell::new(StdRng::seed_from_u64(seed)));
        for _ in 0..20 {
            random_change(&disk, &rng).await;
        }
        let writers = (0..6).map(|_| {
            let (disk, rng) = (Rc::clone(&disk), Rc::clone(&rng));
            spawn(async move {
                for _ in 0..60 {
                    random_change(&disk, &rng).await;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let readers = (0..3).map(|_| {
            let (disk, rng, base) = (Rc::clone(&disk), Rc::clone(&rng), Rc::clone(&base));
            spawn(async move {
                for _ in 0..4 {
                    let snapshot = disk.take(OnError::default()).await.unwrap();
                    let copy = base.disk.content();
                    for _ in 0..8 {
                        random_read(&*snapshot.image(), &copy, &rng).await;
                    }
                    assert!(content(&*snapshot.image()).await == copy);
                    snapshot.release().await.unwrap();
                }
            })
        });
        for task in readers.collect::<Vec<_>>() {
            task.await;
        }
        for task in writers {
            task.await;
        }
        let numbers = disk.numbers();
        assert_eq!((numbers.images, numbers.store_bytes), (0, 0));
        // Copies that nobody waits for any more may end only now.
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(store.disk.content().iter().all(|&byte| byte == 0));
    })
    .unwrap();
}

#[test]
fn images_are_the_moment_at_which_they_were_taken() {
    for seed in 0..40 {
        images_are_the_moment(seed);
    }
}

#[test]
fn images_share_copies_and_give_them_back() {
    run(async {
        let store = Rc::new(Memory::new(0));
        let base = Memory::with_content(vec![7; 8 * GRANULE as usize]);
        let disk = filter(Rc::new(base), Rc::clone(&store) as _, 1 << 20);
        let first = disk.take(OnError::default()).await.unwrap();
        fill(&*disk, 10, 1, 1).await.unwrap();
        let second = disk.take(OnError::default()).await.unwrap();
        fill(&*disk, GRANULE, GRANULE as usize + 1, 2)
            .await
            .unwrap();
        assert_eq!(disk.numbers().copied_bytes, 3 * GRANULE);
        assert_eq!(disk.numbers().store_bytes, 3 * GRANULE);
        assert_eq!(
            (first.held_bytes(), second.held_bytes()),
            (3 * GRANULE, 2 * GRANULE)
        );
        first.release().await.unwrap();
        assert_eq!(disk.numbers().store_bytes, 2 * GRANULE);
        let image = second.image();
        assert_eq!(content(&*image).await[10], 1);
        second.forget(Extent::new(0, 8 * GRANULE)).unwrap();
        assert_eq!(disk.numbers().store_bytes, 0);
        fill(&*disk, 0, 8 * GRANULE as usize, 3).await.unwrap();
        assert_eq!(disk.numbers().copied_bytes, 3 * GRANULE);
        image.read(0, IoBufMut::zeroed(1)).await.unwrap_err();
        second.release().await.unwrap();
        assert!(store.content().iter().all(|&byte| byte == 0));
        let gone = image.read(0, IoBufMut::zeroed(1)).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Shutdown);
    })
    .unwrap();
}

#[test]
fn a_full_store_fails_the_image_or_the_write() {
    run(async {
        let base = Memory::with_content(vec![7; 8 * GRANULE as usize]);
        let disk = filter(Rc::new(base), Rc::new(Memory::new(0)), 2 * GRANULE);
        let weak = disk.take(OnError::FailSnapshot).await.unwrap();
        fill(&*disk, 0, 2 * GRANULE as usize, 1).await.unwrap();
        let strict = disk.take(OnError::FailWrite).await.unwrap();
        let full = fill(&*disk, 3 * GRANULE, 1, 1).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::NoSpace);
        assert!(weak.error().is_none() && strict.error().is_none());
        assert!(content(&*weak.image()).await.iter().all(|&byte| byte == 7));
        // What no image needs can still be written: the first two granules only one of them has.
        strict.release().await.unwrap();
        fill(&*disk, 3 * GRANULE, 1, 1).await.unwrap();
        assert_eq!(weak.error().unwrap().kind(), ErrorKind::NoSpace);
        weak.image().read(0, IoBufMut::zeroed(1)).await.unwrap_err();
        assert_eq!(disk.numbers().store_bytes, 0);
    })
    .unwrap();
}

#[test]
fn a_fault_below_is_the_images_not_the_guests() {
    run(async {
        for operation in [Operation::Read, Operation::Change] {
            let base = Rc::new(Fault::new(vec![7; 8 * GRANULE as usize]));
            let store = Rc::new(Fault::new(Vec::new()));
            let disk = filter(Rc::clone(&base) as _, Rc::clone(&store) as _, 1 << 20);
            let snapshot = disk.take(OnError::default()).await.unwrap();
            match operation {
                Operation::Read => base.fail_next(operation, libc::EIO),
                _ => store.fail_next(operation, libc::EIO),
            }
            fill(&*disk, 0, 10, 1).await.unwrap();
            assert_eq!(base.content()[..10], [1; 10]);
            let error = snapshot.error().unwrap();
            assert!(error.to_string().contains("copying old content"), "{error}");
        }
    })
    .unwrap();
}

/// A store that is too slow.
#[derive(Debug)]
struct Slow(Memory);

impl Disk for Slow {
    fn name(&self) -> String {
        "slow".into()
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.0.read(offset_bytes, buf)
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            sleep(Duration::from_millis(200)).await;
            self.0.write(offset_bytes, data, how).await
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        self.0.write_zeroes(extent, how)
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.0.discard(extent)
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.0.flush()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.0.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        self.0.resize(size_bytes)
    }
}

#[test]
fn a_write_waits_for_the_store_only_so_long() {
    run(async {
        let options = Options {
            granule_bytes: GRANULE,
            timeout: Some(Duration::from_millis(5)),
        };
        let base = Rc::new(Memory::with_content(vec![7; 4 * GRANULE as usize]));
        let disk = Snapshots::new(Rc::clone(&base) as _, options).unwrap();
        disk.set_store(Rc::new(Slow(Memory::new(0))), 1 << 20)
            .unwrap();
        let early = disk.take(OnError::default()).await.unwrap();
        fill(&disk, 0, 1, 1).await.unwrap();
        assert!(
            early
                .error()
                .unwrap()
                .to_string()
                .contains("longer than 5 ms")
        );
        // The copy is still under way; an image of later has nothing to do with it.
        let late = disk.take(OnError::default()).await.unwrap();
        sleep(Duration::from_millis(300)).await;
        assert_eq!(content(&*late.image()).await, base.content());
        assert_eq!(disk.numbers().store_bytes, 0);
    })
    .unwrap();
}

#[test]
fn a_client_that_goes_away_leaves_whole_images() {
    run(async {
        for seed in 0..20 {
            let base = Halves::new(8 * GRANULE, seed);
            let disk = filter(Rc::clone(&base) as _, Halves::new(0, seed), 1 << 20);
            fill(&*disk, 0, 8 * GRANULE as usize, 7).await.unwrap();
            let snapshot = disk.take(OnError::default()).await.unwrap();
            let mut write = Box::pin(fill(&*disk, 100, 2 * GRANULE as usize, 9));
            for _ in 0..seed {
                if futures_util::poll!(&mut write).is_ready() {
                    break;
                }
                yield_now().await;
            }
            drop(write);
            let later = disk.take(OnError::default()).await.unwrap();
            let copy = base.disk.content();
            assert!(
                content(&*snapshot.image())
                    .await
                    .iter()
                    .all(|&byte| byte == 7)
            );
            fill(&*disk, 0, 8 * GRANULE as usize, 1).await.unwrap();
            assert!(content(&*later.image()).await == copy);
        }
        assert!(engine::is_running());
    })
    .unwrap();
}

/// A disk of any size that holds nothing, and counts the bytes that are being read.
#[derive(Debug, Default)]
struct Vast {
    reading: std::cell::Cell<u64>,
    most: std::cell::Cell<u64>,
    discarded: std::cell::Cell<u64>,
}

impl Disk for Vast {
    fn name(&self) -> String {
        "vast".into()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: 8 << 30,
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: false,
        }
    }

    fn read(&self, _: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            let len = buf.len() as u64;
            self.reading.set(self.reading.get() + len);
            self.most.set(self.most.get().max(self.reading.get()));
            yield_now().await;
            self.reading.set(self.reading.get() - len);
            Ok(buf)
        })
    }

    fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.discarded.set(self.discarded.get() + extent.len_bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn status(&self, extent: Extent, _: usize) -> Answer<'_, Vec<Status>> {
        let all = Status {
            extent,
            allocated: false,
            zero: true,
        };
        Box::pin(std::future::ready(Ok(vec![all])))
    }

    fn resize(&self, _: u64) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[test]
fn a_change_of_a_large_part_takes_little_memory() {
    run(async {
        let vast = Rc::new(Vast::default());
        let base = Rc::clone(&vast) as Rc<dyn Disk>;
        let filter = Rc::new(Snapshots::new(base, Options::default()).unwrap());
        filter.set_store(Rc::new(Memory::new(0)), u64::MAX).unwrap();
        let snapshot = filter.take(OnError::FailWrite).await.unwrap();
        let parts = (0..4).map(|part| Extent::new(part << 26, 1 << 26));
        let discards = parts.map(|part| {
            let filter = Rc::clone(&filter);
            spawn(async move { filter.discard(part).await })
        });
        for discard in discards.collect::<Vec<_>>() {
            discard.await.unwrap();
        }
        assert_eq!(vast.discarded.get(), 4 << 26);
        assert!(
            vast.most.get() <= 64 << 20,
            "{} bytes at once",
            vast.most.get()
        );
        // A question about all of it is answered in part.
        let whole = Extent::new(0, 8 << 30);
        let said = snapshot.image().status(whole, 4096).await.unwrap();
        assert_eq!(said.last().unwrap().extent.end_bytes(), 4 << 30);
        drop(snapshot);
    })
    .unwrap();
}
