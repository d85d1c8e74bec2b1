//! Copies of an image put in its place, and the power going while its mark changes.

use std::rc::Rc;

use super::world::{BLOCK, World};
use crate::disk::qcow2::{CreateOptions, OpenOptions, Qcow2, TRACKING_EXTENSION};
use crate::disk::{Disk, Durability, ErrorKind, Extent, Result};
use crate::engine::{IoBuf, run};
use crate::track::{Beginning, Fingerprint, Mark, Options, Point, Tracker, open_marked};

const SIZE: u64 = 200 * BLOCK;

async fn image() -> World {
    let world = World::new(0);
    let options = CreateOptions::new(SIZE);
    let file = Rc::clone(&world.disk) as Rc<dyn Disk>;
    Qcow2::create(file, &options).await.unwrap();
    World::with(world.disk.content(), Vec::new())
}

fn look(image: &Qcow2) -> Fingerprint {
    let mark = image.header_extension(TRACKING_EXTENSION);
    let print = Fingerprint::new().with("inode", b"the same", true);
    print.with_mark(mark.as_deref())
}

async fn open(world: &World) -> Result<(Tracker, Beginning, Rc<Qcow2>)> {
    let file = world.wire(&world.disk);
    let image = Rc::new(Qcow2::open(file, OpenOptions::default()).await?);
    let options = Options {
        block_bytes: BLOCK as u32,
        cache_pages: 2,
        hot_pages: 8,
        read_only: false,
    };
    let map = world.wire(&world.map);
    let mark = Rc::clone(&image) as Rc<dyn Mark>;
    let below = Rc::clone(&image) as Rc<dyn Disk>;
    let (tracker, beginning) = open_marked(below, map, &look(&image), &options, Some(mark)).await?;
    Ok((tracker, beginning, image))
}

async fn write(tracker: &Tracker, block: u64) -> Result<()> {
    let data = IoBuf::copy_of(&[block as u8 + 1; 100]);
    tracker
        .write(block * BLOCK, data, Durability::Durable)
        .await
}

/// Two sessions with points; `copies` is told of the file after each point, with the point.
async fn live(world: &World, copies: &mut Vec<(Vec<u8>, Option<Point>)>) -> Result<()> {
    copies.push((world.disk.content(), None));
    for session in 0..2 {
        let (tracker, _, image) = open(world).await?;
        for step in 0..2 {
            let block = session * 20 + step * 7;
            write(&tracker, block).await?;
            // Older than the point to come, younger than the one before.
            copies.push((world.disk.content(), None));
            let point = tracker.checkpoint().await?;
            copies.push((world.disk.content(), Some(point)));
            write(&tracker, block + 1).await?;
        }
        if session == 0 {
            let close = async || {
                image.close().await?;
                Ok(look(&image))
            };
            tracker.close(close).await?;
        }
    }
    Ok(())
}

#[test]
fn the_power_goes_while_the_mark_changes() {
    run(async {
        let base = image().await;
        let whole = base.copy();
        live(&whole, &mut Vec::new()).await.unwrap();
        for cut in 0..whole.power.done.get() {
            let world = base.copy();
            world.power.left.set(Some(cut));
            let mut copies = Vec::new();
            live(&world, &mut copies).await.unwrap_err();
            world.disk.cut_power_after(0);
            let after = world.after_power_cut(cut);
            let map = after.map.content();
            // The image itself is known, and its points are.
            let (tracker, beginning, _) = open(&after).await.unwrap();
            let last = copies.iter().rev().find_map(|(_, point)| *point);
            if let Some(point) = last {
                let recovered = matches!(beginning, Beginning::Recovered { .. })
                    || beginning == Beginning::Continued;
                assert!(recovered, "cut {cut}: {beginning:?}");
                tracker.check(&point).unwrap();
            }
            // Copies from before the last point that was answered are not.
            let newest = copies.iter().rposition(|(_, point)| point.is_some());
            for (copy, _) in &copies[..newest.unwrap_or(0)] {
                let older = World::with(copy.clone(), map.clone());
                let (tracker, beginning, _) = open(&older).await.unwrap();
                assert!(matches!(beginning, Beginning::Fresh { .. }), "cut {cut}");
                let error = tracker.check(&last.unwrap()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::FullNeeded);
            }
        }
    })
    .unwrap();
}

#[test]
fn an_image_without_its_mark_or_with_another_is_not_known() {
    run(async {
        let base = image().await;
        live(&base, &mut Vec::new()).await.unwrap();
        for mark in [None, Some(vec![7; 48]), Some(Vec::new())] {
            let world = base.copy();
            let file = Rc::clone(&world.disk) as Rc<dyn Disk>;
            let changed = Qcow2::open(file, OpenOptions::default()).await.unwrap();
            let set = changed.set_header_extension(TRACKING_EXTENSION, mark);
            set.await.unwrap();
            changed.close().await.unwrap();
            let (_, beginning, _) = open(&world).await.unwrap();
            assert!(matches!(beginning, Beginning::Fresh { .. }));
        }
        // The newest copy that was made is as good as the image: what changed since is marked.
        let mut copies = Vec::new();
        let begun = image().await;
        live(&begun, &mut copies).await.unwrap();
        let (newest, point) = copies.pop().unwrap();
        let newest = World::with(newest, begun.map.content());
        let (tracker, beginning, _) = open(&newest).await.unwrap();
        assert!(matches!(beginning, Beginning::Recovered { .. }));
        let all = Extent::new(0, SIZE);
        let changes = tracker.changes(&point.unwrap(), None, all, 99).await;
        assert!(super::covered(28 * BLOCK, &changes.unwrap().extents));
    })
    .unwrap();
}
