//! Files that were made to do harm: each is an error that says where, or is read; none is a panic
//! or takes memory without bound.

use super::super::layout::{self, PAGE_BYTES, REGION_TABLE_BYTES, put};
use super::super::log::{EntryHeader, Update, encode};
use super::{
    CreateOptions, Disk, Durability, Extent, IoBuf, IoBufMut, Kind, MIB, Memory, OpenOptions,
    Parent, Rc, Rng, SeedableRng, StdRng, Vhdx, Zeroes, image, open, open_over, parent, small,
};
use crate::disk::{Answer, Error, ErrorKind, Geometry, Status};
use crate::engine::run;

const LOG_AT: usize = 1 << 20;
const METADATA_AT: usize = 2 << 20;
const BAT_AT: usize = 3 << 20;

/// A file in memory that cannot grow beyond 64 MiB.
#[derive(Debug)]
struct Capped(Memory);

impl Disk for Capped {
    fn name(&self) -> String {
        "capped".into()
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        assert!(
            buf.len() <= 64 << 20,
            "{} bytes are read at once",
            buf.len()
        );
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
            let full = Error::new(ErrorKind::NoSpace, "the file is full");
            return Box::pin(std::future::ready(Err(full)));
        }
        self.0.resize(size_bytes)
    }
}

/// An image with blocks in every state, something to replay, and a parent if it has one.
async fn sample(below: Option<&Parent>, options: &CreateOptions) -> Vec<u8> {
    let file = Rc::new(Memory::with_content(image(options).await));
    let options = OpenOptions {
        read_only: false,
        parent: below.cloned(),
    };
    let disk = Vhdx::open(file.clone(), options).await.unwrap();
    for offset in [100, MIB + 5000, 3 * MIB] {
        let data = IoBuf::copy_of(&[1; 9000]);
        disk.write(offset, data, Durability::Volatile)
            .await
            .unwrap();
    }
    disk.flush().await.unwrap();
    disk.discard(Extent::new(3 * MIB, MIB)).await.unwrap();
    disk.flush().await.unwrap();
    file.content()
}

/// Seals what has a checksum again, so that the fuzz gets behind it.
fn reseal(bytes: &mut [u8]) {
    for at in [64 << 10, 128 << 10] {
        layout::seal(&mut bytes[at..at + PAGE_BYTES]);
    }
    for at in [192 << 10, 256 << 10] {
        layout::seal(&mut bytes[at..at + REGION_TABLE_BYTES]);
    }
    let mut at = LOG_AT;
    while bytes[at..].starts_with(b"loge") {
        let len = layout::u32_at(bytes, at + 8) as usize;
        if len < PAGE_BYTES || at + len > METADATA_AT {
            break;
        }
        layout::seal(&mut bytes[at..at + len]);
        at += len;
    }
}

/// Opens a file in both ways and uses what opens.
async fn use_it(bytes: Vec<u8>, below: Option<&Parent>) -> bool {
    let mut opened = false;
    for read_only in [true, false] {
        let file = Rc::new(Capped(Memory::with_content(bytes.clone())));
        let options = OpenOptions {
            read_only,
            parent: below.cloned(),
        };
        let Ok(disk) = Vhdx::open(file, options).await else {
            continue;
        };
        opened = true;
        let size = disk.geometry().size_bytes;
        for offset in [0, MIB, 3 * MIB, size - size.min(70_000)] {
            let len = size.saturating_sub(offset).min(70_000);
            let extent = Extent::new(offset.min(size), len);
            let _ = disk
                .read(extent.offset_bytes, IoBufMut::zeroed(len as usize))
                .await;
            let _ = disk.status(extent, 10).await;
            let data = IoBuf::zeroed(len as usize);
            let _ = disk
                .write(extent.offset_bytes, data, Durability::Volatile)
                .await;
            let _ = disk.discard(extent).await;
        }
        let _ = disk.flush().await;
        let _ = disk.resize(size + MIB).await;
        let _ = disk.close().await;
    }
    opened
}

