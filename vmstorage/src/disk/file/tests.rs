//! Files compared with a model, with every driver, through the page cache and past it.

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Waker};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tempfile::TempDir;

use super::{FileDisk, OpenOptions};
use crate::disk::memory::Memory;
use crate::disk::{Disk, Durability, ErrorKind, Extent, Status, Zeroes};
use crate::engine::{Choice, Engine, IoBuf, IoBufMut, yield_now};

const SIZE: u64 = 3 << 20;

struct Bench {
    dir: TempDir,
    options: OpenOptions,
}

impl Bench {
    fn path(&self) -> PathBuf {
        self.dir.path().join("disk.raw")
    }

    async fn create(&self, size: u64) -> FileDisk {
        FileDisk::create(&self.path(), size, &self.options)
            .await
            .unwrap()
    }

    fn content(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }
}

/// Runs a test with each driver, through the page cache and past it.
fn on_all<F: Future<Output = ()>>(test: impl Fn(Bench) -> F) {
    for choice in [Choice::Uring, Choice::Threads] {
        for direct in [false, true] {
            let engine = Engine::with(choice).unwrap();
            engine.block_on(test(Bench {
                // Beside the build, because `/tmp` may have no direct I/O.
                dir: tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap(),
                options: OpenOptions {
                    direct,
                    ..OpenOptions::default()
                },
            }));
        }
    }
}

fn zeroes(rng: &mut StdRng) -> Zeroes {
    Zeroes {
        durability: if rng.random_bool(0.1) {
            Durability::Durable
        } else {
            Durability::Volatile
        },
        may_unmap: rng.random_bool(0.5),
        fast_only: false,
    }
}

/// A range, at and around blocks more often than not.
fn range(rng: &mut StdRng, size: u64) -> Extent {
    let max = if rng.random_bool(0.05) {
        2 << 20
    } else {
        20_000
    };
    let mut start = rng.random_range(0..size);
    let mut len = rng.random_range(1..=max);
    if rng.random_bool(0.5) {
        start -= start % 512;
        len = u64::next_multiple_of(len, 512);
    }
    Extent::new(start, len.min(size - start))
}

fn random_bytes(rng: &mut StdRng, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    rng.fill_bytes(&mut bytes);
    bytes
}

async fn step(rng: &mut StdRng, disk: &FileDisk, model: &Memory) {
    let size = disk.geometry().size_bytes;
    let extent = range(rng, size);
    let at = extent.offset_bytes;
    match rng.random_range(0..100) {
        0..45 => {
            // Memory that is not aligned, too.
            let skip = rng.random_range(0..2) * rng.random_range(0..5000);
            let data = IoBuf::copy_of(&random_bytes(rng, extent.len_bytes + skip));
            let data = data.slice(skip as usize..);
            let how = zeroes(rng).durability;
            disk.write(at, data.clone(), how).await.unwrap();
            model.write(at, data, how).await.unwrap();
        }
        45..85 => {
            let skip = rng.random_range(0..2) * rng.random_range(0..5000);
            let mut buf = IoBufMut::scratch(extent.len_bytes as usize + skip);
            let rest = buf.split_to(skip);
            drop(rest);
            let read = disk.read(at, buf).await.unwrap();
            let expected = model.read(at, IoBufMut::zeroed(read.len())).await.unwrap();
            assert!(read[..] == expected[..], "{extent:?} reads otherwise");
        }
        85..93 => {
            let how = zeroes(rng);
            disk.write_zeroes(extent, how).await.unwrap();
            model.write_zeroes(extent, how).await.unwrap();
        }
        93..96 => {
            disk.discard(extent).await.unwrap();
            let now = disk
                .read(at, IoBufMut::scratch(extent.len_bytes as usize))
                .await;
            model
                .write(at, now.unwrap().freeze(), Durability::Volatile)
                .await
                .unwrap();
        }
        96..98 => {
            let size = rng.random_range(1..SIZE);
            disk.resize(size).await.unwrap();
            model.resize(size).await.unwrap();
        }
        _ => disk.flush().await.unwrap(),
    }
}

