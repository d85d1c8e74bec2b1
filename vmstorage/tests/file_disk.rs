//! Raw images on real devices and file systems, and beside QEMU. Needs root: it mounts and makes
//! loop devices.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tempfile::TempDir;
use vmstorage::disk::file::{FileDisk, OpenOptions};
use vmstorage::disk::memory::Memory;
use vmstorage::disk::{Disk, Durability, ErrorKind, Extent, Zeroes};
use vmstorage::engine::{Choice, Engine, IoBuf, IoBufMut};

const UNMAP: Zeroes = Zeroes {
    durability: Durability::Volatile,
    may_unmap: true,
    fast_only: false,
};

fn tool(name: &str, args: &[&str]) -> String {
    let run = Command::new(name).args(args).output();
    let run = run.unwrap_or_else(|error| panic!("this test needs `{name}`: {error}"));
    let output = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    assert!(run.status.success(), "{name} {args:?}: {output}");
    output
}

fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for choice in [Choice::Uring, Choice::Threads] {
        Engine::with(choice).unwrap().block_on(test());
    }
}

/// A directory on the disk of the build, where direct I/O works.
fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
}

/// A file system of a mebibyte.
struct SmallMount(TempDir);

impl SmallMount {
    fn new() -> Self {
        let dir = directory();
        let path = dir.path().to_str().unwrap();
        tool("mount", &["-t", "tmpfs", "-o", "size=1m", "none", path]);
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path, sector_bytes: &str) -> Self {
        let file = file.to_str().unwrap();
        let args = ["--find", "--show", "--sector-size", sector_bytes, file];
        Self(tool("losetup", &args).trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

fn sparse(path: &Path, size: u64) {
    fs::File::create(path).unwrap().set_len(size).unwrap();
}

#[test]
fn a_full_file_system_is_told_as_such() {
    on_both(|| async {
        let mount = SmallMount::new();
        let path = mount.path().join("disk.raw");
        let disk = FileDisk::create(&path, 8 << 20, &OpenOptions::default())
            .await
            .unwrap();
        let data = IoBuf::copy_of(&vec![1; 4 << 20]);
        let full = disk.write(0, data, Durability::Volatile).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
        assert!(full.to_string().contains("disk.raw"), "{full}");
        // The disk lives on: space is given back and used again.
        disk.discard(Extent::new(0, 8 << 20)).await.unwrap();
        disk.write(0, IoBuf::copy_of(&[2; 5]), Durability::Durable)
            .await
            .unwrap();
        disk.flush().await.unwrap();
    });
}

#[test]
fn a_lost_write_fails_every_flush_from_then_on() {
    on_both(|| async {
        let mount = SmallMount::new();
        let file = mount.path().join("backing");
        sparse(&file, 8 << 20);
        let device = Loop::new(&file, "512");
        let disk = FileDisk::open(&device.0, &OpenOptions::default())
            .await
            .unwrap();
        let data = IoBuf::copy_of(&vec![1; 4 << 20]);
        disk.write(0, data, Durability::Volatile).await.unwrap();
        disk.flush().await.unwrap_err();
        // The kernel has told it, and would not again.
        for _ in 0..3 {
            let refused = disk.flush().await.unwrap_err();
            assert!(refused.to_string().contains("may be lost"), "{refused}");
        }
    });
}

#[test]
fn block_devices_take_requests_of_any_alignment() {
    on_both(|| async {
        for (sector, direct) in [("512", true), ("4096", true), ("4096", false)] {
            let dir = directory();
            let file = dir.path().join("backing");
            let size = 2 << 20;
            sparse(&file, size);
            let device = Loop::new(&file, sector);
            let options = OpenOptions {
                direct,
                ..OpenOptions::default()
            };
            let disk = FileDisk::open(&device.0, &options).await.unwrap();
            let geometry = disk.geometry();
            assert_eq!(geometry.size_bytes, size);
            if direct {
                assert_eq!(geometry.min_block_bytes.to_string(), sector);
            }
            compare(&disk, size).await;
            let status = disk.status(Extent::new(5, 100), 3).await.unwrap();
            assert_eq!(status[0].extent, Extent::new(5, 100));
            grow(&disk, &file, &device).await;
        }
    });
}

/// Random requests against a model.
async fn compare(disk: &FileDisk, size: u64) {
    let model = Memory::new(size);
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..150 {
        let start = rng.random_range(0..size);
        let extent = Extent::new(start, rng.random_range(1..30_000).min(size - start));
        if rng.random_bool(0.2) {
            disk.write_zeroes(extent, UNMAP).await.unwrap();
            model.write_zeroes(extent, UNMAP).await.unwrap();
            continue;
        }
        let mut bytes = vec![0; extent.len_bytes as usize];
        rng.fill_bytes(&mut bytes);
        let data = IoBuf::copy_of(&bytes);
        disk.write(start, data.clone(), Durability::Volatile)
            .await
            .unwrap();
        model
            .write(start, data, Durability::Volatile)
            .await
            .unwrap();
    }
    disk.flush().await.unwrap();
    disk.discard(Extent::new(10, 1)).await.unwrap();
    for start in (1..size - 70_000).step_by(70_001) {
        let read = disk.read(start, IoBufMut::scratch(70_000)).await.unwrap();
        let expected = model.read(start, IoBufMut::zeroed(70_000)).await.unwrap();
        assert!(read[..] == expected[..], "at {start}");
    }
}

async fn grow(disk: &FileDisk, file: &Path, device: &Loop) {
    let size = disk.geometry().size_bytes;
    let refused = disk.resize(2 * size).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    let backing = fs::File::options().write(true).open(file).unwrap();
    backing.set_len(2 * size).unwrap();
    tool("losetup", &["--set-capacity", device.0.to_str().unwrap()]);
    disk.resize(2 * size).await.unwrap();
    let read = disk.read(2 * size - 5, IoBufMut::zeroed(5)).await.unwrap();
    assert_eq!(&read[..], [0; 5]);
}

#[test]
fn qemu_and_we_keep_away_from_each_others_images() {
    let dir = directory();
    let path = dir.path().join("disk.raw");
    let image = path.to_str().unwrap();
    let copy = dir.path().join("copy.raw");
    let copy = copy.to_str().unwrap();
    on_both(|| async {
        let _ = fs::remove_file(&path);
        let options = OpenOptions::default();
        let disk = FileDisk::create(&path, 1 << 20, &options).await.unwrap();
        let convert = ["convert", "-f", "raw", "-O", "raw", image, copy];
        let qemu = Command::new("qemu-img").args(convert).output().unwrap();
        let said = String::from_utf8_lossy(&qemu.stderr);
        assert!(!qemu.status.success() && said.contains("lock"), "{said}");
        drop(disk);
        tool("qemu-img", &convert);

        let mut qemu = Command::new("qemu-io")
            .args(["-f", "raw", image])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut commands = qemu.stdin.take().unwrap();
        writeln!(commands, "write -P 7 0 4096").unwrap();
        let mut lines = BufReader::new(qemu.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("wrote 4096")));
        for read_only in [false, true] {
            let options = OpenOptions {
                read_only,
                ..options.clone()
            };
            let refused = FileDisk::open(&path, &options).await.unwrap_err();
            assert!(refused.to_string().contains("in use"), "{refused}");
        }
        writeln!(commands, "quit").unwrap();
        qemu.wait().unwrap();
        let disk = FileDisk::open(&path, &options).await.unwrap();
        let read = disk.read(4095, IoBufMut::zeroed(2)).await.unwrap();
        assert_eq!(&read[..], [7, 0]);
    });
}
