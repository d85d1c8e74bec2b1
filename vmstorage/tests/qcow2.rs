//! qcow2 images beside QEMU's tools: theirs are read here, ours there.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use vmstorage::disk::fault::{Fault, Operation};
use vmstorage::disk::memory::Memory;
use vmstorage::disk::qcow2::{
    Bitmap, CreateOptions, OpenOptions, Opener, Preallocation, Qcow2, TRACKING_EXTENSION,
    open_chain,
};
use vmstorage::disk::{Answer, Disk, Durability, Error, Extent, Zeroes};
use vmstorage::engine::{IoBuf, IoBufMut, run};

const MIB: u64 = 1 << 20;

/// Runs a tool, which must be there and succeed; what it printed.
fn tool(folder: &Path, line: &str) -> String {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    let output = Command::new(program)
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("`{program}` is needed (qemu-utils): {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}{errors}");
    text
}

/// `qemu-io` with several commands.
fn qemu_io(folder: &Path, image: &str, commands: &[&str]) {
    let mut call = Command::new("qemu-io");
    call.current_dir(folder).args(["-f", "qcow2"]);
    for command in commands {
        call.args(["-c", command]);
    }
    let output = call
        .arg(image)
        .output()
        .expect("`qemu-io` is needed (qemu-utils)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && !text.contains("failed"),
        "{text}"
    );
}

/// QEMU finds nothing wrong, but for lost space.
fn assert_whole(folder: &Path, image: &str, what: &str) {
    let check = Command::new("qemu-img")
        .args(["check", "-f", "qcow2", image])
        .current_dir(folder)
        .output()
        .expect("`qemu-img` is needed (qemu-utils)");
    // 3 means leaks, and nothing else.
    let code = check.status.code().unwrap();
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(code == 0 || code == 3, "{what}: {code} {text}");
}

/// Files of a folder, read to memory.
struct Folder(PathBuf);

impl Opener for Folder {
    fn open(&self, path: &Path, _: bool) -> Answer<'_, Rc<dyn Disk>> {
        let bytes = std::fs::read(self.0.join(path));
        let name = path.display().to_string();
        Box::pin(std::future::ready(match bytes {
            Ok(bytes) => Ok(Rc::new(Memory::with_content(bytes)) as Rc<dyn Disk>),
            Err(error) => Err(Error::io(format!("open({name})"), error)),
        }))
    }
}

async fn content(disk: &dyn Disk) -> Vec<u8> {
    let len = disk.geometry().size_bytes as usize;
    disk.read(0, IoBufMut::zeroed(len)).await.unwrap().to_vec()
}

/// What QEMU reads of an image.
fn raw(folder: &Path, image: &str) -> Vec<u8> {
    tool(
        folder,
        &format!("qemu-img convert -f qcow2 -O raw {image} out.raw"),
    );
    std::fs::read(folder.join("out.raw")).unwrap()
}

fn assert_same(found: &[u8], wanted: &[u8], what: &str) {
    let wrong = found.iter().zip(wanted).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "{what}: the first wrong byte");
    assert_eq!(found.len(), wanted.len(), "{what}");
}

/// Patterns with data, zeroes and holes.
fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bytes = vec![0; len];
    for part in bytes.chunks_mut(50_000) {
        match rng.random_range(0..4) {
            0 => rng.fill(part),
            1 => part.fill(rng.random()),
            2 => part.iter_mut().take(9000).for_each(|byte| *byte = 7),
            _ => {}
        }
    }
    bytes
}

/// Changes a disk and the bytes that it should hold.
async fn scribble(disk: &Qcow2, bytes: &mut [u8], seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..30 {
        let offset = rng.random_range(0..bytes.len());
        let len = rng.random_range(1..150_000).min(bytes.len() - offset);
        let part = &mut bytes[offset..offset + len];
        if rng.random_bool(0.6) {
            rng.fill(&mut *part);
            let data = IoBuf::copy_of(part);
            disk.write(offset as u64, data, Durability::Volatile)
                .await
                .unwrap();
        } else {
            part.fill(0);
            let how = Zeroes {
                durability: Durability::Volatile,
                may_unmap: rng.random_bool(0.5),
                fast_only: false,
            };
            let extent = Extent::new(offset as u64, len as u64);
            disk.write_zeroes(extent, how).await.unwrap();
        }
    }
}

