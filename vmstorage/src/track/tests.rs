//! Model checking: whatever is done to a disk and whenever the power goes, the answer covers every
//! byte that differs.

mod crash;
mod damage;
mod mark;
mod scale;
mod world;

use crate::disk::{Answer, Disk, Durability, ErrorKind, Extent, Zeroes};
use crate::engine::{IoBuf, run, spawn, yield_now};
use crate::track::{Beginning, Options, open};

use world::{BLOCK, World, covered};

fn extents(list: &[(u64, u64)]) -> Vec<Extent> {
    let extents = list
        .iter()
        .map(|&(at, len)| Extent::new(at * BLOCK, len * BLOCK));
    extents.collect()
}

async fn write(disk: &dyn Disk, block: u64) {
    let data = IoBuf::copy_of(&[7; 10]);
    let written = disk.write(block * BLOCK + 5, data, Durability::Volatile);
    written.await.unwrap();
}

#[test]
fn changes_are_told_between_any_two_points() {
    run(async {
        let world = World::new(1000 * BLOCK);
        let (tracker, beginning) = world.open().await.unwrap();
        assert!(matches!(beginning, Beginning::Fresh { .. }));
        write(&tracker, 3).await;
        let one = tracker.checkpoint().await.unwrap();
        write(&tracker, 3).await;
        let zeroes = Zeroes {
            durability: Durability::Volatile,
            may_unmap: true,
            fast_only: false,
        };
        let part = Extent::new(10 * BLOCK + 1, BLOCK);
        tracker.write_zeroes(part, zeroes).await.unwrap();
        let two = tracker.checkpoint().await.unwrap();
        tracker
            .discard(Extent::new(600 * BLOCK, 2 * BLOCK))
            .await
            .unwrap();
        write(&tracker, 10).await;
        let all = Extent::new(0, u64::MAX);
        let ask =
            async |since, until, limit| tracker.changes(since, until, all, limit).await.unwrap();
        let until_two = ask(&one, Some(&two), 9).await;
        assert_eq!(until_two.extents, extents(&[(3, 1), (10, 2)]));
        assert_eq!(
            ask(&two, None, 9).await.extents,
            extents(&[(10, 1), (600, 2)])
        );
        let first = ask(&one, None, 1).await;
        assert_eq!(first.extents, extents(&[(3, 1)]));
        assert_eq!(first.next_bytes, Some(10 * BLOCK));
        assert_eq!(ask(&one, Some(&one), 9).await.extents, []);
        let backwards = tracker.changes(&two, Some(&one), all, 9).await;
        assert_eq!(backwards.unwrap_err().kind(), ErrorKind::Unsupported);
    })
    .unwrap();
}

#[test]
fn a_closed_disk_continues_and_a_changed_one_does_not() {
    run(async {
        let world = World::new(100 * BLOCK);
        let (tracker, _) = world.open().await.unwrap();
        let one = tracker.checkpoint().await.unwrap();
        write(&tracker, 50).await;
        tracker.close(async || Ok(world.look())).await.unwrap();
        let late = tracker.discard(Extent::new(0, 1)).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Shutdown);

        let (tracker, beginning) = world.open().await.unwrap();
        assert_eq!(beginning, Beginning::Continued);
        let changes = tracker
            .changes(&one, None, Extent::new(0, u64::MAX), 9)
            .await;
        assert_eq!(changes.unwrap().extents, extents(&[(50, 1)]));
        tracker.close(async || Ok(world.look())).await.unwrap();

        let foreign = IoBuf::copy_of(b"somebody else");
        world
            .disk
            .write(0, foreign, Durability::Volatile)
            .await
            .unwrap();
        let (tracker, beginning) = world.open().await.unwrap();
        assert!(matches!(beginning, Beginning::Fresh { .. }));
        let error = tracker.check(&one).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FullNeeded);
        assert!(
            error
                .to_string()
                .contains("changed untracked: its `content`"),
            "{error}"
        );
    })
    .unwrap();
}

#[test]
fn a_disk_that_grew_names_what_is_new_and_one_that_shrank_nothing() {
    run(async {
        let world = World::new(100 * BLOCK);
        let (tracker, _) = world.open().await.unwrap();
        let one = tracker.checkpoint().await.unwrap();
        tracker.resize(2000 * BLOCK + 7).await.unwrap();
        let two = tracker.checkpoint().await.unwrap();
        write(&tracker, 1999).await;
        let all = Extent::new(0, u64::MAX);
        let since_one = tracker.changes(&one, None, all, 9).await.unwrap();
        assert_eq!(
            since_one.extents,
            [Extent::new(100 * BLOCK, 1900 * BLOCK + 7)]
        );
        let since_two = tracker.changes(&two, None, all, 9).await.unwrap();
        assert_eq!(since_two.extents, extents(&[(1999, 1)]));
        tracker.resize(50 * BLOCK).await.unwrap();
        let error = tracker.changes(&two, None, all, 9).await.unwrap_err();
        assert!(error.to_string().contains("shrank from"), "{error}");
        let three = tracker.checkpoint().await.unwrap();
        write(&tracker, 49).await;
        let since_three = tracker.changes(&three, None, all, 9).await.unwrap();
        assert_eq!(since_three.extents, extents(&[(49, 1)]));
    })
    .unwrap();
}