#[test]
fn mutations_never_panic() {
    run(async {
        let (below, _, differencing) = parent(5 * MIB, 70).await;
        let dynamic = sample(None, &small(5 * MIB, Kind::Dynamic)).await;
        let child = sample(Some(&below), &differencing).await;
        let (mut opened, mut refused) = (0, 0);
        for seed in 0..500u64 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut bytes, below) = match seed % 2 {
                0 => (dynamic.clone(), None),
                _ => (child.clone(), Some(&below)),
            };
            for _ in 0..rng.random_range(1..6) {
                // Start and length of what is worth mutating.
                let (at, len) = [
                    (64 << 10, 80),
                    (128 << 10, 80),
                    (192 << 10, 80),
                    (LOG_AT, 64 + 3 * 32),
                    (LOG_AT + PAGE_BYTES, 16),
                    (METADATA_AT, 256),
                    (METADATA_AT + (64 << 10), 300),
                    (BAT_AT, 64),
                ][rng.random_range(0..8)];
                let at = at + rng.random_range(0..len);
                bytes[at] = match rng.random_range(0..4) {
                    0 => rng.random(),
                    1 => 0xff,
                    2 => bytes[at].wrapping_add(1),
                    _ => bytes[at] ^ 1 << rng.random_range(0..8),
                };
            }
            if seed % 5 != 0 {
                reseal(&mut bytes);
            }
            if use_it(bytes, below).await {
                opened += 1;
            } else {
                refused += 1;
            }
        }
        assert!(
            opened > 50 && refused > 50,
            "{opened} opened, {refused} refused"
        );
    })
    .unwrap();
}

#[test]
fn files_that_were_cut_off_never_panic() {
    run(async {
        let bytes = sample(None, &small(5 * MIB, Kind::Dynamic)).await;
        for len in [
            0,
            7,
            8,
            65 << 10,
            200 << 10,
            LOG_AT,
            METADATA_AT,
            BAT_AT,
            BAT_AT + 10,
            5 << 20,
        ] {
            let error = open(&bytes[..len]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}: {error}");
        }
    })
    .unwrap();
}

/// What opening says of an image with a change; it is closed, so that nothing is replayed over it.
async fn refused(change: impl Fn(&mut [u8])) -> String {
    let file = Rc::new(Memory::with_content(
        image(&small(5 * MIB, Kind::Dynamic)).await,
    ));
    let disk = Vhdx::open(file.clone(), OpenOptions::default())
        .await
        .unwrap();
    for offset in [0, 2 * MIB] {
        disk.write(offset, IoBuf::copy_of(&[1]), Durability::Volatile)
            .await
            .unwrap();
    }
    disk.close().await.unwrap();
    let mut bytes = file.content();
    change(&mut bytes);
    reseal(&mut bytes);
    open(&bytes).await.unwrap_err().to_string()
}