const OPTIONS: [&str; 12] = [
    "compat=0.10",
    "compat=0.10,cluster_size=512",
    "compat=1.1",
    "cluster_size=512,refcount_bits=64",
    "cluster_size=4096,refcount_bits=1",
    "cluster_size=2M,refcount_bits=32",
    "cluster_size=16k,extended_l2=on",
    "extended_l2=on,refcount_bits=8",
    "lazy_refcounts=on,refcount_bits=4",
    "compression_type=zstd",
    "preallocation=metadata",
    "preallocation=falloc,refcount_bits=2",
];

#[test]
fn images_of_qemu_are_read_and_written() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    run(async {
        for (number, options) in OPTIONS.into_iter().enumerate() {
            let mut bytes = random_bytes(number as u64, MIB as usize + 512);
            std::fs::write(at.join("in.raw"), &bytes).unwrap();
            // What is compressed cannot be preallocated.
            for flag in ["", "-c"] {
                if flag == "-c" && options.contains("prealloc") {
                    continue;
                }
                tool(
                    at,
                    &format!("qemu-img convert {flag} -f raw -O qcow2 -o {options} in.raw a.qcow2"),
                );
                let what = format!("{options} {flag}");
                let file = Rc::new(Memory::with_content(
                    std::fs::read(at.join("a.qcow2")).unwrap(),
                ));
                let disk = Qcow2::open(file.clone(), OpenOptions::default())
                    .await
                    .unwrap();
                assert_same(&content(&disk).await, &bytes, &what);
                let found = disk.check().await.unwrap();
                assert!(found.is_clean(), "{what}: {found:?}");
                let before = bytes.clone();
                scribble(&disk, &mut bytes, number as u64).await;
                disk.close().await.unwrap();
                std::fs::write(at.join("b.qcow2"), file.content()).unwrap();
                tool(at, "qemu-img check -q -f qcow2 b.qcow2");
                assert_same(&raw(at, "b.qcow2"), &bytes, &what);
                bytes = before;
            }
        }
    })
    .unwrap();
}

#[test]
fn images_of_ours_are_read_and_written_by_qemu() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    run(async {
        for (number, (cluster, refcounts, extended)) in [
            (512, 16, false),
            (512, 64, false),
            (4096, 1, false),
            (16_384, 8, true),
            (65_536, 16, true),
            (65_536, 16, false),
            (2 << 20, 32, false),
        ]
        .into_iter()
        .enumerate()
        {
            for version in [2, 3] {
                let mut options = CreateOptions::new(3 * MIB + 1024);
                options.version = version;
                options.cluster_bytes = cluster;
                options.refcount_bits = if version == 2 { 16 } else { refcounts };
                options.extended_l2 = extended && version == 3;
                if number % 3 == 0 {
                    options.preallocation = Preallocation::Metadata;
                }
                let what = format!("{options:?}");
                let file = Rc::new(Memory::new(0));
                Qcow2::create(file.clone(), &options).await.unwrap();
                std::fs::write(at.join("a.qcow2"), file.content()).unwrap();
                tool(at, "qemu-img check -q -f qcow2 a.qcow2");
                let disk = Qcow2::open(file.clone(), OpenOptions::default())
                    .await
                    .unwrap();
                let mut bytes = vec![0; options.size_bytes as usize];
                scribble(&disk, &mut bytes, number as u64).await;
                disk.resize(5 * MIB).await.unwrap();
                bytes.resize(5 * MIB as usize, 0);
                scribble(&disk, &mut bytes, number as u64 + 100).await;
                disk.close().await.unwrap();
                std::fs::write(at.join("a.qcow2"), file.content()).unwrap();
                tool(at, "qemu-img check -q -f qcow2 a.qcow2");
                assert_same(&raw(at, "a.qcow2"), &bytes, &what);
                qemu_io(
                    at,
                    "a.qcow2",
                    &["write -P 3 70000 90000", "write -z 1M 300k"],
                );
                bytes[70_000..160_000].fill(3);
                bytes[1 << 20..(1 << 20) + 300 * 1024].fill(0);
                let file = Memory::with_content(std::fs::read(at.join("a.qcow2")).unwrap());
                let disk = Qcow2::open(Rc::new(file), OpenOptions::default())
                    .await
                    .unwrap();
                assert_same(&content(&disk).await, &bytes, &what);
            }
        }
    })
    .unwrap();
}

