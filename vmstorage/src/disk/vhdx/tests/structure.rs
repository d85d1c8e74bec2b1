//! What the file itself looks like after what was done.

use uuid::Uuid;

use super::super::header::Headers;
use super::{
    CreateOptions, Disk, Durability, Extent, Fault, IoBuf, IoBufMut, Kind, MIB, Memory,
    OpenOptions, Rc, Result, Vhdx, Zeroes, first_difference, image, open, open_over, parent,
    read_all, small,
};
use crate::disk::ErrorKind;
use crate::disk::fault::Operation;
use crate::engine::{run, spawn, yield_now};

async fn write(disk: &Vhdx, offset: u64, byte: u8) -> Result<()> {
    disk.write(offset, IoBuf::copy_of(&[byte; 4096]), Durability::Volatile)
        .await
}

async fn fault(options: &CreateOptions) -> (Rc<Fault>, Vhdx) {
    let file = Rc::new(Fault::new(image(options).await));
    let disk = Vhdx::open(file.clone(), OpenOptions::default())
        .await
        .unwrap();
    (file, disk)
}

#[test]
fn headers_tell_of_openings_that_change_something() {
    run(async {
        let (file, disk) = fault(&small(4 * MIB, Kind::Dynamic)).await;
        let header = async || Headers::load(&*file).await.unwrap().current;
        let before = header().await;
        read_all(&disk).await;
        disk.flush().await.unwrap();
        assert_eq!(header().await, before, "reading changes nothing");
        write(&disk, 0, 1).await.unwrap();
        let written = header().await;
        assert_eq!(
            written.sequence,
            before.sequence + 2,
            "both headers were written"
        );
        assert_ne!(written.file_write, before.file_write);
        assert_ne!(written.data_write, before.data_write);
        assert!(written.log.is_nil());
        disk.flush().await.unwrap();
        let flushed = header().await;
        assert_eq!(flushed.file_write, written.file_write);
        assert_eq!(flushed.data_write, written.data_write);
        assert!(!flushed.log.is_nil(), "there is something to replay");
        write(&disk, 1, 2).await.unwrap();
        disk.flush().await.unwrap();
        assert_eq!(header().await, flushed);
        disk.close().await.unwrap();
        let closed = header().await;
        assert!(closed.log.is_nil());
        assert_eq!(closed.data_write, written.data_write);
        assert_eq!(disk.info().data_write_guid, written.data_write);
    })
    .unwrap();
}

#[test]
fn a_torn_header_is_not_missed() {
    run(async {
        let (file, disk) = fault(&small(2 * MIB, Kind::Dynamic)).await;
        write(&disk, 0, 1).await.unwrap();
        disk.close().await.unwrap();
        for offset in [64 << 10, 128 << 10] {
            let mut bytes = file.content();
            bytes[offset + 20] ^= 1;
            let again = open(&bytes).await.unwrap();
            assert_eq!(read_all(&again).await[..4096], [1; 4096]);
            bytes[(64 << 10) + 21] ^= 1;
            bytes[(128 << 10) + 21] ^= 1;
            let error = open(&bytes).await.unwrap_err();
            assert!(error.to_string().contains("0x10000"), "{error}");
        }
    })
    .unwrap();
}

#[test]
fn a_present_block_is_written_with_one_operation() {
    run(async {
        let (file, disk) = fault(&small(4 * MIB, Kind::Dynamic)).await;
        write(&disk, 0, 1).await.unwrap();
        disk.flush().await.unwrap();
        let before = file.operations();
        write(&disk, 8192, 2).await.unwrap();
        assert_eq!(file.operations(), before + 1);
        disk.flush().await.unwrap();
        assert_eq!(file.operations(), before + 2);
        let data = IoBuf::copy_of(&[3; 512]);
        disk.write(100, data, Durability::Durable).await.unwrap();
        assert_eq!(
            file.operations(),
            before + 3,
            "a durable write is passed on"
        );
        // A new block costs its growth and its data now, and a log entry with the next flush.
        write(&disk, MIB, 4).await.unwrap();
        assert_eq!(file.operations(), before + 5);
        disk.flush().await.unwrap();
        assert_eq!(
            file.operations(),
            before + 8,
            "log entry, flush, write in place"
        );
    })
    .unwrap();
}

