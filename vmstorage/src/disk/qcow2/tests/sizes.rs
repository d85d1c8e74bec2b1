//! Changes of the size: beside others, through failures and power cuts.

use std::cell::Cell;
use std::rc::Rc;

use super::races::Late;
use super::{Shape, content, pattern, shape};
use crate::disk::fault::{Fault, Operation, SECTOR_BYTES};
use crate::disk::memory::Memory;
use crate::disk::qcow2::{Qcow2, TRACKING_EXTENSION};
use crate::disk::{Disk, Durability, ErrorKind, Extent, Result, Zeroes};
use crate::engine::{IoBuf, run, yield_now};

/// Bytes of the disk that an L2 table of [`large`] describes: it has two slices.
const SPAN: u64 = 8 << 20;
/// What is left of the disk.
const KEPT: u64 = SPAN + 5 * 8192;

fn large() -> Shape {
    shape(3 * SPAN, 8192, 16)
}

/// The file of an image with data in both slices of each table, and what the disk holds.
async fn filled() -> (Vec<u8>, Vec<u8>) {
    let file = large().create().await;
    let disk = large().open(file.clone()).await.unwrap();
    let mut bytes = vec![0; 3 * SPAN as usize];
    for at in (0..3 * SPAN).step_by(SPAN as usize / 4) {
        let data = pattern(at as u32, 20_000);
        bytes[at as usize..at as usize + data.len()].copy_from_slice(&data);
        let data = IoBuf::copy_of(&data);
        disk.write(at, data, Durability::Volatile).await.unwrap();
    }
    disk.close().await.unwrap();
    (file.content(), bytes)
}

/// The image is whole and of one of two sizes, and holds what it held as far as it is kept.
async fn is_whole(file: Vec<u8>, bytes: &[u8], what: &str) -> u64 {
    let file = Rc::new(Memory::with_content(file));
    let disk = large().open(file).await.unwrap();
    let found = disk.check().await.unwrap();
    assert_eq!(found.corruptions, 0, "{what}: {found:?}");
    let read = content(&disk).await;
    let kept = KEPT as usize;
    assert!(read[..kept] == bytes[..kept], "{what}: what is kept");
    let sectors = read.chunks(SECTOR_BYTES).zip(bytes.chunks(SECTOR_BYTES));
    for (number, (read, old)) in sectors.enumerate().skip(kept / SECTOR_BYTES) {
        let is_gone = || read.iter().all(|byte| *byte == 0);
        assert!(read == old || is_gone(), "{what}: sector {number}");
    }
    read.len() as u64
}

#[test]
fn a_disk_that_could_not_shrink_is_whole() {
    run(async {
        let (before, bytes) = filled().await;
        for operation in [Operation::Read, Operation::Change, Operation::Flush] {
            for after in 0.. {
                let what = format!("{operation:?} {after}");
                let file = Rc::new(Fault::new(before.clone()));
                let disk = large().open(file.clone()).await.unwrap();
                file.fail_after(operation, after, libc::EIO);
                let _ = disk.resize(KEPT).await;
                let was_reached = !file.is_to_fail();
                // Nothing else fails.
                file.fail_after(operation, u64::MAX, libc::EIO);
                // Others may take what was freed.
                for number in 0..4 {
                    disk.flush().await.unwrap();
                    is_whole(file.after_power_cut(number), &bytes, &what).await;
                    let data = IoBuf::copy_of(&bytes[..20_000]);
                    let at = number * SPAN / 4;
                    disk.discard(Extent::new(at, 8192)).await.unwrap();
                    disk.write(at, data, Durability::Volatile).await.unwrap();
                    let data = IoBuf::copy_of(&bytes[at as usize..at as usize + 20_000]);
                    disk.write(at, data, Durability::Volatile).await.unwrap();
                }
                disk.resize(KEPT).await.unwrap();
                let size = is_whole(file.after_power_cut(after), &bytes, &what).await;
                assert_eq!(size, KEPT, "{what}");
                if !was_reached {
                    break;
                }
            }
        }
    })
    .unwrap();
}

/// Shrinks the disk beside somebody who flushes, till the power is cut.
async fn shrink_beside_a_flusher(before: &[u8], bytes: &[u8], cut: u64) -> Result<()> {
    let fault = Rc::new(Fault::new(before.to_vec()));
    let file = Rc::new(Late::new(fault.clone(), cut));
    let disk = large().open(file.clone()).await.unwrap();
    // Several commits end while a part of a table is read.
    file.slow_reads.set(true);
    fault.cut_power_after(cut);
    let has_ended = Cell::new(false);
    let shrinker = async {
        let done = disk.resize(KEPT).await;
        has_ended.set(true);
        done
    };
    let flusher = async {
        while !has_ended.get() && disk.flush().await.is_ok() {
            for _ in 0..20 {
                yield_now().await;
            }
        }
    };
    let (done, ()) = futures_util::join!(shrinker, flusher);
    for seed in 0..3 {
        let what = format!("cut {cut}, seed {seed}");
        let size = is_whole(fault.after_power_cut(seed), bytes, &what).await;
        assert!(size == KEPT || size == bytes.len() as u64 && done.is_err());
    }
    done
}