#[test]
fn chains_of_qemu_are_read_and_written() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    run(async {
        for options in [
            "compat=1.1",
            "compat=0.10",
            "extended_l2=on,cluster_size=16k",
        ] {
            std::fs::write(
                at.join("base.raw"),
                random_bytes(1, MIB as usize + 1000 * 512),
            )
            .unwrap();
            let create = format!("qemu-img create -q -f qcow2 -o {options}");
            tool(at, &format!("{create} -b base.raw -F raw mid.qcow2 3M"));
            qemu_io(
                at,
                "mid.qcow2",
                &["write -P 5 100000 300000", "write -P 6 2M 77k"],
            );
            tool(at, &format!("{create} -b mid.qcow2 -F qcow2 top.qcow2 4M"));
            qemu_io(
                at,
                "top.qcow2",
                &["write -P 8 300000 1000", "write -P 9 3M 512k"],
            );
            let mut bytes = raw(at, "top.qcow2");
            let opener = Folder(at.to_owned());
            let file = opener.open(Path::new("top.qcow2"), false).await.unwrap();
            let below = open_chain(&opener, Path::new("mid.qcow2"), true)
                .await
                .unwrap();
            let file = Rc::new(Memory::with_content(content(&*file).await));
            let open = OpenOptions {
                read_only: false,
                backing: Some(Rc::new(below)),
            };
            let disk = Qcow2::open(file.clone(), open).await.unwrap();
            assert_same(&content(&disk).await, &bytes, options);
            scribble(&disk, &mut bytes, 5).await;
            disk.discard(Extent::new(65_536, MIB)).await.unwrap();
            bytes = content(&disk).await;
            disk.close().await.unwrap();
            std::fs::write(at.join("top.qcow2"), file.content()).unwrap();
            tool(at, "qemu-img check -q -f qcow2 top.qcow2");
            assert_same(&raw(at, "top.qcow2"), &bytes, options);
        }
    })
    .unwrap();
}

#[test]
fn snapshots_of_qemu_keep_their_content() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    run(async {
        for options in [
            "compat=1.1",
            "compat=0.10,cluster_size=512",
            "extended_l2=on",
        ] {
            tool(
                at,
                &format!("qemu-img create -q -f qcow2 -o {options} a.qcow2 4M"),
            );
            qemu_io(at, "a.qcow2", &["write -P 5 100000 700000"]);
            let then = raw(at, "a.qcow2");
            tool(at, "qemu-img snapshot -c first a.qcow2");
            qemu_io(at, "a.qcow2", &["write -P 6 200000 100000"]);
            let mut bytes = raw(at, "a.qcow2");
            let file = Rc::new(Memory::with_content(
                std::fs::read(at.join("a.qcow2")).unwrap(),
            ));
            let disk = Qcow2::open(file.clone(), OpenOptions::default())
                .await
                .unwrap();
            assert_eq!(disk.snapshots()[0].name, "first");
            scribble(&disk, &mut bytes, 9).await;
            disk.close().await.unwrap();
            std::fs::write(at.join("a.qcow2"), file.content()).unwrap();
            tool(at, "qemu-img check -q -f qcow2 a.qcow2");
            assert_same(&raw(at, "a.qcow2"), &bytes, options);
            tool(at, "qemu-img snapshot -a first a.qcow2");
            assert_same(&raw(at, "a.qcow2"), &then, options);
        }
    })
    .unwrap();
}

