//! What is exact after a clean end, and large disks that are nearly empty.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::world::{BLOCK, World, covered};
use crate::disk::memory::Memory;
use crate::disk::{Answer, Disk, Durability, ErrorKind, Extent, Geometry, Result, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut, run, yield_now};
use crate::track::{Beginning, Fingerprint, Options, Tracker, open};

/// A disk of any size without content.
#[derive(Debug)]
struct Nothing(Cell<u64>);

fn done<T: 'static>(value: T) -> Answer<'static, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Disk for Nothing {
    fn name(&self) -> String {
        "nothing".into()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.0.get(),
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: false,
        }
    }

    fn read(&self, _: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        done(buf)
    }

    fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
        done(())
    }

    fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
        done(())
    }

    fn discard(&self, _: Extent) -> Answer<'_, ()> {
        done(())
    }

    fn flush(&self) -> Answer<'_, ()> {
        done(())
    }

    fn status(&self, _: Extent, _: usize) -> Answer<'_, Vec<Status>> {
        done(Vec::new())
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            // Long enough for everybody else to go on.
            for _ in 0..50 {
                yield_now().await;
            }
            self.0.set(size_bytes);
            Ok(())
        })
    }
}

/// The blocks that a model says changed, as extents.
fn extents(blocks: impl Iterator<Item = u64>, size: u64) -> Vec<Extent> {
    let mut all: Vec<Extent> = Vec::new();
    for block in blocks {
        let (start, end) = (block * BLOCK, ((block + 1) * BLOCK).min(size));
        match all.last_mut() {
            Some(last) if last.end_bytes() == start => last.len_bytes = end - last.offset_bytes,
            _ => all.push(Extent::new(start, end - start)),
        }
    }
    all
}

/// Changes some blocks, and notes in which epoch.
async fn scatter(
    tracker: &Tracker,
    rng: &mut StdRng,
    epochs: &mut BTreeMap<u64, Vec<u32>>,
) -> Result<()> {
    let size = tracker.geometry().size_bytes;
    for _ in 0..rng.random_range(0..12) {
        let offset = rng.random_range(0..size - 1);
        let longest = if rng.random_range(0..5) == 0 {
            3 << 20
        } else {
            3 * BLOCK
        };
        let len = rng.random_range(1..longest).min(size - offset);
        tracker.discard(Extent::new(offset, len)).await?;
        let epoch = tracker.now().epoch;
        for block in offset / BLOCK..=(offset + len - 1) / BLOCK {
            let known = epochs.entry(block).or_default();
            if known.last() != Some(&epoch) {
                known.push(epoch);
            }
        }
    }
    Ok(())
}

/// Opens a map whose pages do not all fit into memory; the disk looks as it always does.
async fn open_small(disk: &Rc<dyn Disk>, map: &Rc<dyn Disk>, cache_pages: usize) -> Tracker {
    let options = Options {
        block_bytes: BLOCK as u32,
        cache_pages,
        hot_pages: 8 + cache_pages,
        read_only: false,
    };
    let opened = open(Rc::clone(disk), Rc::clone(map), &the_same(), &options).await;
    opened.unwrap().0
}

fn the_same() -> Fingerprint {
    Fingerprint::new().with("id", b"the same", true)
}

#[test]
fn a_disk_that_nothing_tells_from_another_is_begun_anew() {
    run(async {
        let disk: Rc<dyn Disk> = Rc::new(Nothing(Cell::new(100 * BLOCK)));
        let map: Rc<dyn Disk> = Rc::new(Memory::new(0));
        let look = Fingerprint::new();
        let options = Options::default();
        let opened = open(disk.clone(), map.clone(), &look, &options).await;
        let (tracker, _) = opened.unwrap();
        let point = tracker.checkpoint().await.unwrap();
        tracker.close(async || Ok(look.clone())).await.unwrap();
        let (tracker, beginning) = open(disk, map, &look, &options).await.unwrap();
        assert!(matches!(beginning, Beginning::Fresh { .. }));
        let error = tracker.check(&point).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FullNeeded);
    })
    .unwrap();
}

#[test]
fn a_page_that_makes_room_for_its_neighbour_keeps_its_entries() {
    run(async {
        let disk: Rc<dyn Disk> = Rc::new(Nothing(Cell::new(30_000 * BLOCK)));
        let map: Rc<dyn Disk> = Rc::new(Memory::new(0));
        let tracker = open_small(&disk, &map, 4).await;
        let change = async |block, count| {
            let extent = Extent::new(block * BLOCK, count * BLOCK);
            tracker.discard(extent).await.unwrap();
        };
        let point = tracker.checkpoint().await.unwrap();
        let mut expected = Vec::new();
        // As many pages as there is room for, of which the first is the first to go.
        for page in [11, 20, 30, 40] {
            change(page * 504 + 5, 1).await;
            expected.push(Extent::new((page * 504 + 5) * BLOCK, BLOCK));
        }
        tracker.checkpoint().await.unwrap();
        change(11 * 504 - 1, 2).await;
        expected.insert(0, Extent::new((11 * 504 - 1) * BLOCK, 2 * BLOCK));
        let all = Extent::new(0, u64::MAX);
        let changes = tracker.changes(&point, None, all, usize::MAX).await;
        assert_eq!(changes.unwrap().extents, expected);
    })
    .unwrap();
}

