//! A map that is damaged is never believed.

use super::world::{BLOCK, World, covered};
use crate::disk::{Disk, Durability, ErrorKind, Extent};
use crate::engine::{IoBuf, run};
use crate::track::Point;
use crate::track::page::PAGE_BYTES;

const CHANGED: [u64; 4] = [0, 77, 600, 999];

/// A disk that was closed after some changes since a point.
fn closed() -> (World, Point) {
    let world = World::new(1000 * BLOCK);
    let point = run(async {
        let (tracker, _) = world.open().await.unwrap();
        let point = tracker.checkpoint().await.unwrap();
        for block in CHANGED {
            let data = IoBuf::copy_of(&[1; 9]);
            tracker
                .write(block * BLOCK, data, Durability::Volatile)
                .await
                .unwrap();
        }
        tracker.close(async || Ok(world.look())).await.unwrap();
        point
    });
    (world, point.unwrap())
}

/// Asks a map for the changes: all of them, or none with `FullNeeded`.
fn ask(disk: &[u8], map: Vec<u8>, point: &Point, what: &str) -> bool {
    let world = World::with(disk.to_vec(), map);
    run(async {
        let Ok((tracker, _)) = world.open().await else {
            return false; // another kind of file
        };
        match tracker
            .changes(point, None, Extent::new(0, u64::MAX), usize::MAX)
            .await
        {
            Ok(changes) => {
                for block in CHANGED {
                    assert!(
                        covered(block * BLOCK, &changes.extents),
                        "{what}: block {block}"
                    );
                }
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::FullNeeded, "{what}: {error}");
                let fresh = tracker
                    .checkpoint()
                    .await
                    .map(|point| tracker.check(&point));
                let _ = fresh; // it may still be beginning anew
                false
            }
        }
    })
    .unwrap()
}

#[test]
fn no_wrong_byte_of_a_map_is_believed() {
    let (world, point) = closed();
    let (disk, map) = (world.disk.content(), world.map.content());
    assert!(ask(&disk, map.clone(), &point, "undamaged"));
    let used = |at: &usize| map[*at] != 0;
    for at in (0..map.len()).filter(used).step_by(7) {
        let mut damaged = map.clone();
        damaged[at] ^= 0x21;
        ask(&disk, damaged, &point, &format!("byte {at}"));
    }
}

#[test]
fn no_lost_page_of_a_map_is_believed() {
    let (world, point) = closed();
    let (disk, map) = (world.disk.content(), world.map.content());
    for page in 0..map.len() / PAGE_BYTES {
        let range = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
        if map[range.clone()].iter().any(|&byte| byte != 0) {
            let mut damaged = map.clone();
            damaged[range].fill(0);
            ask(&disk, damaged, &point, &format!("page {page}"));
        }
    }
    for end in (0..map.len()).step_by(30_000) {
        let cut = map[..end].to_vec();
        assert!(!ask(&disk, cut, &point, &format!("cut at {end}")));
    }
}

#[test]
fn a_file_of_another_kind_is_left_alone() {
    run(async {
        let world = World::with(vec![0; 8192], b"QFI\xfb and more".to_vec());
        let before = world.map.content();
        let error = world.open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(world.map.content(), before);
    })
    .unwrap();
}
