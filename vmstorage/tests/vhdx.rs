//! VHDX images beside QEMU's tools: what they write reads the same here, and the other way round.

#![allow(
    clippy::unwrap_used,
    reason = "what fails in a helper of a test fails the test"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use vmstorage::disk::fault::Fault;
use vmstorage::disk::memory::Memory;
use vmstorage::disk::vhdx::{CreateOptions, Kind, OpenOptions, Vhdx};
use vmstorage::disk::{Disk, Durability, Extent, Zeroes};
use vmstorage::engine::{IoBuf, IoBufMut, run};

const MIB: u64 = 1 << 20;

/// Runs a program that must succeed, and returns what it printed.
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("`{program}` cannot be run: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// What qemu-img reads from an image, after it was found clean.
fn content_by_qemu(directory: &TempDir, image: &Path) -> Vec<u8> {
    tool("qemu-img", &["check", "-f", "vhdx", text(image)]);
    let raw = directory.path().join("raw");
    let arguments = [
        "convert",
        "-f",
        "vhdx",
        "-O",
        "raw",
        text(image),
        text(&raw),
    ];
    tool("qemu-img", &arguments);
    std::fs::read(raw).unwrap()
}

fn saved(directory: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join("image.vhdx");
    std::fs::write(&path, bytes).unwrap();
    path
}

async fn read_all(disk: &dyn Disk) -> Vec<u8> {
    let size = disk.geometry().size_bytes as usize;
    disk.read(0, IoBufMut::zeroed(size)).await.unwrap().to_vec()
}

fn same(a: &[u8], b: &[u8], what: &str) {
    if a != b {
        let difference = a.iter().zip(b).position(|(a, b)| a != b);
        panic!(
            "{what}: {} and {} bytes, {difference:?} differs",
            a.len(),
            b.len()
        );
    }
}

/// Changes a disk here and there; returns what it holds.
async fn churn(disk: &Vhdx, mut content: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..30 {
        let size = content.len() as u64;
        let offset = rng.random_range(0..size - 70_000);
        let mut data = vec![0; rng.random_range(1..70_000)];
        rng.fill(&mut data[..]);
        let at = offset as usize;
        content[at..at + data.len()].copy_from_slice(&data);
        disk.write(offset, IoBuf::copy_of(&data), Durability::Volatile)
            .await
            .unwrap();
        if rng.random_bool(0.2) {
            let block = offset / MIB * MIB;
            let extent = Extent::new(block, MIB.min(size - block));
            let how = Zeroes {
                durability: Durability::Volatile,
                may_unmap: true,
                fast_only: false,
            };
            disk.write_zeroes(extent, how).await.unwrap();
            content[block as usize..extent.end_bytes() as usize].fill(0);
        }
        if rng.random_bool(0.3) {
            disk.flush().await.unwrap();
        }
    }
    content
}

#[test]
fn images_of_qemu_read_the_same_and_stay_clean_when_written() {
    let directory = TempDir::new().unwrap();
    let image = directory.path().join("made.vhdx");
    for (seed, options) in [
        "subformat=dynamic,block_size=1M",
        "subformat=dynamic,block_size=8M",
        "subformat=dynamic,block_size=2M,block_state_zero=off",
        "subformat=fixed,block_size=4M",
    ]
    .into_iter()
    .enumerate()
    {
        let arguments = [
            "create",
            "-q",
            "-f",
            "vhdx",
            "-o",
            options,
            text(&image),
            "21504K",
        ];
        tool("qemu-img", &arguments);
        let mut arguments = vec!["-f".to_string(), "vhdx".into(), text(&image).into()];
        let mut expected = vec![0u8; 21 << 20];
        for (index, offset) in [0u64, 3000 << 10, 9 << 20, (21 << 20) - 65536]
            .iter()
            .enumerate()
        {
            let pattern = index + 1;
            arguments.extend(["-c".into(), format!("write -P {pattern} {offset} 64k")]);
            expected[*offset as usize..][..65536].fill(pattern as u8);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        tool("qemu-io", &arguments);
        let bytes = std::fs::read(&image).unwrap();
        run(async {
            let file = Rc::new(Memory::with_content(bytes));
            let disk = Vhdx::open(file.clone(), OpenOptions::default())
                .await
                .unwrap();
            same(&read_all(&disk).await, &expected, options);
            let content = churn(&disk, expected.clone(), seed as u64).await;
            same(&read_all(&disk).await, &content, options);
            disk.close().await.unwrap();
            let image = saved(&directory, &file.content());
            same(&content_by_qemu(&directory, &image), &content, options);
        })
        .unwrap();
    }
}

#[test]
fn images_made_here_read_the_same_in_qemu() {
    let directory = TempDir::new().unwrap();
    for (seed, (kind, block_bytes, size_bytes)) in [
        (Kind::Dynamic, MIB, 10 * MIB),
        (Kind::Dynamic, 32 * MIB, 5 * MIB + 512),
        (Kind::Dynamic, 256 * MIB, 3 * MIB),
        (Kind::Fixed, 2 * MIB, 6 * MIB),
        (Kind::Fixed, 4 * MIB, 7 * MIB + 4096),
    ]
    .into_iter()
    .enumerate()
    {
        let options = CreateOptions {
            block_bytes,
            kind,
            ..CreateOptions::dynamic(size_bytes)
        };
        let what = format!("{options:?}");
        run(async {
            let file = Rc::new(Memory::new(0));
            Vhdx::create(&*file, &options).await.unwrap();
            let image = saved(&directory, &file.content());
            let zeroes = vec![0; size_bytes as usize];
            same(&content_by_qemu(&directory, &image), &zeroes, &what);
            let disk = Vhdx::open(file.clone(), OpenOptions::default())
                .await
                .unwrap();
            let mut content = churn(&disk, zeroes, seed as u64).await;
            disk.resize(size_bytes + 3 * MIB).await.unwrap();
            content.resize((size_bytes + 3 * MIB) as usize, 0);
            let content = churn(&disk, content, seed as u64 + 10).await;
            disk.close().await.unwrap();
            let image = saved(&directory, &file.content());
            same(&content_by_qemu(&directory, &image), &content, &what);
        })
        .unwrap();
    }
}

#[test]
fn qemu_replays_a_log_written_here() {
    let directory = TempDir::new().unwrap();
    run(async {
        let options = CreateOptions {
            block_bytes: MIB,
            ..CreateOptions::dynamic(4 * MIB)
        };
        let file = Rc::new(Fault::new(Vec::new()));
        Vhdx::create(&*file, &options).await.unwrap();
        let disk = Vhdx::open(file.clone(), OpenOptions::default())
            .await
            .unwrap();
        let whole = Extent::new(0, MIB);
        // So many entries that the log has begun anew.
        for round in 0..150u32 {
            let byte = round as u8 + 1;
            let data = IoBuf::copy_of(&[byte; 4096]);
            disk.write(0, data.clone(), Durability::Volatile)
                .await
                .unwrap();
            disk.write(u64::from(round % 3 + 1) * MIB, data, Durability::Volatile)
                .await
                .unwrap();
            disk.flush().await.unwrap();
            if round % 25 == 0 || round == 127 {
                // The writes in place are lost or torn, the log is not.
                let image = saved(&directory, &file.after_power_cut(round.into()));
                let check = ["check", "-q", "-r", "all", "-f", "vhdx", text(&image)];
                tool("qemu-img", &check);
                let content = read_all(&disk).await;
                same(
                    &content_by_qemu(&directory, &image),
                    &content,
                    "replayed by QEMU",
                );
            }
            disk.discard(whole).await.unwrap();
            disk.flush().await.unwrap();
        }
    })
    .unwrap();
}

#[test]
fn after_a_power_cut_and_an_opening_qemu_finds_the_image_clean() {
    let directory = TempDir::new().unwrap();
    run(async {
        let options = CreateOptions {
            block_bytes: MIB,
            ..CreateOptions::dynamic(4 * MIB)
        };
        let file = Memory::new(0);
        Vhdx::create(&file, &options).await.unwrap();
        for cut in 0..40 {
            let fault = Rc::new(Fault::new(file.content()));
            let disk = Vhdx::open(fault.clone(), OpenOptions::default())
                .await
                .unwrap();
            fault.cut_power_after(cut);
            for block in [2, 0, 3, 1] {
                let data = IoBuf::copy_of(&[block as u8 + 1; 30_000]);
                let _ = disk
                    .write(block * MIB + 100_000, data, Durability::Volatile)
                    .await;
                let _ = disk.flush().await;
            }
            let after = Rc::new(Memory::with_content(fault.after_power_cut(cut)));
            let disk = Vhdx::open(after.clone(), OpenOptions::default())
                .await
                .unwrap();
            let content = read_all(&disk).await;
            let image = saved(&directory, &after.content());
            same(
                &content_by_qemu(&directory, &image),
                &content,
                &format!("cut after {cut}"),
            );
        }
    })
    .unwrap();
}

#[test]
fn qemu_replays_nothing_over_what_has_taken_the_place_of_a_table() {
    let directory = TempDir::new().unwrap();
    run(async {
        let options = CreateOptions {
            block_bytes: MIB,
            ..CreateOptions::dynamic(4 * MIB)
        };
        let file = Rc::new(Memory::new(0));
        Vhdx::create(&*file, &options).await.unwrap();
        let disk = Vhdx::open(file.clone(), OpenOptions::default())
            .await
            .unwrap();
        let write = async |offset: u64, byte: u8| {
            let data = IoBuf::copy_of(&[byte; 1 << 20]);
            disk.write(offset, data, Durability::Volatile)
                .await
                .unwrap();
            disk.flush().await.unwrap();
        };
        write(0, 1).await;
        // The BAT moves, and the next block goes where it was.
        disk.resize(200 << 30).await.unwrap();
        write(2 * MIB, 2).await;
        let image = saved(&directory, &file.content());
        let check = ["check", "-q", "-r", "all", "-f", "vhdx", text(&image)];
        tool("qemu-img", &check);
        for command in [
            "read -P 1 0 1M",
            "read -P 0 1M 1M",
            "read -P 2 2M 1M",
            "read -P 0 3M 16M",
        ] {
            let printed = tool(
                "qemu-io",
                &["-r", "-f", "vhdx", "-c", command, text(&image)],
            );
            assert!(!printed.contains("failed"), "{command}: {printed}");
        }
    })
    .unwrap();
}