#[test]
fn a_file_is_what_the_model_is() {
    on_all(|bench| async move {
        for seed in 0..2 {
            let mut rng = StdRng::seed_from_u64(seed);
            let size = SIZE - seed * 777;
            let _ = fs::remove_file(bench.path());
            let disk = bench.create(size).await;
            let model = Memory::new(size);
            for _ in 0..120 {
                step(&mut rng, &disk, &model).await;
            }
            assert!(bench.content() == model.content(), "seed {seed}");
        }
    });
}

#[test]
fn neighbours_in_a_block_never_lose_each_others_bytes() {
    on_all(|bench| async move {
        let disk = &bench.create(20_001).await;
        for round in 1..=10u8 {
            let mut rng = StdRng::seed_from_u64(round.into());
            let mut writes = Vec::new();
            let mut at = 0;
            while at < 20_001 {
                let len = rng.random_range(1..700).min(20_001 - at);
                let data = IoBuf::copy_of(&vec![round; len as usize]);
                writes.push(disk.write(at, data, Durability::Volatile));
                at += len;
            }
            for written in join_all(writes).await {
                written.unwrap();
            }
            assert!(bench.content() == vec![round; 20_001], "round {round}");
        }
    });
}

#[test]
fn a_dropped_write_does_not_undo_its_neighbours() {
    on_all(|bench| async move {
        let disk = bench.create(8192).await;
        for round in 1..100u8 {
            {
                let mut dropped =
                    pin!(disk.write(1, IoBuf::copy_of(&[0xff; 6]), Durability::Volatile));
                for _ in 0..round % 8 {
                    let mut context = Context::from_waker(Waker::noop());
                    if dropped.as_mut().poll(&mut context).is_ready() {
                        break;
                    }
                    yield_now().await;
                }
            }
            let data = IoBuf::copy_of(&[round; 30]);
            disk.write(7, data, Durability::Volatile).await.unwrap();
            let read = disk.read(0, IoBufMut::zeroed(64)).await.unwrap();
            assert_eq!(read[7..37], [round; 30]);
        }
        // What was begun is over before the file goes away.
        disk.resize(8192).await.unwrap();
        assert_eq!(bench.content()[7..37], [99; 30]);
    });
}

#[test]
fn holes_are_told_and_zeroes_give_storage_back() {
    on_all(|bench| async move {
        let disk = bench.create(1 << 20).await;
        let whole = Extent::new(0, 1 << 20);
        let hole = |start, len| Status {
            extent: Extent::new(start, len),
            allocated: false,
            zero: true,
        };
        assert_eq!(disk.status(whole, 9).await.unwrap(), [hole(0, 1 << 20)]);
        let data = IoBuf::copy_of(&vec![1; 64 << 10]);
        disk.write(64 << 10, data, Durability::Durable)
            .await
            .unwrap();
        let stored = Status {
            extent: Extent::new(64 << 10, 64 << 10),
            allocated: true,
            zero: false,
        };
        let rest = hole(128 << 10, (1 << 20) - (128 << 10));
        let all = [hole(0, 64 << 10), stored, rest];
        assert_eq!(disk.status(whole, 9).await.unwrap(), all);
        assert_eq!(disk.status(whole, 2).await.unwrap(), all[..2]);
        let fast = Zeroes {
            durability: Durability::Durable,
            may_unmap: true,
            fast_only: true,
        };
        disk.write_zeroes(whole, fast).await.unwrap();
        assert_eq!(disk.status(whole, 9).await.unwrap(), [hole(0, 1 << 20)]);
        disk.cache(whole).await.unwrap();
    });
}

