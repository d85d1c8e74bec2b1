//! Power cuts at every operation: the image opens, what was flushed is there, the rest is old or
//! new.

use super::{
    Change, Disk, Durability, Extent, Fault, IoBuf, IoBufMut, Kind, MIB, Memory, OpenOptions,
    Parent, Rc, Rng, SeedableRng, StdRng, Vhdx, Zeroes, first_difference, image, noise, open,
    outcomes, parent, read_all, small,
};
use crate::disk::fault::{Operation, SECTOR_BYTES};
use crate::engine::run;

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
        let extent = change.extent();
        let (start, end) = (extent.offset_bytes as usize, extent.end_bytes() as usize);
        match change {
            Change::Write { data, .. } => self.current[start..end].copy_from_slice(data),
            Change::Zero { .. } => self.current[start..end].fill(0),
            Change::Discard(_) | Change::Flush => {}
        }
        let first = start / SECTOR_BYTES * SECTOR_BYTES;
        for at in (first..end).step_by(SECTOR_BYTES) {
            let upto = (at + SECTOR_BYTES).min(self.current.len());
            self.written.push((at, self.current[at..upto].to_vec()));
        }
    }

    fn flushed(&mut self) {
        self.durable.clone_from(&self.current);
        self.written.clear();
    }

    fn check(&self, found: &[u8], what: &str) {
        assert_eq!(found.len(), self.durable.len());
        for (index, sector) in found.chunks(SECTOR_BYTES).enumerate() {
            let at = index * SECTOR_BYTES;
            let old = &self.durable[at..at + sector.len()];
            let known = sector == old
                || self
                    .written
                    .iter()
                    .any(|(place, data)| *place == at && data == sector);
            assert!(known, "{what}: the sector at {at} is neither old nor new");
        }
    }
}

/// Changes that allocate, drop and use again, and flush now and then. Writes are of whole sectors,
/// so that a torn one is old or new.
fn script(seed: u64, size: u64) -> Vec<Change> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut changes = Vec::new();
    for _ in 0..14 {
        let block = rng.random_range(0..size / MIB);
        let how = Zeroes {
            durability: Durability::Volatile,
            may_unmap: true,
            fast_only: false,
        };
        changes.push(match rng.random_range(0..8) {
            0..=4 => {
                let offset = rng.random_range(0..size / 512 - 40) * 512;
                let len = 512 * rng.random_range(1..40);
                let data = noise(&mut rng, len);
                let how = if rng.random_bool(0.2) {
                    Durability::Durable
                } else {
                    Durability::Volatile
                };
                Change::Write { offset, data, how }
            }
            5 => Change::Zero {
                extent: Extent::new(block * MIB, MIB),
                how,
            },
            _ => Change::Flush,
        });
    }
    changes
}

/// Runs the script with the power cut after `cut` operations; `None` when it was not reached.
async fn cut_after(
    bytes: &[u8],
    below: Option<&Parent>,
    content: &[u8],
    script: &[Change],
    cut: u64,
) -> Option<()> {
    let file = Rc::new(Fault::new(bytes.to_vec()));
    let options = OpenOptions {
        read_only: false,
        parent: below.cloned(),
    };
    let mut model = Model::new(content.to_vec());
    let disk = Vhdx::open(file.clone(), options.clone()).await.unwrap();
    file.cut_power_after(cut);
    let mut failed = false;
    for change in script {
        model.change(change);
        match change.apply(&disk).await {
            Ok(()) if change.is_flush() => model.flushed(),
            Ok(()) => {
                if let Change::Write {
                    how: Durability::Durable,
                    ..
                } = change
                {
                    let extent = change.extent();
                    let range = extent.offset_bytes as usize..extent.end_bytes() as usize;
                    model.written.retain(|(at, _)| !range.contains(at));
                    model.durable[range.clone()].copy_from_slice(&model.current[range]);
                }
            }
            Err(_) => {
                failed = true;
                break;
            }
        }
    }
    if !failed {
        return None;
    }
    for (seed, after) in outcomes(&file, 3).into_iter().enumerate() {
        let what = format!("cut after {cut}, seed {seed}");
        let after = Rc::new(Memory::with_content(after));
        let read_only = OpenOptions {
            read_only: true,
            ..options.clone()
        };
        let viewed = Vhdx::open(after.clone(), read_only).await;
        let viewed = viewed.unwrap_or_else(|error| panic!("{what}: {error}"));
        let viewed = read_all(&viewed).await;
        model.check(&viewed, &what);
        let opened = Vhdx::open(after, options.clone()).await.unwrap();
        let opened = read_all(&opened).await;
        assert_eq!(
            first_difference(&viewed, &opened),
            None,
            "{what}: replayed otherwise"
        );
    }
    Some(())
}

