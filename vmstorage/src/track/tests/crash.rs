//! The power goes at every write and flush.

use futures_util::future::join;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::world::{BLOCK, World, covered};
use crate::disk::{Disk, Durability, ErrorKind, Extent, Result, Zeroes};
use crate::engine::{IoBuf, run};
use crate::track::{Beginning, Point, Tracker};

const BLOCKS: u64 = 1100;

/// What a disk should know: its points, and what was on it then.
#[derive(Default)]
struct Model {
    points: Vec<(Point, Vec<u8>)>,
}

impl Model {
    /// Every byte that differs between two instants is told; FullNeeded only after a new
    /// generation.
    async fn check(&self, world: &World, tracker: &Tracker, what: &str) {
        let generation = tracker.now().generation;
        let now = world.disk.content();
        for (at, (since, before)) in self.points.iter().enumerate() {
            let later = self.points[at + 1..].iter();
            let later = later.map(|(point, content)| (Some(point), content.as_slice()));
            for (until, after) in later.chain([(None, now.as_slice())]) {
                let all = Extent::new(0, u64::MAX);
                let changes = match tracker.changes(since, until, all, usize::MAX).await {
                    Ok(changes) => changes,
                    Err(_) if world.is_dead() => return,
                    Err(error) => {
                        let expected = since.generation != generation
                            || until.is_some_and(|until| until.generation != generation);
                        assert!(expected, "{what}: {error}");
                        assert_eq!(error.kind(), ErrorKind::FullNeeded);
                        continue;
                    }
                };
                assert_eq!(changes.next_bytes, None);
                for byte in differing(before, after) {
                    assert!(
                        covered(byte, &changes.extents),
                        "{what}: byte {byte} differs between {since:?} and {until:?}"
                    );
                }
            }
        }
    }
}

/// The first and the last byte of every block of `after` that is not the same in `before`.
fn differing(before: &[u8], after: &[u8]) -> Vec<u64> {
    let mut bytes = Vec::new();
    for (at, new) in after.chunks(BLOCK as usize).enumerate() {
        let start = at * BLOCK as usize;
        let old = before.get(start..).unwrap_or_default();
        let old = &old[..old.len().min(new.len())];
        if old == new {
            continue;
        }
        let differs = |&index: &usize| old.get(index) != Some(&new[index]);
        bytes.extend((0..new.len()).find(differs));
        bytes.extend((0..new.len()).rfind(differs));
        let found = bytes.len() - 2;
        bytes[found..].iter_mut().for_each(|byte| *byte += start);
    }
    bytes.into_iter().map(|byte| byte as u64).collect()
}

async fn change(tracker: &Tracker, rng: &mut StdRng) -> Result<()> {
    let size = tracker.geometry().size_bytes;
    let hot_spot = rng.random_range(0..3) > 0;
    let offset = rng.random_range(0..if hot_spot { size / 20 } else { size });
    let longest = if rng.random_range(0..20) == 0 {
        4 << 20
    } else {
        3 * BLOCK
    };
    let len = rng.random_range(0..longest).min(size - offset);
    let extent = Extent::new(offset, len);
    match rng.random_range(0..8) {
        0 => tracker.discard(extent).await,
        1 => {
            let how = Zeroes {
                durability: Durability::Volatile,
                may_unmap: rng.random(),
                fast_only: false,
            };
            tracker.write_zeroes(extent, how).await
        }
        kind => {
            let data = IoBuf::copy_of(&vec![rng.random(); len as usize]);
            let how = if kind == 2 {
                Durability::Durable
            } else {
                Durability::Volatile
            };
            tracker.write(offset, data, how).await
        }
    }
}

/// Random work until it is done or the power goes.
async fn live(world: &World, tracker: &Tracker, model: &mut Model, rng: &mut StdRng) -> Result<()> {
    for _ in 0..rng.random_range(4..14) {
        match rng.random_range(0..16) {
            0..=1 => {
                let (one, two) = join(tracker.settle(), change(tracker, rng)).await;
                one.and(two)?;
            }
            2 => tracker.flush().await?,
            3 if rng.random_range(0..4) == 0 => {
                let size = tracker.geometry().size_bytes;
                let grown = size + rng.random_range(0..40 * BLOCK);
                let shrunk = size - rng.random_range(0..20 * BLOCK);
                tracker
                    .resize(if rng.random() { grown } else { shrunk })
                    .await?;
            }
            4..=6 => {
                // Changes run beside the checkpoint; the copy is what is there when it has ended.
                let mut other = StdRng::seed_from_u64(rng.random());
                let beside = async {
                    for _ in 0..3 {
                        change(tracker, &mut other).await?;
                    }
                    Ok(())
                };
                let checkpoint = async {
                    let point = tracker.checkpoint().await?;
                    model.points.push((point, world.disk.content()));
                    Ok(())
                };
                let (one, two) = join(checkpoint, beside).await;
                one.and(two)?;
            }
            _ => {
                let mut other = StdRng::seed_from_u64(rng.random());
                let (one, two) = join(change(tracker, rng), change(tracker, &mut other)).await;
                one.and(two)?;
            }
        }
    }
    Ok(())
}

/// Lives of one disk, each ended by a power cut after `cuts` operations or closed; answers how many
/// operations the first life had.
fn lives(seed: u64, cuts: &[Option<u64>]) -> u64 {
    let mut world = World::new(BLOCKS * BLOCK - 100).disorder(seed);
    let mut model = Model::default();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut first_life = 0;
    for (life, cut) in cuts.iter().enumerate() {
        let what = format!("seed {seed}, cuts {cuts:?}, life {life}");
        run(async {
            let before = world.power.done.get();
            world.power.left.set(*cut);
            let opened = world.open().await;
            if let Ok((tracker, beginning)) = opened {
                if let (Beginning::Fresh { reason }, true) = (&beginning, life > 0) {
                    // Only a map that was never acknowledged may be new.
                    assert!(model.points.is_empty(), "{what}: {reason}");
                }
                model.check(&world, &tracker, &what).await;
                let lived = live(&world, &tracker, &mut model, &mut rng).await;
                if lived.is_ok() {
                    model.check(&world, &tracker, &what).await;
                    let _ = tracker.close(async || Ok(world.look())).await;
                }
            }
            if life == 0 {
                first_life = world.power.done.get() - before;
            }
        })
        .unwrap();
        world = world.after_power_cut(rng.random()).disorder(rng.random());
    }
    run(async {
        let (tracker, _) = world.open().await.unwrap();
        let what = format!("seed {seed}, cuts {cuts:?}, at the end");
        model.check(&world, &tracker, &what).await;
    })
    .unwrap();
    first_life
}

#[test]
fn a_power_cut_at_every_operation_loses_no_change() {
    for seed in 0..2 {
        let operations = lives(seed, &[None]);
        assert!(operations > 20, "{operations}");
        for cut in 0..operations {
            lives(seed, &[Some(cut)]);
        }
    }
}

#[test]
fn several_power_cuts_of_many_disks_lose_no_change() {
    let mut rng = StdRng::seed_from_u64(77);
    for seed in 100..130 {
        let cuts: Vec<Option<u64>> = (0..5)
            .map(|_| Some(rng.random_range(0..60)).filter(|_| rng.random_range(0..4) > 0))
            .collect();
        lives(seed, &cuts);
    }
}
