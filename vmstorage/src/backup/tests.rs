//! Backups against copies that were taken at the same moment.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};

use super::*;
use crate::disk::memory::Memory;
use crate::disk::{Disk, Extent, Result};
use crate::engine;

mod prune;

const SIZE: usize = 1 << 20;

fn repository(folder: &Path, key: Option<Key>) -> Repository {
    let store = Arc::new(Local::create(folder).unwrap());
    Repository::create(store, key, 65_536).unwrap()
}

/// Writes some scattered blocks, and says which.
fn change(rng: &mut StdRng, bytes: &mut [u8], count: usize) -> Vec<Extent> {
    let blocks = (0..count).map(|_| {
        let at = rng.random_range(0..bytes.len() / 4096) * 4096;
        let block = &mut bytes[at..at + 4096];
        match rng.random_range(0..4) {
            0 => block.fill(0),
            1 => block.fill(rng.random()),
            _ => rng.fill(block),
        }
        Extent::new(at as u64, 4096)
    });
    blocks.collect()
}

fn back_up(
    repo: &Repository,
    bytes: &[u8],
    time_ms: u64,
    from: Option<(&str, Vec<Extent>)>,
) -> Result<Manifest> {
    let (parent, changed) = from.map(|(id, changed)| (id.to_owned(), changed)).unzip();
    let plan = Plan {
        disk: "root".into(),
        time_ms,
        parent,
        changed,
        level: 1,
        ..Plan::default()
    };
    let source: Rc<dyn Disk> = Rc::new(Memory::with_content(bytes.to_vec()));
    engine::run(run(source, plan, repo, |_| {})).unwrap()
}

fn bring_back(repo: &Repository, id: &str) -> Result<Vec<u8>> {
    engine::run(async {
        let image = Image::open(repo, id).await?;
        let target = Rc::new(Memory::new(image.geometry().size_bytes));
        let disk: Rc<dyn Disk> = Rc::clone(&target) as Rc<dyn Disk>;
        restore(image, &disk, true, |_| {}).await?;
        Ok(target.content())
    })
    .unwrap()
}

fn plan(keep: Keep) -> PrunePlan {
    PrunePlan {
        keep,
        max_unused_percent: 20,
        dry_run: false,
    }
}

fn chain(repo: &Repository, seed: u64, increments: u64) -> Vec<(String, Vec<u8>)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bytes = vec![0; SIZE];
    change(&mut rng, &mut bytes, 64);
    let mut id = back_up(repo, &bytes, 0, None).unwrap().id;
    let mut points = vec![(id.clone(), bytes.clone())];
    for time in 1..=increments {
        match rng.random_range(0..8) {
            0 => bytes.resize(bytes.len() + 12_288, 0),
            1 => bytes.truncate(bytes.len() - 8192),
            _ => {}
        }
        let changed = change(&mut rng, &mut bytes, 5);
        let made = back_up(repo, &bytes, time * 86_400_000, Some((&id, changed))).unwrap();
        assert!(
            made.read_bytes <= 5 * 4096 + 12_288,
            "an increment follows what changed"
        );
        id = made.id;
        points.push((id.clone(), bytes.clone()));
    }
    points
}

#[test]
fn every_point_of_a_chain_is_what_the_disk_was() {
    for key in [None, Some(Key::new(&[7; 32]))] {
        let folder = tempfile::tempdir().unwrap();
        let repo = repository(folder.path(), key);
        let points = chain(&repo, 1, 50);
        for (id, bytes) in &points {
            assert!(bring_back(&repo, id).unwrap() == *bytes, "point {id}");
        }
        assert_eq!(verify(&repo, false, |_| {}).unwrap(), []);
        let keep = Keep {
            last: 2,
            weekly: 3,
            ..Keep::default()
        };
        let pruned = prune(&repo, plan(keep), |_| {}).unwrap();
        assert!(!pruned.packs.is_empty() && !pruned.repacked.is_empty());
        let left = points.iter().filter(|(id, _)| !pruned.points.contains(id));
        for (id, bytes) in left {
            assert!(
                bring_back(&repo, id).unwrap() == *bytes,
                "point {id} after a prune"
            );
        }
        assert_eq!(verify(&repo, false, |_| {}).unwrap(), []);
    }
}