#[test]
fn what_is_not_within_the_disk_or_not_permitted_is_refused() {
    on_all(|mut bench| async move {
        let disk = bench.create(1000).await;
        let kind = |result: crate::disk::Result<()>| result.unwrap_err().kind();
        let write = |at| disk.write(at, IoBuf::copy_of(b"ab"), Durability::Volatile);
        assert_eq!(kind(write(999).await), ErrorKind::OutOfRange);
        assert_eq!(kind(write(u64::MAX).await), ErrorKind::OutOfRange);
        let read = disk.read(1000, IoBufMut::zeroed(1)).await.unwrap_err();
        assert_eq!(read.kind(), ErrorKind::OutOfRange);
        write(998).await.unwrap();
        drop(disk);
        bench.options.read_only = true;
        let disk = FileDisk::open(&bench.path(), &bench.options).await.unwrap();
        assert_eq!(disk.geometry().size_bytes, 1000);
        let write = disk.write(0, IoBuf::copy_of(b"ab"), Durability::Volatile);
        assert_eq!(kind(write.await), ErrorKind::ReadOnly);
        assert_eq!(kind(disk.resize(1).await), ErrorKind::ReadOnly);
        assert_eq!(
            kind(disk.discard(Extent::new(0, 1)).await),
            ErrorKind::ReadOnly
        );
        disk.flush().await.unwrap();
        let read = disk.read(997, IoBufMut::zeroed(3)).await.unwrap();
        assert_eq!(&read[..], b"\0ab");
        // Somebody else truncates it: an error, no invented bytes.
        fs::File::options()
            .write(true)
            .open(bench.path())
            .unwrap()
            .set_len(10)
            .unwrap();
        let read = disk.read(5, IoBufMut::zeroed(100)).await.unwrap_err();
        assert!(read.to_string().contains("truncated"), "{read}");
    });
}

#[test]
fn a_second_writer_is_refused_and_readers_share() {
    on_all(|bench| async move {
        let path = bench.path();
        let reading = OpenOptions {
            read_only: true,
            ..bench.options.clone()
        };
        let writer = bench.create(4096).await;
        for options in [&bench.options, &reading] {
            let refused = FileDisk::open(&path, options)
                .await
                .unwrap_err()
                .to_string();
            assert!(
                refused.contains("in use") && refused.contains("disk.raw"),
                "{refused}"
            );
        }
        let unlocked = OpenOptions {
            lock: false,
            ..bench.options.clone()
        };
        FileDisk::open(&path, &unlocked).await.unwrap();
        drop(writer);
        let first = FileDisk::open(&path, &reading).await.unwrap();
        let _second = FileDisk::open(&path, &reading).await.unwrap();
        FileDisk::open(&path, &bench.options).await.unwrap_err();
        drop(first);
    });
}

#[test]
fn what_cannot_be_a_disk_is_refused_by_name() {
    on_all(|bench| async move {
        let refused = |path: &'static str| {
            let options = bench.options.clone();
            async move {
                let opened = FileDisk::open(path.as_ref(), &options).await;
                opened.unwrap_err().to_string()
            }
        };
        for path in ["/dev", "/dev/null", "/nowhere/at/all"] {
            let message = refused(path).await;
            assert!(message.contains(path), "{message}");
        }
        let disk = bench.create(1).await;
        let again = FileDisk::create(&bench.path(), 1, &bench.options).await;
        assert!(again.unwrap_err().to_string().contains("disk.raw"));
        drop(disk);
    });
}

#[test]
fn flushes_beside_each_other_share_what_begins_after_them() {
    on_all(|bench| async move {
        let disk = bench.create(4096).await;
        let data = IoBuf::copy_of(&[1; 4096]);
        disk.write(0, data, Durability::Volatile).await.unwrap();
        for flushed in join_all((0..50).map(|_| disk.flush())).await {
            flushed.unwrap();
        }
        assert_eq!(
            disk.inner.flushes.begun.get(),
            1,
            "all came before the first began"
        );
        {
            let mut dropped = pin!(disk.flush());
            let mut context = Context::from_waker(Waker::noop());
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            yield_now().await;
            // It begins here; a thread may have ended it before this is over.
            let _ = dropped.as_mut().poll(&mut context);
            assert_eq!(disk.inner.flushes.begun.get(), 2);
        }
        disk.flush().await.unwrap();
        assert_eq!(disk.inner.flushes.ended.get(), 3);
    });
}

#[test]
fn after_a_lost_write_no_flush_succeeds() {
    on_all(|bench| async move {
        let disk = bench.create(4096).await;
        let lost = crate::disk::Error::new(ErrorKind::Io, "fdatasync: lost");
        disk.inner.lost.replace(Some(lost));
        for _ in 0..2 {
            let refused = disk.flush().await.unwrap_err();
            assert!(refused.to_string().contains("may be lost"), "{refused}");
        }
    });
}