#[test]
fn the_log_begins_anew_when_it_is_full() {
    run(async {
        let (file, disk) = fault(&small(2 * MIB, Kind::Dynamic)).await;
        let whole = Extent::new(0, MIB);
        let how = Zeroes {
            durability: Durability::Volatile,
            may_unmap: true,
            fast_only: false,
        };
        let mut ids = std::collections::HashSet::new();
        for round in 0..300u32 {
            write(&disk, 4096, round as u8).await.unwrap();
            disk.flush().await.unwrap();
            ids.insert(Headers::load(&*file).await.unwrap().current.log);
            if round % 16 == 0 {
                for seed in 0..2 {
                    let again = open(&file.after_power_cut(seed)).await.unwrap();
                    assert_eq!(read_all(&again).await[4096], round as u8, "round {round}");
                }
            }
            disk.write_zeroes(whole, how).await.unwrap();
            disk.flush().await.unwrap();
        }
        assert!(
            ids.len() > 3 && !ids.contains(&Uuid::nil()),
            "{} logs",
            ids.len()
        );
        assert!(file.content().len() <= 7 << 20, "freed space is used again");
    })
    .unwrap();
}

#[test]
fn disks_grow_and_shrink() {
    run(async {
        let (file, disk) = fault(&small(3 * MIB + 512, Kind::Dynamic)).await;
        disk.write(3 * MIB, IoBuf::copy_of(&[7; 512]), Durability::Volatile)
            .await
            .unwrap();
        // The second size needs a larger BAT than 1 MiB, which holds 128 GiB in blocks of 1 MiB.
        for size in [5 * MIB, 300 << 30, (300 << 30) + 4096] {
            disk.resize(size).await.unwrap();
            assert_eq!(disk.geometry().size_bytes, size);
            let last = disk
                .read(size - 4096, IoBufMut::zeroed(4096))
                .await
                .unwrap();
            assert_eq!(last[..], [0; 4096]);
            write(&disk, size - 4096, 9).await.unwrap();
            disk.flush().await.unwrap();
            let again = open(&file.after_power_cut(0)).await.unwrap();
            assert_eq!(again.geometry().size_bytes, size);
            for disk in [&disk, &again] {
                let old = disk.read(3 * MIB, IoBufMut::zeroed(1024)).await.unwrap();
                assert_eq!(old[..], [vec![7; 512], vec![0; 512]].concat());
                let last = disk
                    .read(size - 4096, IoBufMut::zeroed(4096))
                    .await
                    .unwrap();
                assert_eq!(last[..], [9; 4096]);
            }
        }
        disk.resize(3 * MIB + 1024).await.unwrap();
        let error = disk
            .read(3 * MIB + 1024, IoBufMut::zeroed(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
        disk.resize(6 * MIB).await.unwrap();
        disk.close().await.unwrap();
        let again = open(&file.content()).await.unwrap();
        let content = read_all(&again).await;
        assert_eq!(content.len(), 6 << 20);
        assert!(content[(3 << 20) + 512..].iter().all(|&byte| byte == 0));
        assert_eq!(
            disk.resize(100).await.unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    })
    .unwrap();
}

#[test]
fn fixed_and_differencing_disks_grow() {
    run(async {
        let (file, disk) = fault(&small(2 * MIB, Kind::Fixed)).await;
        disk.resize(4 * MIB + 512).await.unwrap();
        let before = file.operations();
        write(&disk, 3 * MIB, 5).await.unwrap();
        assert_eq!(file.operations(), before + 1, "its space is there already");
        assert_eq!(
            disk.resize(MIB).await.unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        disk.close().await.unwrap();
        let again = open(&file.content()).await.unwrap();
        assert_eq!(read_all(&again).await[3 << 20..][..4096], [5; 4096]);

        let (below, content, options) = parent(2 * MIB + 512, 60).await;
        let file = Rc::new(Memory::with_content(image(&options).await));
        let disk = open_over(file.clone(), &below).await.unwrap();
        write(&disk, 2 * MIB - 4096, 6).await.unwrap();
        disk.resize(4 * MIB).await.unwrap();
        disk.flush().await.unwrap();
        let again = open_over(file, &below).await.unwrap();
        let read = read_all(&again).await;
        assert_eq!(read[..(2 << 20) - 4096], content[..(2 << 20) - 4096]);
        assert_eq!(read[2 << 20..][..512], content[2 << 20..]);
        assert!(read[(2 << 20) + 512..].iter().all(|&byte| byte == 0));
    })
    .unwrap();
}

#[test]
fn after_a_failed_flush_of_metadata_only_reading_goes_on() {
    run(async {
        let (file, disk) = fault(&small(2 * MIB, Kind::Dynamic)).await;
        write(&disk, 0, 1).await.unwrap();
        file.fail_next(Operation::Flush, libc::EIO);
        disk.flush().await.unwrap_err();
        let error = write(&disk, 0, 2).await.unwrap_err();
        assert!(error.to_string().contains("opened again"), "{error}");
        disk.flush().await.unwrap_err();
        assert_eq!(read_all(&disk).await[..4096], [1; 4096]);
    })
    .unwrap();
}

#[test]
fn a_full_disk_fails_a_write_and_nothing_else() {
    run(async {
        let (file, disk) = fault(&small(4 * MIB, Kind::Dynamic)).await;
        write(&disk, 0, 1).await.unwrap();
        file.fail_next(Operation::Change, libc::ENOSPC);
        let error = write(&disk, MIB, 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        write(&disk, MIB, 3).await.unwrap();
        file.fail_next(Operation::Change, libc::ENOSPC);
        disk.flush().await.unwrap_err();
        disk.flush().await.unwrap();
        let again = open(&file.after_power_cut(1)).await.unwrap();
        let content = read_all(&again).await;
        assert_eq!((content[0], content[1 << 20]), (1, 3));
    })
    .unwrap();
}

#[test]
fn requests_that_are_dropped_do_no_harm() {
    run(async {
        let (file, disk) = fault(&small(4 * MIB, Kind::Dynamic)).await;
        let disk = Rc::new(disk);
        for polls in 0..12 {
            let mine = Rc::clone(&disk);
            let task = spawn(async move {
                let offset = (polls % 4) * MIB;
                let data = IoBuf::copy_of(&[polls as u8 + 1; 4096]);
                mine.write(offset, data, Durability::Durable).await
            });
            for _ in 0..polls {
                yield_now().await;
            }
            drop(task);
        }
        write(&disk, 0, 77).await.unwrap();
        disk.flush().await.unwrap();
        let again = open(&file.after_power_cut(3)).await.unwrap();
        assert_eq!(
            first_difference(&read_all(&again).await, &read_all(&*disk).await),
            None
        );
    })
    .unwrap();
}

#[test]
fn bits_of_a_block_that_was_not_present_mean_nothing() {
    run(async {
        let (below, content, options) = parent(2 * MIB, 61).await;
        let file = Rc::new(Memory::with_content(image(&options).await));
        let disk = open_over(file.clone(), &below).await.unwrap();
        write(&disk, 4096, 1).await.unwrap();
        disk.close().await.unwrap();
        // Another program may forget the block and leave its bits.
        let bat = 3 * MIB;
        let nothing = IoBuf::zeroed(8);
        file.write(bat, nothing, Durability::Volatile)
            .await
            .unwrap();
        let disk = open_over(file, &below).await.unwrap();
        write(&disk, 65536, 2).await.unwrap();
        let read = read_all(&disk).await;
        assert_eq!(first_difference(&read[..65536], &content[..65536]), None);
        assert_eq!(read[65536..][..4096], [2; 4096]);
    })
    .unwrap();
}

#[test]
fn what_was_left_behind_the_table_is_not_taken_for_blocks() {
    run(async {
        let file = Rc::new(Memory::with_content(
            image(&small(2 * MIB, Kind::Dynamic)).await,
        ));
        // In the page of the entries that are used, and in the next one.
        for entry in [5, 520] {
            let garbage = IoBuf::copy_of(&(2 << 20 | 6u64).to_le_bytes());
            let at = 3 * MIB + entry * 8;
            file.write(at, garbage, Durability::Volatile).await.unwrap();
        }
        let disk = Vhdx::open(file.clone(), OpenOptions::default()).await;
        disk.unwrap().resize(600 * MIB).await.unwrap();
        let again = open(&file.content()).await.unwrap();
        for block in [5, 520] {
            let read = again
                .read(block * MIB, IoBufMut::zeroed(4096))
                .await
                .unwrap();
            assert_eq!(read[..], [0; 4096]);
        }
    })
    .unwrap();
}