#[test]
fn bitmaps_and_extensions_go_both_ways() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    run(async {
        tool(at, "qemu-img create -q -f qcow2 a.qcow2 4M");
        tool(at, "qemu-img bitmap --add --enable -g 64k a.qcow2 theirs");
        qemu_io(at, "a.qcow2", &["write -P 5 1M 100k"]);
        let file = Rc::new(Memory::with_content(
            std::fs::read(at.join("a.qcow2")).unwrap(),
        ));
        let disk = Qcow2::open(file.clone(), OpenOptions::default())
            .await
            .unwrap();
        let marked = disk.bitmap_extents("theirs").await.unwrap();
        assert_eq!(marked, [Extent::new(MIB, 131_072)]);
        let ours = Bitmap {
            name: "ours".into(),
            granularity_bytes: 65_536,
            auto: false,
            in_use: false,
        };
        disk.set_bitmap(ours, vec![Extent::new(0, 10)])
            .await
            .unwrap();
        disk.set_header_extension(TRACKING_EXTENSION, Some(vec![4; 100]))
            .await
            .unwrap();
        let data = IoBuf::copy_of(&[1; 512]);
        disk.write(3 * MIB, data, Durability::Volatile)
            .await
            .unwrap();
        disk.close().await.unwrap();
        std::fs::write(at.join("a.qcow2"), file.content()).unwrap();
        tool(at, "qemu-img check -q -f qcow2 a.qcow2");
        qemu_io(at, "a.qcow2", &["write -P 5 2M 1k"]);
        tool(at, "qemu-img check -q -f qcow2 a.qcow2");
        let file = Rc::new(Memory::with_content(
            std::fs::read(at.join("a.qcow2")).unwrap(),
        ));
        let disk = Qcow2::open(file, OpenOptions::default()).await.unwrap();
        let marked = disk.bitmap_extents("theirs").await.unwrap();
        let part = |offset, len| Extent::new(offset, len);
        assert_eq!(
            marked,
            [
                part(MIB, 131_072),
                part(2 * MIB, 65_536),
                part(3 * MIB, 65_536)
            ]
        );
        assert_eq!(
            disk.bitmap_extents("ours").await.unwrap(),
            [part(0, 65_536)]
        );
        assert!(
            disk.bitmaps()
                .await
                .unwrap()
                .iter()
                .all(|bitmap| !bitmap.in_use)
        );
        assert_eq!(disk.header_extension(TRACKING_EXTENSION).unwrap(), [4; 100]);
    })
    .unwrap();
}

#[test]
fn images_are_whole_for_qemu_after_a_power_cut() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    run(async {
        for (cluster, extended) in [(512, false), (65_536, false), (16_384, true)] {
            let mut options = CreateOptions::new(MIB);
            options.cluster_bytes = cluster;
            options.extended_l2 = extended;
            let file = Rc::new(Memory::new(0));
            Qcow2::create(file.clone(), &options).await.unwrap();
            for cut in (0..60).step_by(6) {
                let fault = Rc::new(Fault::new(file.content()));
                let disk = Qcow2::open(fault.clone(), OpenOptions::default())
                    .await
                    .unwrap();
                fault.cut_power_after(cut);
                let mut rng = StdRng::seed_from_u64(cut);
                for step in 0.. {
                    let offset = rng.random_range(0..MIB - 70_000);
                    let data = IoBuf::copy_of(&vec![step; rng.random_range(1..70_000)]);
                    let done = disk.write(offset, data, Durability::Volatile).await;
                    let flushed = disk.flush().await;
                    if done.is_err() || flushed.is_err() {
                        break;
                    }
                    let _ = disk.discard(Extent::new(offset, 50_000)).await;
                }
                std::fs::write(at.join("a.qcow2"), fault.after_power_cut(cut)).unwrap();
                assert_whole(at, "a.qcow2", &format!("cut {cut}"));
            }
        }
    })
    .unwrap();
}

#[test]
fn images_whose_refcount_table_could_not_move_are_whole_for_qemu() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    run(async {
        let mut options = CreateOptions::new(4 * MIB);
        options.cluster_bytes = 512;
        options.refcount_bits = 64;
        let file = Rc::new(Memory::new(0));
        Qcow2::create(file.clone(), &options).await.unwrap();
        let disk = Qcow2::open(file.clone(), OpenOptions::default());
        let disk = disk.await.unwrap();
        let data = random_bytes(1, 2_060_288);
        let old = IoBuf::copy_of(&data[..2_000_384]);
        disk.write(0, old, Durability::Volatile).await.unwrap();
        disk.close().await.unwrap();
        for after in 0..14 {
            let fault = Rc::new(Fault::new(file.content()));
            let disk = Qcow2::open(fault.clone(), OpenOptions::default());
            let disk = disk.await.unwrap();
            fault.fail_after(Operation::Change, after, libc::ENOSPC);
            let new = IoBuf::copy_of(&data[2_000_384..]);
            let write = || disk.write(2_000_384, new.clone(), Durability::Durable);
            // A file that cannot grow by much grows by less.
            let _ = (write().await, disk.flush().await);
            assert!(!fault.is_to_fail(), "only {after} changes");
            disk.flush().await.unwrap();
            let what = format!("the change {after} failed");
            for part in ["failed", "done"] {
                std::fs::write(at.join("a.qcow2"), fault.after_power_cut(after)).unwrap();
                assert_whole(at, "a.qcow2", &format!("{what}: {part}"));
                write().await.unwrap();
            }
            let found = raw(at, "a.qcow2");
            assert_same(&found[..data.len()], &data, &what);
        }
    })
    .unwrap();
}
