//! Power cuts at every operation: the image opens, what was flushed is there, the rest is old or
//! new.

use super::{Change, Shape, content, pattern, shapes};
use crate::disk::fault::{Fault, Operation, SECTOR_BYTES};
use crate::disk::memory::Memory;
use crate::disk::qcow2::{Bitmap, Qcow2, TRACKING_EXTENSION};
use crate::disk::{Disk, Durability, Extent};
use crate::engine::run;
use crate::engine::{IoBuf, IoBufMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::rc::Rc;

/// What each sector of the disk may hold after a power cut.
struct Model {
    /// As of the last flush that was acknowledged.
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Contents of sectors that were written since.
    written: Vec<(usize, Vec<u8>)>,
}

impl Model {
    fn new(content: Vec<u8>) -> Self {
        Self {
            durable: content.clone(),
            current: content,
            written: Vec::new(),
        }
    }

    /// Notes a change, before it is known whether it succeeds.
    fn change(&mut self, change: &Change) {
        let (start, end) = match change {
            Change::Write { offset, data, .. } => {
                let start = *offset as usize;
                self.current[start..start + data.len()].copy_from_slice(data);
                (start, start + data.len())
            }
            Change::Zero { extent, .. } => {
                let (start, end) = (extent.offset_bytes as usize, extent.end_bytes() as usize);
                self.current[start..end].fill(0);
                (start, end)
            }
            Change::Discard(_) | Change::Flush => return,
        };
        for at in (start..end).step_by(SECTOR_BYTES) {
            let upto = (at + SECTOR_BYTES).min(end);
            self.written.push((at, self.current[at..upto].to_vec()));
        }
    }

    /// Notes what a discard left.
    async fn discarded(&mut self, change: &Change, disk: &Qcow2) {
        if let Change::Discard(extent) = change {
            let buf = IoBufMut::zeroed(extent.len_bytes as usize);
            let Ok(found) = disk.read(extent.offset_bytes, buf).await else {
                return;
            };
            self.change(&Change::Write {
                offset: extent.offset_bytes,
                data: found.to_vec(),
                how: Durability::Volatile,
            });
        }
    }

    fn flushed(&mut self) {
        self.durable.clone_from(&self.current);
        self.written.clear();
    }

    fn check(&self, found: &[u8], cut_discard: Option<Extent>, what: &str) {
        assert_eq!(found.len(), self.durable.len());
        for (index, sector) in found.chunks(SECTOR_BYTES).enumerate() {
            let at = index * SECTOR_BYTES;
            let old = &self.durable[at..at + sector.len()];
            let wanted = |(place, data): &(usize, Vec<u8>)| *place == at && data == sector;
            let zero = cut_discard.is_some_and(|extent| {
                (extent.offset_bytes..extent.end_bytes()).contains(&(at as u64))
            });
            let zeroed = zero && sector.iter().all(|byte| *byte == 0);
            let known = sector == old || zeroed || self.written.iter().any(wanted);
            assert!(known, "{what}: the sector at {at} is neither old nor new");
        }
    }
}

/// Runs the script with the power cut after `cut` operations; whether it was reached.
async fn cut_after(shape: &Shape, bytes: &[u8], script: &[Change], cut: u64) -> bool {
    let file = Rc::new(Fault::new(bytes.to_vec()));
    let disk = shape.open(file.clone()).await.unwrap();
    let mut model = Model::new(content(&disk).await);
    file.cut_power_after(cut);
    let mut failed = None;
    for change in script {
        model.change(change);
        match (change.apply(&disk).await, change) {
            (Err(_), _) => {
                failed = Some(change.clone());
                break;
            }
            (Ok(()), Change::Flush) => model.flushed(),
            (Ok(()), _) => model.discarded(change, &disk).await,
        }
    }
    let cut_discard = match failed {
        Some(Change::Discard(extent)) => Some(extent),
        _ => None,
    };
    for seed in 0..3 {
        let what = format!("{shape:?}, cut {cut}, seed {seed}");
        let after = Rc::new(Memory::with_content(file.after_power_cut(seed)));
        let disk = shape.open(after).await.unwrap();
        let found = disk.check().await.unwrap();
        assert_eq!(found.corruptions, 0, "{what}: {found:?}");
        model.check(&content(&disk).await, cut_discard, &what);
    }
    failed.is_some()
}

async fn every_cut(mut shape: Shape, seed: u64, steps: usize) {
    shape.options.size_bytes = shape.options.size_bytes.min(400_000) & !511;
    shape.backing_bytes = shape.backing_bytes.map(|bytes| bytes & !511);
    let mut rng = StdRng::seed_from_u64(seed);
    let file = shape.create().await;
    let size = shape.options.size_bytes;
    let script: Vec<Change> = (0..steps)
        .map(|step| match step % 5 {
            4 => Change::Flush,
            _ => Change::random(&mut rng, size, 512),
        })
        .collect();
    // Something to move and to free.
    let disk = shape.open(file.clone()).await.unwrap();
    let data = IoBuf::copy_of(&vec![7; size as usize / 2]);
    disk.write(0, data, Durability::Volatile).await.unwrap();
    disk.close().await.unwrap();
    let bytes = file.content();
    let mut cut = 0;
    while cut_after(&shape, &bytes, &script, cut).await {
        cut += 1 + cut / 40;
    }
    assert!(cut > 5, "{shape:?}: power was cut {cut} times only");
}

#[test]
fn what_was_flushed_survives_with_small_clusters() {
    run(async {
        every_cut(shapes()[0].clone(), 1, 12).await;
        every_cut(shapes()[2].clone(), 2, 12).await;
    })
    .unwrap();
}

#[test]
fn what_was_flushed_survives_with_large_clusters() {
    run(async {
        every_cut(shapes()[3].clone(), 3, 16).await;
        every_cut(shapes()[4].clone(), 4, 16).await;
    })
    .unwrap();
}

#[test]
fn what_was_flushed_survives_over_a_backing_disk() {
    run(async {
        every_cut(shapes()[5].clone(), 5, 14).await;
        every_cut(shapes()[9].clone(), 6, 14).await;
    })
    .unwrap();
}

#[test]
fn what_was_flushed_survives_with_subclusters() {
    run(async {
        every_cut(shapes()[6].clone(), 7, 14).await;
        every_cut(shapes()[7].clone(), 8, 14).await;
    })
    .unwrap();
}

#[test]
fn a_disk_has_one_of_two_sizes_after_a_power_cut() {
    run(async {
        for shape in [shapes()[0].clone(), shapes()[5].clone()] {
            let bytes = shape.create().await.content();
            let old = shape.options.size_bytes;
            for new in [old * 40, old / 3] {
                for cut in 0.. {
                    let file = Rc::new(Fault::new(bytes.clone()));
                    let disk = shape.open(file.clone()).await.unwrap();
                    file.cut_power_after(cut);
                    let done = disk.resize(new).await.is_ok();
                    for seed in 0..4 {
                        let after = Memory::with_content(file.after_power_cut(seed));
                        let disk = shape.open(Rc::new(after)).await.unwrap();
                        let size = disk.geometry().size_bytes;
                        assert!(size == new || size == old && !done, "{size}, cut {cut}");
                        let found = disk.check().await.unwrap();
                        assert_eq!(found.corruptions, 0, "cut {cut}: {found:?}");
                    }
                    if done {
                        break;
                    }
                }
            }
        }
    })
    .unwrap();
}

#[test]
fn extensions_and_bitmaps_are_old_or_new_after_a_power_cut() {
    run(async {
        let shape = shapes()[5].clone();
        let file = shape.create().await;
        let disk = shape.open(file.clone()).await.unwrap();
        let bitmap = |name: &str| Bitmap {
            name: name.into(),
            granularity_bytes: 512,
            auto: false,
            in_use: false,
        };
        let marked = vec![Extent::new(1024, 5120)];
        disk.set_header_extension(TRACKING_EXTENSION, Some(vec![1; 40]))
            .await
            .unwrap();
        disk.set_bitmap(bitmap("a"), marked.clone()).await.unwrap();
        disk.close().await.unwrap();
        let bytes = file.content();
        for cut in 0.. {
            let file = Rc::new(Fault::new(bytes.clone()));
            let disk = shape.open(file.clone()).await.unwrap();
            file.cut_power_after(cut);
            let done = async {
                let data = Some(vec![2; 700]);
                disk.set_header_extension(TRACKING_EXTENSION, data).await?;
                disk.set_bitmap(bitmap("b"), marked.clone()).await?;
                disk.set_header_extension(TRACKING_EXTENSION, Some(vec![3; 30]))
                    .await
            }
            .await
            .is_ok();
            for seed in 0..4 {
                let after = Memory::with_content(file.after_power_cut(seed));
                let disk = shape.open(Rc::new(after)).await.unwrap();
                let data = disk.header_extension(TRACKING_EXTENSION).unwrap();
                let known = [vec![1; 40], vec![2; 700], vec![3; 30]];
                assert!(known.contains(&data), "cut {cut}");
                assert_eq!(disk.info().backing_file.as_deref(), Some("base"));
                assert_eq!(disk.info().backing_format.as_deref(), Some("raw"));
                for bitmap in disk.bitmaps().await.unwrap() {
                    let extents = disk.bitmap_extents(&bitmap.name).await.unwrap();
                    assert_eq!(extents, marked);
                }
                assert_eq!(disk.check().await.unwrap().corruptions, 0);
            }
            if done {
                break;
            }
        }
    })
    .unwrap();
}

#[test]
fn what_fails_once_is_tried_again() {
    run(async {
        for shape in shapes() {
            let file = Rc::new(Fault::new(shape.create().await.content()));
            let disk = shape.open(file.clone()).await.unwrap();
            let mut bytes = shape.content();
            let mut rng = StdRng::seed_from_u64(17);
            for step in 0..40 {
                let offset = rng.random_range(0..bytes.len() - 20_000);
                let data = pattern(step, rng.random_range(1..20_000));
                let operation = [Operation::Change, Operation::Flush][step as usize % 2];
                if step % 3 == 0 {
                    file.fail_next(operation, libc::EIO);
                }
                let change = Change::Write {
                    offset: offset as u64,
                    data: data.clone(),
                    how: Durability::Durable,
                };
                while change.apply(&disk).await.is_err() {}
                bytes[offset..offset + data.len()].copy_from_slice(&data);
                let after = Rc::new(Memory::with_content(file.after_power_cut(0)));
                let seen = shape.open(after).await.unwrap();
                assert!(content(&seen).await == bytes, "{shape:?}, step {step}");
                assert_eq!(seen.check().await.unwrap().corruptions, 0);
            }
        }
    })
    .unwrap();
}