#[test]
fn another_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    repository(folder.path(), Some(Key::new(&[1; 32])));
    for key in [None, Some(Key::new(&[2; 32]))] {
        let store = Arc::new(Local::create(folder.path()).unwrap());
        let error = Repository::open(store, key).unwrap_err();
        assert!(error.to_string().contains("key"), "{error}");
    }
}

#[test]
fn damage_is_named_and_never_restored() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository(folder.path(), None);
    let points = chain(&repo, 3, 4);
    let mut names = repo.store.list("packs").unwrap();
    names.extend(repo.store.list("snapshots").unwrap());
    names.extend(repo.store.list("manifests").unwrap());
    let listed = repo.list().unwrap();
    let mut rng = StdRng::seed_from_u64(4);
    for round in 0..80 {
        let name = &names[rng.random_range(0..names.len())];
        let other = &names[(rng.random_range(1..names.len()) + round) % names.len()];
        let path = folder.path().join(name);
        let good = std::fs::read(&path).unwrap();
        let at = rng.random_range(0..good.len());
        let mut bad = good.clone();
        match round % 4 {
            0 => bad[at] ^= 1 << rng.random_range(0..8),
            1 => bad.truncate(at),
            2 => bad = std::fs::read(folder.path().join(other)).unwrap(),
            _ => {}
        }
        if round % 4 == 3 {
            std::fs::remove_file(&path).unwrap();
        } else if bad == good {
            continue;
        } else {
            std::fs::write(&path, &bad).unwrap();
        }
        let problems = verify(&repo, false, |_| {}).unwrap();
        let missing = round % 4 == 3 && !name.starts_with("packs");
        if name.starts_with("manifests") {
            // The point itself says what it is.
            assert_eq!(repo.list().unwrap(), listed, "round {round}");
        }
        let named = problems.iter().any(|problem| problem.object == *name);
        assert!(named || missing, "round {round}: {name}: {problems:?}");
        for (id, bytes) in &points {
            if let Ok(restored) = bring_back(&repo, id) {
                assert!(restored == *bytes, "round {round}: {id} is silently wrong");
            }
        }
        std::fs::write(&path, good).unwrap();
    }
}

#[test]
fn nothing_new_is_built_on_what_is_known_to_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository(folder.path(), None);
    let mut bytes = vec![0; SIZE];
    StdRng::seed_from_u64(31).fill(&mut bytes[..]);
    let first = back_up(&repo, &bytes, 1, None).unwrap();
    let path = folder.path().join(&repo.store.list("packs").unwrap()[0]);
    let mut content = std::fs::read(&path).unwrap();
    content[100_000] ^= 1;
    std::fs::write(&path, &content).unwrap();

    assert_eq!(verify(&repo, false, |_| {}).unwrap().len(), 1);
    // One that does not read the data does not forget it.
    verify(&repo, true, |_| {}).unwrap();
    let changed = vec![Extent::new(SIZE as u64 - 4096, 4096)];
    let refused = back_up(&repo, &bytes, 2, Some((&first.id, changed))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FullNeeded);
    let second = back_up(&repo, &bytes, 3, None).unwrap();
    assert_eq!(second.deduplicated_bytes, SIZE as u64 - 65_536);
    assert!(bring_back(&repo, &second.id).unwrap() == bytes);
    assert!(bring_back(&repo, &first.id).is_err());

    // Without the first, nothing of it is left.
    let keep = Keep {
        last: 1,
        ..Keep::default()
    };
    prune(&repo, plan(keep), |_| {}).unwrap();
    verify(&repo, false, |_| {}).unwrap();
    assert!(bring_back(&repo, &second.id).unwrap() == bytes);
}

/// Fails every call after some.
#[derive(Debug)]
struct Dying {
    inner: Local,
    left: AtomicI64,
}

impl Dying {
    fn step(&self) -> Result<()> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NoSpace, "the store died"))
    }
}