#[test]
fn a_copy_that_went_its_own_way_is_told_from_the_disk() {
    run(async {
        let world = World::new(100 * BLOCK);
        let (tracker, _) = world.open().await.unwrap();
        let common = tracker.checkpoint().await.unwrap();
        tracker.close(async || Ok(world.look())).await.unwrap();
        let copy = world.copy();
        let (ours, _) = world.open().await.unwrap();
        let (theirs, _) = copy.open().await.unwrap();
        write(&ours, 1).await;
        let our_point = ours.checkpoint().await.unwrap();
        let their_point = theirs.checkpoint().await.unwrap();
        assert_eq!(our_point.epoch, their_point.epoch);
        ours.check(&common).unwrap();
        theirs.check(&common).unwrap();
        let error = ours.check(&their_point).unwrap_err();
        assert!(error.to_string().contains("a copy of this disk"), "{error}");
    })
    .unwrap();
}

#[test]
fn a_dirty_bitmap_becomes_a_point() {
    run(async {
        let world = World::new(1000 * BLOCK);
        let (tracker, _) = world.open().await.unwrap();
        let dirty = [
            Extent::new(5 * BLOCK, 2 * BLOCK),
            Extent::new(900 * BLOCK, 1),
        ];
        let point = tracker.import_bitmap(&dirty).await.unwrap();
        write(&tracker, 20).await;
        let now = tracker.checkpoint().await.unwrap();
        write(&tracker, 5).await;
        let changes = tracker
            .changes(&point, Some(&now), Extent::new(0, u64::MAX), 9)
            .await;
        assert_eq!(
            changes.unwrap().extents,
            extents(&[(5, 2), (20, 1), (900, 1)])
        );
    })
    .unwrap();
}

#[test]
fn a_map_that_cannot_be_written_fails_the_change() {
    run(async {
        let world = World::new(1000 * BLOCK);
        let (tracker, _) = world.open().await.unwrap();
        let one = tracker.checkpoint().await.unwrap();
        world
            .map
            .fail_next(crate::disk::fault::Operation::Change, libc::ENOSPC);
        let before = world.disk.content();
        let data = IoBuf::copy_of(&[1; 9]);
        let failed = tracker
            .write(0, data, Durability::Volatile)
            .await
            .unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::NoSpace);
        assert_eq!(world.disk.content(), before);
        write(&tracker, 0).await;
        let changes = tracker
            .changes(&one, None, Extent::new(0, u64::MAX), 9)
            .await;
        assert!(covered(0, &changes.unwrap().extents));
    })
    .unwrap();
}

/// A disk whose writes end by themselves, also when nobody waits for them any more.
#[derive(Debug)]
struct Slow(std::rc::Rc<World>, std::rc::Rc<std::cell::Cell<bool>>);

impl Disk for Slow {
    fn name(&self) -> String {
        "slow".into()
    }

    fn geometry(&self) -> crate::disk::Geometry {
        self.0.disk.geometry()
    }

    fn read(&self, at: u64, buf: crate::engine::IoBufMut) -> Answer<'_, crate::engine::IoBufMut> {
        self.0.disk.read(at, buf)
    }

    fn write(&self, at: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        let (world, may_land) = (std::rc::Rc::clone(&self.0), std::rc::Rc::clone(&self.1));
        let landed = spawn(async move {
            while !may_land.get() {
                yield_now().await;
            }
            world.disk.write(at, data, how).await
        });
        Box::pin(async move {
            let (done, wait) = tokio::sync::oneshot::channel();
            spawn(async move { done.send(landed.await) }).detach();
            wait.await.unwrap()
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        self.0.disk.write_zeroes(extent, how)
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.0.disk.discard(extent)
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.0.disk.flush()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<crate::disk::Status>> {
        self.0.disk.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        self.0.disk.resize(size_bytes)
    }
}

#[test]
fn a_change_that_its_caller_gave_up_counts_until_it_has_landed() {
    run(async {
        let world = std::rc::Rc::new(World::new(1000 * BLOCK));
        let map: std::rc::Rc<dyn Disk> = world.map.clone();
        let may_land = std::rc::Rc::default();
        let slow = Slow(std::rc::Rc::clone(&world), std::rc::Rc::clone(&may_land));
        let disk = std::rc::Rc::new(slow);
        let options = Options {
            block_bytes: BLOCK as u32,
            ..Options::default()
        };
        let (tracker, _) = open(disk, map, &world.look(), &options).await.unwrap();
        let writer = tracker.clone();
        let data = IoBuf::copy_of(&[9; 100]);
        let write = async move { writer.write(77 * BLOCK, data, Durability::Volatile).await };
        let given_up = spawn(write);
        for _ in 0..10 {
            yield_now().await;
        }
        drop(given_up);
        let before = world.disk.content();
        let one = tracker.checkpoint().await.unwrap();
        let two = tracker.checkpoint().await.unwrap();
        assert!(world.disk.content() == before, "it has not landed yet");
        may_land.set(true);
        while world.disk.content() == before {
            yield_now().await;
        }
        for point in [one, two] {
            let all = Extent::new(0, u64::MAX);
            let changes = tracker.changes(&point, None, all, 9).await.unwrap();
            assert_eq!(changes.extents, extents(&[(77, 1)]));
        }
    })
    .unwrap();
}
