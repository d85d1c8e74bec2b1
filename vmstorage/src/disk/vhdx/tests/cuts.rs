//! Power cuts while the disk's size changes, and while many requests run.

use std::cell::RefCell;

use super::super::header::Headers;
use super::super::layout::PAGE_BYTES;
use super::{
    CreateOptions, Disk, Durability, Extent, Fault, IoBuf, IoBufMut, Kind, MIB, Memory,
    OpenOptions, Parent, Rc, Vhdx, image, open, outcomes, parent, read_all, small,
};
use crate::disk::fault::{Operation, SECTOR_BYTES};
use crate::engine::{run, spawn};

async fn fault(options: &CreateOptions, below: Option<&Parent>) -> (Rc<Fault>, Vhdx) {
    let file = Rc::new(Fault::new(image(options).await));
    let options = OpenOptions {
        read_only: false,
        parent: below.cloned(),
    };
    let disk = Vhdx::open(file.clone(), options).await.unwrap();
    (file, disk)
}

/// Resizes a disk with the power cut after `cut` operations; `false` when it was not reached.
async fn cut_resize(kind: &Kind, sizes: [u64; 2], cut: u64) -> bool {
    let (file, disk) = fault(&small(sizes[0], kind.clone()), None).await;
    let places = [0, sizes[0].min(sizes[1]) - 4096];
    for place in places {
        let data = IoBuf::copy_of(&[7; 4096]);
        disk.write(place, data, Durability::Volatile).await.unwrap();
    }
    disk.flush().await.unwrap();
    // What the last block has beyond the end, of a smaller disk, may be anything.
    let end = sizes[0].min(sizes[1]);
    let last = disk.image.bat.payload((end - 1) / MIB).unwrap();
    let garbage = IoBuf::copy_of(&vec![0xee; (end.next_multiple_of(MIB) - end) as usize]);
    let at = last.offset + end % MIB;
    if !garbage.is_empty() {
        file.write(at, garbage, Durability::Durable).await.unwrap();
    }
    file.cut_power_after(cut);
    if disk.resize(sizes[1]).await.is_ok() {
        return false;
    }
    for (seed, after) in outcomes(&file, 4).into_iter().enumerate() {
        let what = format!("{sizes:?}, cut after {cut}, seed {seed}");
        let again = open(&after).await;
        let again = again.unwrap_or_else(|error| panic!("{what}: {error}"));
        let size = again.geometry().size_bytes;
        assert!(sizes.contains(&size), "{what}: {size}");
        for place in places {
            let data = again.read(place, IoBufMut::zeroed(4096)).await.unwrap();
            assert_eq!(data[..], [7; 4096], "{what}: at {place}");
        }
        if size > sizes[0] {
            let rest = (size - sizes[0]).min(2 * MIB);
            let new = again
                .read(sizes[0], IoBufMut::zeroed(rest as usize))
                .await
                .unwrap();
            assert!(
                new.iter().all(|&byte| byte == 0),
                "{what}: new bytes are zero"
            );
        }
        // It can be used further, and what is new stays zero when it is resized then.
        again.resize(sizes[1]).await.unwrap();
        again
            .write(
                sizes[1] - 512,
                IoBuf::copy_of(&[8; 512]),
                Durability::Volatile,
            )
            .await
            .unwrap();
        if sizes[1] < sizes[0] {
            again.resize(sizes[0]).await.unwrap();
            let rest = (sizes[0] - sizes[1]) as usize;
            let new = again.read(sizes[1], IoBufMut::zeroed(rest)).await.unwrap();
            assert!(
                new.iter().all(|&byte| byte == 0),
                "{what}: shrunk and grown"
            );
        }
        again.close().await.unwrap();
    }
    true
}

#[test]
fn a_resize_is_whole_or_not_at_all() {
    run(async {
        for (kind, sizes) in [
            (Kind::Dynamic, [2 * MIB + 4096, 4 * MIB]),
            // The BAT moves: 1 MiB of it holds 128 GiB in blocks of 1 MiB.
            (Kind::Dynamic, [2 * MIB, 200 << 30]),
            (Kind::Dynamic, [5 * MIB, 3 * MIB + 4096]),
            (Kind::Fixed, [2 * MIB + 4096, 4 * MIB]),
        ] {
            let mut cut = 0;
            while cut_resize(&kind, sizes, cut).await {
                cut += 1;
            }
            assert!(cut > 3, "{sizes:?}: {cut} operations");
        }
    })
    .unwrap();
}

const STRIPES: u64 = 12;

