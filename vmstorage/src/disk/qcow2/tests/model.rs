//! Random requests, each compared with bytes in memory.

use futures_util::future::join_all;

use super::{Change, Shape, content, shapes};
use crate::disk::qcow2::Qcow2;
use crate::disk::{Disk, Durability, Result};
use crate::engine::run;
use crate::engine::{IoBuf, IoBufMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Puts a change into the model; a discarded part is what the disk says it is.
async fn model(change: &Change, bytes: &mut [u8], disk: &Qcow2) {
    match change {
        Change::Write { offset, data, .. } => {
            let start = *offset as usize;
            bytes[start..start + data.len()].copy_from_slice(data);
        }
        Change::Zero { extent, .. } => {
            bytes[extent.offset_bytes as usize..extent.end_bytes() as usize].fill(0);
        }
        Change::Discard(extent) => {
            let (start, end) = (extent.offset_bytes as usize, extent.end_bytes() as usize);
            let buf = IoBufMut::zeroed(end - start);
            let found = disk.read(start as u64, buf).await.unwrap();
            let parts = found.chunks(512).zip(bytes[start..end].chunks(512));
            for (found, old) in parts {
                let fine = |at: usize| found[at] == 0 || found[at] == old[at];
                assert!(
                    found == old || (0..found.len()).all(fine),
                    "a discard at {start}"
                );
            }
            bytes[start..end].copy_from_slice(&found);
        }
        Change::Flush => {}
    }
}

async fn compare(disk: &Qcow2, bytes: &[u8], what: &str) {
    let found = content(disk).await;
    if found != bytes {
        let wrong = found
            .iter()
            .zip(bytes)
            .position(|(found, byte)| found != byte);
        panic!(
            "{what}: byte {wrong:?} is the first wrong of {}",
            bytes.len()
        );
    }
}

async fn walk(shape: &Shape, seed: u64) {
    let what = format!("{shape:?}, seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let file = shape.create().await;
    let mut disk = shape.open(file.clone()).await.unwrap();
    let mut bytes = shape.content();
    compare(&disk, &bytes, &what).await;
    for step in 0..40 {
        let sector = [1, 512][rng.random_range(0..2)];
        let change = Change::random(&mut rng, bytes.len() as u64, sector);
        change.apply(&disk).await.unwrap();
        model(&change, &mut bytes, &disk).await;
        if step % 10 == 9 {
            compare(&disk, &bytes, &what).await;
        }
        if step % 20 == 19 {
            let found = disk.check().await.unwrap();
            assert_eq!(found.corruptions, 0, "{what}: {found:?}");
            disk.close().await.unwrap();
            disk = shape.open(file.clone()).await.unwrap();
            compare(&disk, &bytes, &what).await;
            let found = disk.check().await.unwrap();
            assert!(found.is_clean(), "{what}: {found:?}");
        }
    }
}

#[test]
fn every_shape_is_as_the_model() {
    run(async {
        for shape in shapes() {
            for seed in 0..2 {
                walk(&shape, seed).await;
            }
        }
    })
    .unwrap();
}

#[test]
fn writes_beside_each_other_do_not_undo_each_other() {
    run(async {
        for shape in shapes() {
            let mut rng = StdRng::seed_from_u64(3);
            let file = shape.create().await;
            let disk = shape.open(file.clone()).await.unwrap();
            let mut bytes = shape.content();
            for _ in 0..6 {
                // Parts that do not overlap, but share clusters.
                let mut writes = Vec::new();
                let mut at = rng.random_range(0..20_000);
                while writes.len() < 24 {
                    let len = rng.random_range(1..9000_usize);
                    if at + len > bytes.len() {
                        break;
                    }
                    let mut data = vec![0; len];
                    rng.fill(&mut data[..]);
                    bytes[at..at + len].copy_from_slice(&data);
                    writes.push((at as u64, data));
                    at += len + rng.random_range(0..700);
                }
                let requests = writes.iter().map(|(at, data)| async {
                    let how = Durability::Volatile;
                    let done = disk.write(*at, IoBuf::copy_of(data), how).await;
                    disk.flush().await.unwrap();
                    done
                });
                join_all(requests)
                    .await
                    .into_iter()
                    .for_each(Result::unwrap);
            }
            compare(&disk, &bytes, "beside").await;
            disk.close().await.unwrap();
            assert!(disk.check().await.unwrap().is_clean());
        }
    })
    .unwrap();
}

#[test]
fn a_disk_that_changes_its_size_has_zeroes_in_its_new_part() {
    run(async {
        for shape in shapes() {
            let what = format!("{shape:?}");
            let mut rng = StdRng::seed_from_u64(11);
            let file = shape.create().await;
            let disk = shape.open(file.clone()).await.unwrap();
            let mut bytes = shape.content();
            for _ in 0..8 {
                let size = bytes.len() as u64;
                for _ in 0..3 {
                    let change = Change::random(&mut rng, size, 1);
                    change.apply(&disk).await.unwrap();
                    model(&change, &mut bytes, &disk).await;
                }
                let new = rng.random_range(size / 2 + 1..size * 2);
                disk.resize(new).await.unwrap();
                bytes.resize(new as usize, 0);
                compare(&disk, &bytes, &what).await;
                let found = disk.check().await.unwrap();
                assert_eq!(found.corruptions, 0, "{what}: {found:?}");
            }
            disk.close().await.unwrap();
            let disk = shape.open(file.clone()).await.unwrap();
            compare(&disk, &bytes, &what).await;
            let found = disk.check().await.unwrap();
            assert!(found.is_clean(), "{what}: {found:?}");
        }
    })
    .unwrap();
}