#[test]
fn a_disk_shrinks_beside_flushes_and_through_power_cuts() {
    run(async {
        let (before, bytes) = filled().await;
        let mut cut = 0;
        while shrink_beside_a_flusher(&before, &bytes, cut).await.is_err() {
            cut += 1 + cut / 16;
        }
        assert!(cut > 5, "power was cut {cut} times only");
    })
    .unwrap();
}

/// What the file would hold after a power cut is the disk as it is.
async fn is_as_live(file: &Fault, shape: &Shape, live: &Qcow2, seed: u64, what: &str) {
    let cut = Rc::new(Memory::with_content(file.after_power_cut(seed)));
    let disk = shape.open(cut).await.unwrap();
    let found = disk.check().await.unwrap();
    assert_eq!(found.corruptions, 0, "{what}: {found:?}");
    let sizes = (disk.geometry().size_bytes, live.geometry().size_bytes);
    assert_eq!(sizes.0, sizes.1, "{what}");
    assert!(content(&disk).await == content(live).await, "{what}");
}

#[test]
fn a_header_that_could_not_be_written_is_as_it_was() {
    run(async {
        // Its L1 table moves when it grows.
        let shape = shape(1 << 20, 512, 16);
        let before = shape.create().await.content();
        let id = TRACKING_EXTENSION;
        for size in [200_000, 9 << 20] {
            for operation in [Operation::Change, Operation::Flush] {
                for after in 0.. {
                    let what = format!("{size}: {operation:?} {after}");
                    let file = Rc::new(Fault::new(before.clone()));
                    let disk = shape.open(file.clone()).await.unwrap();
                    disk.write(0, IoBuf::copy_of(&[1; 9000]), Durability::Volatile)
                        .await
                        .unwrap();
                    file.fail_after(operation, after, libc::EIO);
                    let done = disk.resize(size).await;
                    let was_reached = !file.is_to_fail();
                    let now = disk.geometry().size_bytes;
                    assert_eq!(now, if done.is_ok() { size } else { 1 << 20 }, "{what}");
                    file.fail_after(operation, u64::MAX, libc::EIO);
                    // In place; and in a part of the disk that had no table yet.
                    for (at, how) in [(0, Durability::Durable), (now - 5000, Durability::Volatile)]
                    {
                        let data = IoBuf::copy_of(&[2; 5000]);
                        disk.write(at, data, how).await.unwrap();
                        if how == Durability::Volatile {
                            disk.flush().await.unwrap();
                        }
                        is_as_live(&file, &shape, &disk, after, &what).await;
                    }
                    let mark = Some(vec![7; 30]);
                    disk.set_header_extension(id, mark.clone()).await.unwrap();
                    is_as_live(&file, &shape, &disk, after, &what).await;
                    assert_eq!(disk.header_extension(id), mark);
                    disk.resize(size).await.unwrap();
                    disk.close().await.unwrap();
                    is_as_live(&file, &shape, &disk, after, &what).await;
                    let found = disk.check().await.unwrap();
                    assert!(found.is_clean(), "{what}: {found:?}");
                    if !was_reached {
                        break;
                    }
                }
            }
        }
    })
    .unwrap();
}

#[test]
fn a_request_that_waits_for_a_shrink_finds_itself_beyond_the_end() {
    run(async {
        let shape = shape(1 << 20, 4096, 16);
        let file = Rc::new(Late::new(shape.create().await, 1));
        let disk = shape.open(file).await.unwrap();
        let (at, len) = (1 << 19, 1 << 16);
        let zeroes = Zeroes {
            durability: Durability::Volatile,
            may_unmap: false,
            fast_only: false,
        };
        let data = IoBuf::copy_of(&vec![1; len as usize]);
        let (shrunk, written, zeroed, discarded) = futures_util::join!(
            disk.resize(at),
            disk.write(at, data, Durability::Volatile),
            disk.write_zeroes(Extent::new(at, len), zeroes),
            disk.discard(Extent::new(at, len)),
        );
        shrunk.unwrap();
        for done in [written, zeroed, discarded] {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::OutOfRange);
        }
        disk.resize(1 << 20).await.unwrap();
        assert!(content(&disk).await.iter().all(|byte| *byte == 0));
    })
    .unwrap();
}