/// Many tasks write stripes of their own and flush; returns what each was told is durable.
async fn write_stripes(disk: &Rc<Vhdx>, size: u64) -> Vec<(u64, u8)> {
    let done = Rc::new(RefCell::new(Vec::new()));
    let mut tasks = Vec::new();
    for stripe in 0..STRIPES {
        let (disk, done) = (Rc::clone(disk), Rc::clone(&done));
        tasks.push(spawn(async move {
            for round in 0..size / MIB {
                let block = (round + stripe) % (size / MIB);
                let offset = block * MIB + stripe * 8192;
                let data = IoBuf::copy_of(&[stripe as u8 + 1; 8192]);
                let written = disk.write(offset, data, Durability::Volatile).await;
                if written.is_err() || disk.flush().await.is_err() {
                    return;
                }
                done.borrow_mut().push((offset, stripe as u8 + 1));
            }
        }));
    }
    for task in tasks {
        task.await;
    }
    done.take()
}

#[test]
fn what_many_tasks_flushed_at_once_is_there() {
    run(async {
        let size = 4 * MIB;
        let (below, content, differencing) = parent(size, 90).await;
        for (options, below) in [
            (small(size, Kind::Dynamic), None),
            (differencing, Some(below)),
        ] {
            let content = if below.is_some() {
                content.clone()
            } else {
                vec![0; size as usize]
            };
            for cut in (0..60).step_by(3) {
                let (file, disk) = fault(&options, below.as_ref()).await;
                file.cut_power_after(cut);
                let durable = write_stripes(&Rc::new(disk), size).await;
                let after = Rc::new(Memory::with_content(file.after_power_cut(cut)));
                let options = OpenOptions {
                    read_only: true,
                    parent: below.clone(),
                };
                let again = Vhdx::open(after, options).await.unwrap();
                let found = read_all(&again).await;
                for (offset, byte) in durable {
                    let stripe = &found[offset as usize..][..8192];
                    assert_eq!(stripe, [byte; 8192], "cut after {cut}, at {offset}");
                }
                for (at, sector) in (0..).step_by(SECTOR_BYTES).zip(found.chunks(SECTOR_BYTES)) {
                    let old = &content[at..at + SECTOR_BYTES];
                    let stripe = (at as u64 % MIB / 8192) as u8 + 1;
                    let new = u64::from(stripe) <= STRIPES && sector == [stripe; SECTOR_BYTES];
                    assert!(sector == old || new, "cut after {cut}, at {at}");
                }
            }
        }
    })
    .unwrap();
}

#[test]
fn a_full_log_is_left_only_when_all_it_holds_is_in_place() {
    run(async {
        for cut in 0..5 {
            let (file, disk) = fault(&small(2 * MIB, Kind::Dynamic), None).await;
            let block = |block: u64| Extent::new(block * MIB, MIB);
            let write = async |offset: u64| {
                let data = IoBuf::copy_of(&[5; 512]);
                disk.write(offset, data, Durability::Volatile)
                    .await
                    .unwrap();
                disk.flush().await.unwrap();
            };
            write(MIB).await;
            // Entries are of 8 KiB, so 128 of them fill the log; the last one is a write.
            for entry in 1..128 {
                if entry % 2 == 1 {
                    write(0).await;
                } else {
                    disk.discard(block(0)).await.unwrap();
                    disk.flush().await.unwrap();
                }
            }
            disk.discard(block(1)).await.unwrap();
            file.cut_power_after(cut);
            disk.flush().await.unwrap_err();
            for (seed, after) in outcomes(&file, 40).into_iter().enumerate() {
                let again = open(&after).await.unwrap();
                let data = again.read(0, IoBufMut::zeroed(512)).await.unwrap();
                assert_eq!(data[..], [5; 512], "cut after {cut}, seed {seed}");
            }
        }
    })
    .unwrap();
}

#[test]
fn a_change_of_the_headers_that_failed_goes_on_with_the_one_that_may_be_torn() {
    run(async {
        let bytes = image(&small(4 * MIB, Kind::Dynamic)).await;
        for operation in [Operation::Change, Operation::Flush] {
            for after in 0..2 {
                let file = Fault::new(bytes.clone());
                let mut headers = Headers::load(&file).await.unwrap();
                let wanted = headers.current.sequence + after;
                file.fail_after(operation, after, libc::EIO);
                headers.update(&file, |_| ()).await.unwrap_err();
                // The power goes while the next one is written.
                let (_, offset) = headers.next(|_| ()).unwrap();
                let mut torn = file.content();
                torn[offset as usize..offset as usize + PAGE_BYTES].fill(0xff);
                let found = Headers::load(&Memory::with_content(torn)).await.unwrap();
                assert_eq!(found.current.sequence, wanted, "{operation:?} {after}");
            }
        }
    })
    .unwrap();
}
