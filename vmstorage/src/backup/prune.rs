//! Removing points, then the packs that no point needs, and the unneeded parts of others.

use std::collections::{BTreeMap, BTreeSet};

use super::Progress;
use super::manifest::{Copies, Manifest, copy_name, point_name};
use super::repack::{Used, repack};
use super::repo::Repository;
use crate::disk::Result;

const DAY_MS: u64 = 86_400_000;

/// How many points of each disk are kept; one that any rule keeps stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// The newest ones.
    pub last: usize,
    /// The newest of each of the newest days that have one (UTC).
    pub daily: usize,
    /// The same by weeks, which begin on Monday.
    pub weekly: usize,
    /// The same by months.
    pub monthly: usize,
}

/// What is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The points that stay.
    pub keep: Keep,
    /// Packs of whose data a greater part is not needed are written anew without it, in percent.
    pub max_unused_percent: u8,
    /// Only tell.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Ids of points.
    pub points: Vec<String>,
    /// Objects with data that nothing needs.
    pub packs: Vec<String>,
    /// Objects with data of which a part was needed, and is in new ones.
    pub repacked: Vec<String>,
    /// What writers that were cut off left behind.
    pub leftovers: Vec<String>,
    /// Bytes of data that are gone, about.
    pub freed_bytes: u64,
}

/// Removes points that `keep` does not keep, and what only they needed. Points go first, so that a
/// prune that is cut off leaves only data that nothing names, which the next one removes. Told is
/// how many bytes of packs were written anew.
///
/// # Errors
/// Of the store; when it is in use; when any point is damaged, since what it needs is not known.
pub fn prune(repo: &Repository, plan: Plan, sink: impl FnMut(Progress)) -> Result<Pruned> {
    let _lock = repo.store.lock(!plan.dry_run)?;
    let mut disks: BTreeMap<String, Vec<Manifest>> = BTreeMap::new();
    for manifest in repo.points(|_, error| Err(error))? {
        disks
            .entry(manifest.disk.clone())
            .or_default()
            .push(manifest);
    }
    let kept: BTreeSet<String> = disks
        .values()
        .flat_map(|points| chosen(points, plan.keep))
        .collect();
    let mut used = Used::default();
    for id in &kept {
        used.add(&repo.index(&point_name(id))?);
    }
    let all = disks.into_values().flatten().map(|point| point.id);
    let entries = repo.store.entries("packs")?;
    let (needed, gone): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(name, _)| used.has(name));
    let sparse = used.sparse(repo, &needed, plan.max_unused_percent);
    let freed = gone.iter().map(|(_, len)| len).sum::<u64>();
    let mut leftovers = repo.store.leftovers()?;
    leftovers.extend(Copies::of(repo).without_point(&repo.snapshots()?));
    let pruned = Pruned {
        points: all.filter(|id| !kept.contains(id)).collect(),
        packs: gone.into_iter().map(|(name, _)| name).collect(),
        repacked: sparse.iter().map(|pack| pack.name.clone()).collect(),
        leftovers,
        freed_bytes: freed + sparse.iter().map(|pack| pack.unused_bytes).sum::<u64>(),
    };
    if !plan.dry_run {
        for id in &pruned.points {
            repo.store.delete(&point_name(id))?;
            repo.store.delete(&copy_name(id))?;
        }
        for name in pruned.packs.iter().chain(&pruned.leftovers) {
            repo.store.delete(name)?;
        }
        // What it writes is not taken for something that nothing needs, which is gone by now.
        repack(repo, &kept, &used, &sparse, sink)?;
    }
    Ok(pruned)
}

/// The number of the period that a day is in.
type Period = fn(u64) -> u64;

/// Ids that are kept of one disk's points, which are sorted by time.
fn chosen(points: &[Manifest], keep: Keep) -> BTreeSet<String> {
    let newest = points.iter().rev();
    let mut kept: BTreeSet<String> = newest
        .clone()
        .take(keep.last)
        .map(|p| p.id.clone())
        .collect();
    let rules: [(usize, Period); 3] = [
        (keep.daily, |day| day),
        // The first day of 1970 was a Thursday.
        (keep.weekly, |day| (day + 3) / 7),
        (keep.monthly, month),
    ];
    for (count, period) in rules {
        let mut seen = BTreeSet::new();
        for point in newest.clone() {
            if seen.len() < count && seen.insert(period(point.time_ms / DAY_MS)) {
                kept.insert(point.id.clone());
            }
        }
    }
    kept
}

/// Months since the year 0 of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn month(day: u64) -> u64 {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    (era * 400 + year) * 12 + (5 * of_year + 2) / 153
}