impl Store for Dying {
    fn put(&self, name: &str, data: &[u8]) -> Result<()> {
        self.step()?;
        self.inner.put(name, data)
    }

    fn exists(&self, name: &str) -> Result<bool> {
        self.step()?;
        self.inner.exists(name)
    }

    fn len_bytes(&self, name: &str) -> Result<u64> {
        self.step()?;
        self.inner.len_bytes(name)
    }

    fn read(&self, name: &str, offset_bytes: u64, len: usize) -> Result<Vec<u8>> {
        self.step()?;
        self.inner.read(name, offset_bytes, len)
    }

    fn entries(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        self.step()?;
        self.inner.entries(folder)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.step()?;
        self.inner.delete(name)
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn Guard>> {
        self.step()?;
        self.inner.lock(exclusive)
    }
}

fn dying(folder: &Path, repo: &Repository, steps: i64) -> Repository {
    Repository {
        store: Arc::new(Dying {
            inner: Local::create(folder).unwrap(),
            left: AtomicI64::new(steps),
        }),
        ..repo.clone()
    }
}

#[test]
fn objects_of_strangers_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository(folder.path(), None);
    let (id, _) = chain(&repo, 8, 1).remove(0);
    let name = format!("snapshots/{id}");
    let good = repo.index(&name).unwrap().encode().unwrap();
    let mut rng = StdRng::seed_from_u64(9);
    for _ in 0..2000 {
        let mut bad = good.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bad.len());
            bad[at] = rng.random();
        }
        bad.truncate(rng.random_range(bad.len() / 2..=bad.len()));
        // With a right digest, as who writes a repository on purpose can make it.
        let _ = index::Index::decode(&name, &bad);
    }
}

#[test]
fn a_clock_that_is_behind_makes_no_point_older() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository(folder.path(), None);
    let mut bytes = vec![1; SIZE];
    let first = back_up(&repo, &bytes, 5_000, None).unwrap();
    bytes[..4096].fill(2);
    let changed = vec![Extent::new(0, 4096)];
    let second = back_up(&repo, &bytes, 1_000, Some((&first.id, changed))).unwrap();
    let third = back_up(&repo, &bytes, 2_000, None).unwrap();
    let order: Vec<String> = repo
        .list()
        .unwrap()
        .into_iter()
        .map(|point| point.id)
        .collect();
    assert_eq!(order, [first.id, second.id, third.id.clone()]);
    let keep = Keep {
        last: 1,
        ..Keep::default()
    };
    prune(&repo, plan(keep), |_| {}).unwrap();
    assert_eq!(bring_back(&repo, &third.id).unwrap(), bytes);
    assert_eq!(repo.list().unwrap().len(), 1);
}

#[test]
fn what_is_read_is_not_removed_and_what_cannot_be_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository(folder.path(), None);
    let bytes = vec![3; SIZE];
    let point = back_up(&repo, &bytes, 1, None).unwrap();
    let keep = Keep {
        last: 1,
        ..Keep::default()
    };
    engine::run(async {
        let image = Image::open(&repo, &point.id).await.unwrap();
        let refused = prune(&repo, plan(keep), |_| {}).unwrap_err().to_string();
        assert!(refused.contains("in use"), "{refused}");
        drop(image);
    })
    .unwrap();
    prune(&repo, plan(keep), |_| {}).unwrap();
    // As on a medium that cannot be written, with a lock that can be read and without one.
    for lock in [true, false] {
        let lower = folder.path();
        if !lock {
            std::fs::remove_file(lower.join("lock")).unwrap();
        }
        mount_bind(lower, lower).unwrap();
        let read_only = MountFlags::BIND | MountFlags::RDONLY;
        let remounted = mount_remount(lower, read_only, c"");
        let found = bring_back(&repo, &point.id);
        let problems = verify(&repo, false, |_| {});
        unmount(lower, UnmountFlags::DETACH).unwrap();
        remounted.unwrap();
        assert!(found.unwrap() == bytes);
        assert_eq!(problems.unwrap().len(), 0);
    }
}
