//! The refcount table moves to where it has room: beside others, through failures and power cuts.

use std::cell::Cell;
use std::rc::Rc;

use super::races::Late;
use super::{Shape, content, pattern, shape};
use crate::disk::fault::{Fault, Operation, SECTOR_BYTES};
use crate::disk::memory::Memory;
use crate::disk::qcow2::Qcow2;
use crate::disk::{Disk, Durability};
use crate::engine::{IoBuf, run, yield_now};

/// What the disk has before the table moves, which can count 2 MiB of the file.
const OLD_BYTES: usize = 2_000_384;
/// What is written then.
const NEW_BYTES: usize = 61_440;

/// A shape whose refcount table is soon too short.
fn tight() -> Shape {
    shape((OLD_BYTES + NEW_BYTES) as u64, 512, 64)
}

/// The file of an image whose table is nearly full, and what the disk is to hold in the end.
async fn nearly_full() -> (Vec<u8>, Vec<u8>) {
    let file = tight().create().await;
    let disk = tight().open(file.clone()).await.unwrap();
    let bytes = pattern(5, OLD_BYTES + NEW_BYTES);
    let data = IoBuf::copy_of(&bytes[..OLD_BYTES]);
    disk.write(0, data, Durability::Volatile).await.unwrap();
    disk.close().await.unwrap();
    assert_eq!(table_clusters(&file.content()), 1, "the table has moved");
    (file.content(), bytes)
}

fn table_clusters(file: &[u8]) -> u32 {
    u32::from_be_bytes(file[56..60].try_into().unwrap())
}

/// Writes what is new, in parts.
async fn fill(disk: &Qcow2, bytes: &[u8]) -> crate::disk::Result<()> {
    for at in (OLD_BYTES..bytes.len()).step_by(5_120) {
        let data = IoBuf::copy_of(&bytes[at..(at + 5_120).min(bytes.len())]);
        disk.write(at as u64, data, Durability::Volatile).await?;
    }
    Ok(())
}

/// The image is whole, and holds what it held; what is new is there wholly if it `is_sure`.
async fn is_whole(file: Vec<u8>, bytes: &[u8], is_sure: bool, what: &str) {
    let file = Rc::new(Memory::with_content(file));
    let disk = tight().open(file).await.unwrap();
    let found = disk.check().await.unwrap();
    assert_eq!(found.corruptions, 0, "{what}: {found:?}");
    let read = content(&disk).await;
    assert!(read[..OLD_BYTES] == bytes[..OLD_BYTES], "{what}: the old");
    let sectors = read.chunks(SECTOR_BYTES).zip(bytes.chunks(SECTOR_BYTES));
    for (number, (read, wanted)) in sectors.enumerate().skip(OLD_BYTES / SECTOR_BYTES) {
        let lost = !is_sure && read.iter().all(|byte| *byte == 0);
        assert!(read == wanted || lost, "{what}: sector {number}");
    }
}

#[test]
fn a_table_that_could_not_move_is_as_it_was() {
    run(async {
        let (before, bytes) = nearly_full().await;
        for operation in [Operation::Read, Operation::Change, Operation::Flush] {
            for after in 0.. {
                let what = format!("{operation:?} {after}");
                let file = Rc::new(Fault::new(before.clone()));
                let disk = tight().open(file.clone()).await.unwrap();
                file.fail_after(operation, after, libc::ENOSPC);
                let first = async {
                    fill(&disk, &bytes).await?;
                    disk.flush().await
                };
                let failed = first.await.is_err();
                let reached = !file.is_to_fail();
                // What was changed until then is durable, and then the rest.
                if disk.flush().await.is_ok() {
                    let cut = file.after_power_cut(after);
                    is_whole(cut, &bytes, !failed, &what).await;
                }
                fill(&disk, &bytes).await.unwrap();
                disk.flush().await.unwrap();
                is_whole(file.after_power_cut(after), &bytes, true, &what).await;
                assert!(table_clusters(&file.content()) > 1, "it did not move");
                if !reached {
                    break;
                }
            }
        }
    })
    .unwrap();
}

/// Fills the disk beside somebody who flushes; whether the power was cut.
async fn beside_a_flusher(before: &[u8], bytes: &[u8], seed: u64, cut: u64) -> bool {
    let fault = Rc::new(Fault::new(before.to_vec()));
    let file = Rc::new(Late::new(fault.clone(), seed));
    let disk = tight().open(file).await.unwrap();
    fault.cut_power_after(cut);
    let is_full = Cell::new(false);
    let writer = async {
        let done = fill(&disk, bytes).await;
        is_full.set(true);
        done
    };
    let flusher = async {
        while !is_full.get() && disk.flush().await.is_ok() {
            yield_now().await;
        }
    };
    let (done, ()) = futures_util::join!(writer, flusher);
    let sure = done.is_ok() && disk.flush().await.is_ok();
    let what = format!("seed {seed}, cut {cut}");
    is_whole(fault.after_power_cut(seed), bytes, sure, &what).await;
    !sure
}

#[test]
fn a_table_moves_beside_flushes_and_through_power_cuts() {
    run(async {
        let (before, bytes) = nearly_full().await;
        let mut cut = 0;
        while beside_a_flusher(&before, &bytes, cut, cut).await {
            cut += 1 + cut / 16;
        }
        assert!(cut > 20, "power was cut {cut} times only");
    })
    .unwrap();
}