#[test]
fn after_a_clean_end_the_answer_is_exact() {
    for seed in 0..24 {
        let blocks = 1900 + 500 * seed;
        let size = blocks * BLOCK - 1;
        let cache_pages = 2 + seed as usize % 8;
        let disk: Rc<dyn Disk> = Rc::new(Nothing(Cell::new(size)));
        let map: Rc<dyn Disk> = Rc::new(Memory::new(0));
        let mut rng = StdRng::seed_from_u64(seed);
        let mut epochs: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut points = Vec::new();
        for _ in 0..6 {
            run(async {
                let tracker = open_small(&disk, &map, cache_pages).await;
                for _ in 0..2 {
                    scatter(&tracker, &mut rng, &mut epochs).await.unwrap();
                    points.push(tracker.checkpoint().await.unwrap());
                    scatter(&tracker, &mut rng, &mut epochs).await.unwrap();
                    tracker.settle().await.unwrap();
                }
                tracker.close(async || Ok(the_same())).await.unwrap();
            })
            .unwrap();
        }
        run(async {
            let tracker = open_small(&disk, &map, cache_pages).await;
            for (at, since) in points.iter().enumerate() {
                let later = points[at + 1..].iter().map(Some);
                for until in later.chain([None]) {
                    let all = Extent::new(0, u64::MAX);
                    let changes = tracker
                        .changes(since, until, all, usize::MAX)
                        .await
                        .unwrap();
                    let end = until.map_or(u32::MAX, |until| until.epoch);
                    // Exact but for a block that changed in two epochs after the later point.
                    let told = epochs.iter().filter(|(_, changed)| {
                        let mut newest = changed.iter().rev().take(2);
                        newest.any(|&epoch| epoch > since.epoch && epoch <= end)
                            || (changed.len() > 1 && changed[changed.len() - 2] > end)
                    });
                    let expected = extents(told.map(|(&block, _)| block), size);
                    assert_eq!(changes.extents, expected, "{since:?} {until:?}");
                }
            }
        })
        .unwrap();
    }
}

#[test]
fn a_question_about_a_sparse_disk_of_16_tib_takes_little_memory() {
    run(async {
        let size = 16 << 40;
        let map: Rc<dyn Disk> = Rc::new(Memory::new(0));
        let options = Options::default();
        let look = the_same();
        let disk: Rc<dyn Disk> = Rc::new(Nothing(Cell::new(size)));
        let (tracker, _) = open(disk.clone(), map.clone(), &look, &options)
            .await
            .unwrap();
        let point = tracker.checkpoint().await.unwrap();
        let mut expected = Vec::new();
        for at in 0..40 {
            let offset = (at * (size / 40)) / 65536 * 65536;
            tracker
                .discard(Extent::new(offset + 1, 65536))
                .await
                .unwrap();
            expected.push(Extent::new(offset, 2 * 65536));
        }
        tracker.close(async || Ok(the_same())).await.unwrap();
        assert!(
            map.geometry().size_bytes < 30 << 20,
            "40 segments and the roots"
        );
        let (tracker, _) = open(disk, map, &look, &options).await.unwrap();
        let changes = tracker
            .changes(&point, None, Extent::new(0, size), 99)
            .await
            .unwrap();
        assert_eq!(changes.extents, expected);
        assert!(
            tracker.memory_bytes() < 20 << 20,
            "{}",
            tracker.memory_bytes()
        );
    })
    .unwrap();
}

#[test]
fn a_change_of_a_whole_large_disk_needs_no_pages() {
    run(async {
        let size = 1 << 40;
        let map: Rc<dyn Disk> = Rc::new(Memory::new(0));
        let disk: Rc<dyn Disk> = Rc::new(Nothing(Cell::new(size)));
        let options = Options::default();
        let (tracker, _) = open(disk, map, &the_same(), &options).await.unwrap();
        let point = tracker.checkpoint().await.unwrap();
        tracker.discard(Extent::new(0, size)).await.unwrap();
        let changes = tracker
            .changes(&point, None, Extent::new(0, size), 9)
            .await
            .unwrap();
        assert_eq!(changes.extents, [Extent::new(0, size)]);
        let later = tracker.checkpoint().await.unwrap();
        let data = IoBuf::copy_of(b"one");
        tracker
            .write(size - 3, data, Durability::Volatile)
            .await
            .unwrap();
        let changes = tracker
            .changes(&later, None, Extent::new(0, size), 9)
            .await
            .unwrap();
        assert_eq!(changes.extents, [Extent::new(size - 65536, 65536)]);
    })
    .unwrap();
}

#[test]
fn changes_that_wait_while_a_disk_shrinks_leave_nothing_beyond_its_end() {
    for seed in 0..20 {
        let ended = run(async {
            let disk = Rc::new(Nothing(Cell::new(4 << 30)));
            // Its map takes some turns for each write.
            let world = World::new(0).disorder(seed);
            let map = world.wire(&world.map);
            let options = Options {
                block_bytes: BLOCK as u32,
                ..Options::default()
            };
            let look = the_same();
            let opened = open(disk.clone(), map.clone(), &look, &options).await;
            let (tracker, _) = opened.unwrap();
            let late = tracker.discard(Extent::new(3 << 30, 4096));
            let (_, shrunk) = join(late, tracker.resize(1 << 20)).await;
            shrunk.unwrap();
            tracker.settle().await.unwrap();
            let point = tracker.checkpoint().await.unwrap();
            tracker.discard(Extent::new(4096, 1)).await.unwrap();
            // As after a crash.
            let (tracker, beginning) = open(disk, map, &look, &options).await.unwrap();
            assert!(
                matches!(beginning, Beginning::Recovered { .. }),
                "{seed}: {beginning:?}"
            );
            let changes = tracker
                .changes(&point, None, Extent::new(0, u64::MAX), 9)
                .await;
            assert!(covered(4096, &changes.unwrap().extents));
        });
        ended.unwrap();
    }
}
