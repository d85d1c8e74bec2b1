//! Images that are wrong: errors, no panic, no endless work.

use super::{Change, content, shape, shapes};
use crate::disk::fault::{Fault, Operation};
use crate::disk::memory::Memory;
use crate::disk::qcow2::{Bitmap, OpenOptions, Qcow2};
use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::run;
use crate::engine::{IoBuf, IoBufMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::rc::Rc;

/// A disk that cannot become large.
#[derive(Debug)]
struct Small(Memory);

impl Disk for Small {
    fn name(&self) -> String {
        self.0.name()
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.0.read(offset_bytes, buf)
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        self.0.write(offset_bytes, data, durability)
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
        if size_bytes > 64 << 20 {
            let full = Error::new(ErrorKind::NoSpace, "ftruncate: the disk is full");
            return Box::pin(std::future::ready(Err(full)));
        }
        self.0.resize(size_bytes)
    }
}

/// Uses an image as a guest would; errors are as good as answers.
async fn use_it(bytes: Vec<u8>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let file = Rc::new(Small(Memory::with_content(bytes)));
    let options = OpenOptions {
        read_only: rng.random_bool(0.3),
        backing: Some(Rc::new(Memory::new(100_000))),
    };
    let Ok(disk) = Qcow2::open(file, options).await else {
        return;
    };
    let size = disk.geometry().size_bytes.min(1 << 30);
    let _ = disk.check().await;
    let _ = disk.bitmaps().await;
    let _ = disk.bitmap_extents("b").await;
    if size < 512 {
        return;
    }
    let _ = disk.status(Extent::new(0, size.min(1 << 20)), 16).await;
    for _ in 0..4 {
        let _ = Change::random(&mut rng, size, 512).apply(&disk).await;
        let offset = rng.random_range(0..size / 512) * 512;
        let len = (size - offset).min(20_000) as usize;
        let _ = disk.read(offset, IoBufMut::zeroed(len)).await;
    }
    let _ = disk.resize(size / 2).await;
    let _ = disk.close().await;
}

#[test]
fn an_image_with_wrong_bytes_is_an_error_at_worst() {
    run(async {
        for (number, shape) in shapes().into_iter().enumerate() {
            let file = shape.create().await;
            let disk = shape.open(file.clone()).await.unwrap();
            let data = IoBuf::copy_of(&[9; 70_000]);
            disk.write(5000, data, Durability::Volatile).await.unwrap();
            if shape.options.version > 2 {
                let bitmap = Bitmap {
                    name: "b".into(),
                    granularity_bytes: 4096,
                    auto: true,
                    in_use: false,
                };
                disk.set_bitmap(bitmap, vec![Extent::new(0, 9000)])
                    .await
                    .unwrap();
            }
            disk.close().await.unwrap();
            let whole = file.content();
            let cluster = shape.options.cluster_bytes as usize;
            for seed in 0..15 {
                let mut rng = StdRng::seed_from_u64(seed * 31 + number as u64);
                let mut bytes = whole.clone();
                // Mostly where tables are: the first clusters.
                let reach = [200, cluster * 6, bytes.len()][rng.random_range(0..3)];
                for _ in 0..rng.random_range(1..6) {
                    let at = rng.random_range(0..reach.min(bytes.len()));
                    bytes[at] = rng.random();
                }
                if rng.random_bool(0.2) {
                    bytes.truncate(rng.random_range(0..bytes.len()));
                }
                use_it(bytes, seed).await;
            }
        }
    })
    .unwrap();
}

async fn image_with(change: impl FnOnce(&mut Vec<u8>)) -> Result<Qcow2> {
    let shape = shape(1 << 20, 4096, 16);
    let file = shape.create().await;
    let disk = shape.open(file.clone()).await.unwrap();
    let data = IoBuf::copy_of(&[9; 70_000]);
    disk.write(0, data, Durability::Volatile).await.unwrap();
    disk.close().await.unwrap();
    let mut bytes = file.content();
    change(&mut bytes);
    shape.open(Rc::new(Memory::with_content(bytes))).await
}

fn put64(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
}

#[test]
fn wrong_headers_are_refused_with_a_reason() {
    run(async {
        let cases: [(usize, u64, &str); 6] = [
            (20, 0x0000_0020_0000_0000, "cluster bits"),
            (24, u64::MAX, "L1 table"),
            (40, 0x1001, "L1 table"),
            (40, 1 << 55, "L1 table"),
            (48, 77, "refcount table"),
            (72, 1 << 40, "unknown feature of bit 40"),
        ];
        for (at, word, reason) in cases {
            let error = image_with(|bytes| put64(bytes, at, word))
                .await
                .unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    })
    .unwrap();
}

#[test]
fn data_is_not_written_over_tables() {
    run(async {
        // The first data cluster becomes the refcount table's.
        let disk = image_with(|bytes| {
            let l1 = u64::from_be_bytes(bytes[40..48].try_into().unwrap()) as usize;
            let l2 = u64::from_be_bytes(bytes[l1..l1 + 8].try_into().unwrap()) & 0xff_ffff;
            put64(bytes, l2 as usize, 1 << 63 | 4096);
        })
        .await
        .unwrap();
        let data = IoBuf::copy_of(&[1; 512]);
        let error = disk.write(0, data, Durability::Volatile).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("overlaps metadata"), "{error}");
        assert!(disk.check().await.unwrap().corruptions > 0);
    })
    .unwrap();
}

#[test]
fn a_corrupt_image_is_read_only() {
    run(async {
        let mark = |bytes: &mut Vec<u8>| put64(bytes, 72, 2);
        let error = image_with(mark).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
    })
    .unwrap();
}

#[test]
fn a_dirty_image_is_repaired() {
    run(async {
        // Its reference counts are lost, but for the tables'.
        let disk = image_with(|bytes| {
            put64(bytes, 72, 1);
            let block = 2 * 4096;
            bytes[block + 10..block + 4096].fill(0);
        })
        .await
        .unwrap();
        assert!(!disk.info().dirty);
        let found = disk.check().await.unwrap();
        assert!(found.is_clean(), "{found:?}");
        assert_eq!(content(&disk).await[..70_000], [9; 70_000]);
    })
    .unwrap();
}

/// Where the first L2 table of an image is.
fn first_table(bytes: &[u8]) -> usize {
    let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    (word(word(40) as usize) & 0x00ff_ffff_ffff_fe00) as usize
}

#[test]
fn a_dirty_image_that_leads_beyond_its_file_is_not_repaired() {
    run(async {
        for entry in [1 << 63 | 1 << 30, 1 << 62 | 1 << 30, 1 << 63 | 1 << 21] {
            let error = image_with(|bytes| {
                put64(bytes, 72, 1);
                let place = first_table(bytes) + 20 * 8;
                put64(bytes, place, entry);
                bytes.truncate(4096 * 512);
            })
            .await
            .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let text = error.to_string();
            assert!(
                text.contains("beyond the end") && text.contains("help:"),
                "{text}"
            );
        }
    })
    .unwrap();
}

#[test]
fn a_table_that_many_lead_to_is_read_once() {
    run(async {
        let shape = shape(32 << 20, 512, 32);
        let file = shape.create().await;
        let disk = shape.open(file.clone()).await.unwrap();
        let data = IoBuf::copy_of(&[9; 5000]);
        disk.write(0, data, Durability::Volatile).await.unwrap();
        disk.close().await.unwrap();
        let mut bytes = file.content();
        put64(&mut bytes, 72, 1);
        let l1 = u64::from_be_bytes(bytes[40..48].try_into().unwrap()) as usize;
        let first = bytes[l1..l1 + 8].to_vec();
        for entry in bytes[l1..l1 + 1000 * 8].chunks_mut(8) {
            entry.copy_from_slice(&first);
        }
        let file = Rc::new(Fault::new(bytes));
        file.fail_after(Operation::Read, 300, libc::EIO);
        let disk = shape.open(file.clone()).await.unwrap();
        assert!(file.is_to_fail());
        file.fail_after(Operation::Read, u64::MAX, libc::EIO);
        let found = content(&disk).await;
        for span in found[..1000 * 64 * 512].chunks(64 * 512) {
            assert_eq!(span[..5000], [9; 5000]);
        }
    })
    .unwrap();
}
