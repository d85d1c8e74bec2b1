//! Random requests beside a model in memory.

use super::{
    Change, CreateOptions, Disk, Durability, Extent, IoBuf, IoBufMut, Kind, MIB, Memory,
    OpenOptions, Parent, Rc, Rng, SeedableRng, StdRng, Vhdx, first_difference, image, open_over,
    parent, read_all, small,
};
use crate::engine::{run, spawn};

/// Applies random changes to a disk and to a model, comparing now and then; returns the model's
/// content.
async fn churn(disk: &Vhdx, content: Vec<u8>, seed: u64, changes: usize) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let size = disk.geometry().size_bytes;
    let model = Memory::with_content(content);
    for index in 0..changes {
        let change = Change::random(&mut rng, size);
        change.apply(disk).await.unwrap();
        match &change {
            Change::Discard(extent) => {
                // What is left of discarded bytes is the disk's choice, and stays.
                let buf = IoBufMut::zeroed(extent.len_bytes as usize);
                let left = disk.read(extent.offset_bytes, buf).await.unwrap().freeze();
                model
                    .write(extent.offset_bytes, left, Durability::Volatile)
                    .await
                    .unwrap();
            }
            change => change.apply(&model).await.unwrap(),
        }
        let offset = rng.random_range(0..size);
        let len = rng.random_range(0..=200_000.min(size - offset)) as usize;
        let read = disk.read(offset, IoBufMut::zeroed(len)).await.unwrap();
        let wanted = model.read(offset, IoBufMut::zeroed(len)).await.unwrap();
        assert_eq!(
            first_difference(&read, &wanted),
            None,
            "seed {seed}, after {index} {change:?}"
        );
    }
    model.content()
}

/// Changes a disk, opens it again in both ways, and compares all.
async fn check(bytes: Vec<u8>, below: Option<&Parent>, content: Vec<u8>, seed: u64) -> Vec<u8> {
    let file = Rc::new(Memory::with_content(bytes));
    let options = |read_only| OpenOptions {
        read_only,
        parent: below.cloned(),
    };
    let disk = Vhdx::open(file.clone(), options(false)).await.unwrap();
    let content = churn(&disk, content, seed, 120).await;
    disk.flush().await.unwrap();
    let before = file.content();
    let again = Vhdx::open(file.clone(), options(true)).await.unwrap();
    assert_eq!(
        first_difference(&read_all(&again).await, &content),
        None,
        "read-only, {seed}"
    );
    assert_eq!(
        first_difference(&before, &file.content()),
        None,
        "it was not written"
    );
    let again = Vhdx::open(file.clone(), options(false)).await.unwrap();
    assert_eq!(
        first_difference(&read_all(&again).await, &content),
        None,
        "replayed, {seed}"
    );
    let content = churn(&again, content, seed + 1000, 60).await;
    again.close().await.unwrap();
    let again = Vhdx::open(file.clone(), options(true)).await.unwrap();
    assert_eq!(
        first_difference(&read_all(&again).await, &content),
        None,
        "closed, {seed}"
    );
    content
}

#[test]
fn a_dynamic_disk_is_as_its_model() {
    run(async {
        for seed in 0..3 {
            let size = 6 * MIB + 512 * seed;
            let bytes = image(&small(size, Kind::Dynamic)).await;
            check(bytes, None, vec![0; size as usize], seed).await;
        }
    })
    .unwrap();
}

#[test]
fn a_fixed_disk_is_as_its_model() {
    run(async {
        let bytes = image(&small(4 * MIB, Kind::Fixed)).await;
        let content = check(bytes, None, vec![0; 4 << 20], 10).await;
        assert!(content.iter().any(|&byte| byte != 0));
    })
    .unwrap();
}

#[test]
fn a_differencing_disk_is_as_its_model() {
    run(async {
        for (seed, logical_sector_bytes) in [(20, 512), (21, 4096), (22, 512)] {
            let size = 5 * MIB + 4096;
            let (below, content, options) = parent(size, seed).await;
            let options = CreateOptions {
                logical_sector_bytes,
                block_bytes: if seed == 22 { 2 * MIB } else { MIB },
                ..options
            };
            let bytes = image(&options).await;
            check(bytes, Some(&below), content, seed).await;
        }
    })
    .unwrap();
}

#[test]
fn a_child_may_be_longer_or_shorter_than_its_parent() {
    run(async {
        for size in [2 * MIB + 512, 7 * MIB] {
            let (below, mut content, options) = parent(4 * MIB + 1024, size).await;
            let options = CreateOptions {
                size_bytes: size,
                ..options
            };
            content.resize(size as usize, 0);
            check(image(&options).await, Some(&below), content, size).await;
        }
    })
    .unwrap();
}

#[test]
fn requests_that_run_beside_each_other_do_not_mix() {
    run(async {
        let (below, content, options) = parent(4 * MIB, 30).await;
        for below in [None, Some(below)] {
            let (options, mut content) = match &below {
                None => (small(4 * MIB, Kind::Dynamic), vec![0; 4 << 20]),
                Some(_) => (options.clone(), content.clone()),
            };
            let file = Rc::new(Memory::with_content(image(&options).await));
            let parent = below.clone();
            let options = OpenOptions {
                read_only: false,
                parent,
            };
            let disk = Rc::new(Vhdx::open(file.clone(), options.clone()).await.unwrap());
            let mut tasks = Vec::new();
            // Every task has stripes of its own in every block.
            for task in 0..64u64 {
                let disk = Rc::clone(&disk);
                tasks.push(spawn(async move {
                    for block in 0..4 {
                        let offset = block * MIB + task * 16_000 + 100;
                        let data = IoBuf::copy_of(&[task as u8 + 1; 16_000]);
                        disk.write(offset, data, Durability::Volatile)
                            .await
                            .unwrap();
                        if task % 8 == 0 {
                            disk.flush().await.unwrap();
                        }
                    }
                }));
                for block in 0..4 {
                    let at = (block * MIB + task * 16_000 + 100) as usize;
                    content[at..at + 16_000].fill(task as u8 + 1);
                }
            }
            for task in tasks {
                task.await;
            }
            assert_eq!(first_difference(&read_all(&*disk).await, &content), None);
            disk.flush().await.unwrap();
            drop(disk);
            let again = Vhdx::open(file, options).await.unwrap();
            assert_eq!(first_difference(&read_all(&again).await, &content), None);
        }
    })
    .unwrap();
}

#[test]
fn what_status_calls_zero_is_zero() {
    run(async {
        let (below, content, options) = parent(5 * MIB, 40).await;
        let file = Rc::new(Memory::with_content(image(&options).await));
        let disk = open_over(file, &below).await.unwrap();
        let content = churn(&disk, content, 41, 60).await;
        for limit in [1, 3, 1000] {
            let mut at = 0;
            while at < 5 * MIB {
                let extent = Extent::new(at, 5 * MIB - at);
                let parts = disk.status(extent, limit).await.unwrap();
                assert!(!parts.is_empty() && parts.len() <= limit);
                for part in parts {
                    assert_eq!(part.extent.offset_bytes, at);
                    assert!(part.extent.len_bytes > 0);
                    let end = part.extent.end_bytes();
                    let bytes = &content[at as usize..end as usize];
                    assert!(
                        !part.zero || bytes.iter().all(|&byte| byte == 0),
                        "{part:?}"
                    );
                    at = end;
                }
            }
            assert_eq!(at, 5 * MIB);
        }
    })
    .unwrap();
}
