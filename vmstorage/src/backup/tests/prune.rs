//! Removing what is not needed, also when it is cut off or meets damage.

use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::{back_up, bring_back, chain, change, dying, plan, repository};
use crate::backup::manifest::point_name;
use crate::backup::repo::pack_name;
use crate::backup::store::Local;
use crate::backup::{Keep, Key, Progress, PrunePlan, Pruned, Repository, prune, verify};

const LAST: Keep = Keep {
    last: 1,
    daily: 0,
    weekly: 0,
    monthly: 0,
};

fn packs_bytes(repo: &Repository) -> u64 {
    let packs = repo.store.entries("packs").unwrap();
    packs.iter().map(|(_, len)| len).sum()
}

fn assert_whole(repo: &Repository, point: &(String, Vec<u8>), when: &str) {
    assert!(bring_back(repo, &point.0).unwrap() == point.1, "{when}");
    assert_eq!(verify(repo, false, |_| {}).unwrap(), [], "{when}");
}

#[test]
fn a_run_or_a_prune_that_dies_anywhere_loses_no_kept_point() {
    let (mut runs, mut prunes, mut least) = (0, 0, BTreeSet::new());
    for steps in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let repo = repository(folder.path(), None);
        let mut points = chain(&repo, 5, 1);
        let (id, mut bytes) = points.last().unwrap().clone();
        let mut rng = StdRng::seed_from_u64(6);
        let changed = change(&mut rng, &mut bytes, 40);
        let from = || Some((id.as_str(), changed.clone()));
        let at = 172_800_000;
        let cut = back_up(&dying(folder.path(), &repo, steps), &bytes, at, from());
        runs += u32::from(cut.is_ok());
        let made = cut.or_else(|_| back_up(&repo, &bytes, at, from()));
        points.push((made.unwrap().id, bytes));
        for point in &points {
            assert_whole(&repo, point, &format!("a run of {steps} steps"));
        }
        let last = points.last().unwrap();
        let cut = prune(&dying(folder.path(), &repo, steps), plan(LAST), |_| {});
        prunes += u32::from(cut.is_ok());
        assert_whole(&repo, last, &format!("a prune of {steps} steps"));
        // The next one brings it to its end, whatever the first left.
        prune(&repo, plan(LAST), |_| {}).unwrap();
        assert_whole(&repo, last, &format!("after a prune of {steps} steps"));
        let again = prune(&repo, plan(LAST), |_| {}).unwrap();
        assert_eq!(again, Pruned::default(), "{steps} steps");
        least.insert(packs_bytes(&repo));
    }
    assert!(runs > 0 && prunes > 0, "some get to their end");
    assert!(runs < 60 && prunes < 60, "some do not");
    // Footers differ in length by how many packs there are, and nothing else is left.
    let (first, last) = (least.first().unwrap(), least.last().unwrap());
    assert!(last - first < 1024, "{least:?}");
}

#[test]
fn a_pack_is_written_anew_without_what_nothing_needs() {
    for key in [None, Some(Key::new(&[9; 32]))] {
        let folder = tempfile::tempdir().unwrap();
        let repo = repository(folder.path(), key);
        let points = chain(&repo, 21, 12);
        let before = packs_bytes(&repo);
        let asked = PrunePlan {
            dry_run: true,
            ..plan(LAST)
        };
        let told = prune(&repo, asked, |_| {}).unwrap();
        assert_eq!(packs_bytes(&repo), before);
        let never = PrunePlan {
            max_unused_percent: 100,
            ..asked
        };
        assert_eq!(prune(&repo, never, |_| {}).unwrap().repacked, [""; 0]);
        let mut shown = Progress::default();
        let done = prune(&repo, plan(LAST), |progress| shown = progress).unwrap();
        assert_eq!(done, told);
        assert!(!done.repacked.is_empty() && shown.done_bytes > 0);
        assert_eq!(shown.done_bytes, shown.total_bytes);
        let freed = before - packs_bytes(&repo);
        assert!(freed >= done.freed_bytes / 2, "{freed} of {done:?}");
        assert_whole(&repo, points.last().unwrap(), "written anew");
        for name in &done.repacked {
            assert!(!repo.store.exists(name).unwrap(), "{name}");
        }
    }
}

#[test]
fn a_damaged_pack_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository(folder.path(), None);
    let points = chain(&repo, 21, 12);
    let (id, bytes) = points.last().unwrap();
    let asked = PrunePlan {
        dry_run: true,
        ..plan(LAST)
    };
    let sparse = prune(&repo, asked, |_| {}).unwrap().repacked.remove(0);
    let index = repo.index(&point_name(id)).unwrap();
    let needed = index.chunks.iter();
    let mut needed = needed.filter(|chunk| pack_name(&chunk.pack) == sparse);
    let at = needed.next().unwrap().offset as usize;
    let path = folder.path().join(&sparse);
    let mut content = std::fs::read(&path).unwrap();
    content[at] ^= 1;
    std::fs::write(&path, &content).unwrap();

    prune(&repo, plan(LAST), |_| {}).unwrap();
    assert!(std::fs::read(&path).unwrap() == content);
    let problems = verify(&repo, false, |_| {}).unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].object, sparse);
    content[at] ^= 1;
    std::fs::write(&path, &content).unwrap();
    prune(&repo, plan(LAST), |_| {}).unwrap();
    assert!(!path.exists());
    assert_whole(
        &repo,
        &(id.clone(), bytes.clone()),
        "once it is right again",
    );
}

#[test]
fn points_of_an_earlier_version_have_no_copy_of_their_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository(folder.path(), None);
    let points = chain(&repo, 3, 3);
    let listed = repo.list().unwrap();
    std::fs::remove_dir_all(folder.path().join("manifests")).unwrap();
    assert_eq!(repo.list().unwrap(), listed);
    assert_eq!(repo.find("latest").unwrap(), listed[3]);
    assert_eq!(verify(&repo, false, |_| {}).unwrap(), []);
    prune(&repo, plan(LAST), |_| {}).unwrap();
    assert_whole(&repo, &points[3], "without copies");

    // One whose point is gone goes as well.
    Local::create(folder.path()).unwrap();
    let lost = "manifests/lost";
    repo.store.put(lost, b"a run was cut off").unwrap();
    let pruned = prune(&repo, plan(LAST), |_| {}).unwrap();
    assert_eq!(pruned.leftovers, [lost]);
    assert!(!repo.store.exists(lost).unwrap());
}