async fn cut_everywhere(bytes: &[u8], below: Option<&Parent>, content: &[u8], seed: u64) {
    let script = script(seed, content.len() as u64);
    let mut cut = 0;
    while cut_after(bytes, below, content, &script, cut)
        .await
        .is_some()
    {
        cut += 1;
    }
    assert!(cut > 20, "the script does something");
}

#[test]
fn a_dynamic_disk_survives() {
    run(async {
        let bytes = image(&small(3 * MIB, Kind::Dynamic)).await;
        for seed in 0..3 {
            cut_everywhere(&bytes, None, &vec![0; 3 << 20], seed).await;
        }
    })
    .unwrap();
}

#[test]
fn a_differencing_disk_survives() {
    run(async {
        let (below, content, options) = parent(3 * MIB, 50).await;
        let bytes = image(&options).await;
        for seed in 50..53 {
            cut_everywhere(&bytes, Some(&below), &content, seed).await;
        }
    })
    .unwrap();
}

#[test]
fn an_entry_is_replayed_until_its_writes_in_place_are_durable() {
    run(async {
        // The BAT entries of the two blocks are in different pages.
        let bytes = image(&small(2 << 30, Kind::Dynamic)).await;
        let file = Rc::new(Fault::new(bytes));
        let disk = Vhdx::open(file.clone(), OpenOptions::default())
            .await
            .unwrap();
        let data = IoBuf::copy_of(&[1; 4096]);
        disk.write(0, data.clone(), Durability::Volatile)
            .await
            .unwrap();
        disk.flush().await.unwrap();
        disk.write(600 * MIB, data, Durability::Volatile)
            .await
            .unwrap();
        file.fail_next(Operation::Flush, libc::EIO);
        disk.flush().await.unwrap_err();
        // The second entry reached the device, what the first one changed in place did not.
        let mut bytes = file.content();
        bytes[3 << 20..][..4096].fill(0);
        let again = open(&bytes).await.unwrap();
        for offset in [0, 600 * MIB] {
            let read = again.read(offset, IoBufMut::zeroed(4096)).await.unwrap();
            assert_eq!(read[..], [1; 4096], "at {offset}");
        }
    })
    .unwrap();
}

#[test]
fn space_that_is_used_again_never_shows_what_it_held() {
    run(async {
        let bytes = image(&small(4 * MIB, Kind::Dynamic)).await;
        for cut in 0..12 {
            let file = Rc::new(Fault::new(bytes.clone()));
            let disk = Vhdx::open(file.clone(), OpenOptions::default())
                .await
                .unwrap();
            let secret = IoBuf::copy_of(&[0xaa; 1 << 20]);
            disk.write(0, secret, Durability::Volatile).await.unwrap();
            disk.flush().await.unwrap();
            disk.discard(Extent::new(0, MIB)).await.unwrap();
            disk.flush().await.unwrap();
            file.cut_power_after(cut);
            let data = IoBuf::copy_of(&[1; 4096]);
            let _ = disk.write(2 * MIB, data, Durability::Volatile).await;
            let _ = disk.flush().await;
            for seed in 0..30 {
                let again = open(&file.after_power_cut(seed)).await.unwrap();
                let block = IoBufMut::zeroed(1 << 20);
                let block = again.read(2 * MIB, block).await.unwrap();
                assert!(!block.contains(&0xaa), "cut {cut}, seed {seed}");
            }
        }
    })
    .unwrap();
}

#[test]
fn space_is_used_again_only_when_nothing_points_to_it() {
    run(async {
        let bytes = image(&small(4 * MIB, Kind::Dynamic)).await;
        let file = Rc::new(Fault::new(bytes));
        let disk = Vhdx::open(file.clone(), OpenOptions::default())
            .await
            .unwrap();
        let fill = |byte| IoBuf::copy_of(&[byte; 1 << 20]);
        disk.write(0, fill(1), Durability::Volatile).await.unwrap();
        disk.flush().await.unwrap();
        disk.discard(Extent::new(0, MIB)).await.unwrap();
        disk.write(2 * MIB, fill(2), Durability::Volatile)
            .await
            .unwrap();
        for seed in 0..30 {
            let again = open(&file.after_power_cut(seed)).await.unwrap();
            let block = again.read(0, IoBufMut::zeroed(1 << 20)).await.unwrap();
            assert!(!block.contains(&2), "seed {seed}");
        }
    })
    .unwrap();
}