#[test]
fn errors_say_where() {
    run(async {
        let bat = |block: usize, value: u64| {
            move |bytes: &mut [u8]| put(bytes, BAT_AT + 8 * block, &value.to_le_bytes())
        };
        let entry = "the BAT entry at offset 0x300008";
        for (value, what) in [
            (4 << 20 | 6, "overlaps"),
            (1 << 20 | 6, "overlaps"),
            (6, "not within the file"),
            (u64::MAX << 20 | 6, "not within the file"),
            (100 << 20 | 6, "not within the file"),
            (5, "unknown state 5"),
            (6 << 20 | 7, "no parent"),
        ] {
            let error = refused(bat(1, value)).await;
            assert!(
                error.contains(entry) && error.contains(what),
                "{value:#x}: {error}"
            );
        }
        // The BAT is the first entry of the region table, the metadata region the second.
        let region = |index: usize, at: usize, value: u64| {
            move |bytes: &mut [u8]| {
                for table in [192 << 10, 256 << 10] {
                    put(bytes, table + 16 + 32 * index + at, &value.to_le_bytes());
                }
            }
        };
        for (change, what) in [
            (region(0, 16, 2 << 20), "overlaps another one"),
            (region(0, 16, 1 << 20), "overlaps another one at 0x100000"),
            (region(0, 16, 5), "multiples of 1 MiB"),
            (region(0, 16, u64::MAX << 20), "ends beyond the file"),
            (region(1, 0, 77), "is not known"),
        ] {
            let error = refused(change).await;
            assert!(error.contains(what), "{error}");
        }
        let item = |index: usize, at: usize, value: u32| {
            move |bytes: &mut [u8]| {
                put(
                    bytes,
                    METADATA_AT + 32 * (index + 1) + at,
                    &value.to_le_bytes(),
                );
            }
        };
        for (change, what) in [
            (item(0, 0, 1), "is not known"),
            (item(0, 16, 100), "beyond its bounds"),
            (item(1, 20, 9), "has 9 bytes, not 8"),
        ] {
            let error = refused(change).await;
            assert!(error.contains(what), "{error}");
        }
        let values = METADATA_AT + (64 << 10);
        for (at, value, what) in [
            (0, 3 << 20, "the block size is 3145728"),
            (16, 513, "the virtual disk size is 513"),
            (48, 1024, "the logical sector size is 1024"),
        ] {
            let change = |bytes: &mut [u8]| put(bytes, values + at, &u32::to_le_bytes(value));
            let error = refused(change).await;
            assert!(error.contains(what), "{error}");
        }
    })
    .unwrap();
}

#[test]
fn a_log_cannot_change_what_is_not_its_business() {
    run(async {
        let plain = image(&small(5 * MIB, Kind::Dynamic)).await;
        let id = uuid::Uuid::from_u128(3);
        for (offset, flushed, last, what) in [
            (64 << 10, 0, 0, "changes the headers or itself at 0x10000"),
            (1 << 20, 0, 0, "changes the headers or itself at 0x100000"),
            (1 << 50, 0, 0, "beyond the largest file"),
            (2 << 20, 1 << 40, 0, "was cut off"),
            (2 << 20, 0, 1 << 60, "bytes long"),
        ] {
            let header = EntryHeader {
                sequence: 1,
                tail: 0,
                log: id,
                flushed_file_bytes: flushed,
                last_file_bytes: last,
            };
            let page = IoBuf::zeroed(PAGE_BYTES);
            let entry = encode(&header, &[Update { offset, page }]);
            let mut bytes = plain.clone();
            put(&mut bytes, LOG_AT, &entry);
            put(&mut bytes, (128 << 10) + 48, &id.to_bytes_le());
            reseal(&mut bytes);
            let error = open(&bytes).await.unwrap_err().to_string();
            assert!(
                error.contains(what) && error.contains("0x100000"),
                "{error}"
            );
        }
        let mut bytes = plain;
        put(&mut bytes, (128 << 10) + 48, &id.to_bytes_le());
        reseal(&mut bytes);
        let error = open(&bytes).await.unwrap_err().to_string();
        assert!(error.contains("no valid entry"), "{error}");
    })
    .unwrap();
}

#[test]
fn a_child_refuses_a_stranger_and_nobody() {
    run(async {
        let (below, _, options) = parent(2 * MIB, 80).await;
        let bytes = image(&options).await;
        let error = open(&bytes).await.unwrap_err();
        assert!(
            error.to_string().contains("needs its parent `parent.vhdx`"),
            "{error}"
        );
        let stranger = Parent {
            data_write_guid: uuid::Uuid::from_u128(99),
            ..below
        };
        let file = Rc::new(Memory::with_content(bytes));
        let error = open_over(file, &stranger).await.unwrap_err();
        assert!(error.to_string().contains("DataWriteGuid"), "{error}");
    })
    .unwrap();
}
