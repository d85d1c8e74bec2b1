//! Removing points, and then the packs that no point needs.

use std::collections::{BTreeMap, BTreeSet};

use super::index::Manifest;
use super::repo::{Repository, pack_name};
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

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Ids of points.
    pub points: Vec<String>,
    /// Objects with data.
    pub packs: Vec<String>,
    /// Files that writers which were cut off left behind.
    pub leftovers: Vec<String>,
}

/// Removes points that `keep` does not keep. Points go first, so that a prune that is cut off
/// leaves only data that nothing names, which the next one removes.
///
/// # Errors
/// Of the store; when it is in use; when any point is damaged, since what it needs is not known.
pub fn prune(repo: &Repository, keep: Keep, dry_run: bool) -> Result<Pruned> {
    let _lock = repo.store.lock(!dry_run)?;
    let mut disks: BTreeMap<String, Vec<Manifest>> = BTreeMap::new();
    for manifest in repo.list()? {
        disks
            .entry(manifest.disk.clone())
            .or_default()
            .push(manifest);
    }
    let kept: BTreeSet<String> = disks
        .values()
        .flat_map(|points| chosen(points, keep))
        .collect();
    let mut needed = BTreeSet::new();
    for id in &kept {
        let index = repo.index(&format!("snapshots/{id}"))?;
        needed.extend(index.chunks.iter().map(|chunk| pack_name(&chunk.pack)));
    }
    let all = disks.into_values().flatten().map(|point| point.id);
    let packs = repo.store.list("packs")?;
    let pruned = Pruned {
        points: all.filter(|id| !kept.contains(id)).collect(),
        packs: packs
            .into_iter()
            .filter(|pack| !needed.contains(pack))
            .collect(),
        leftovers: repo.store.leftovers()?,
    };
    if !dry_run {
        for id in &pruned.points {
            repo.store.delete(&format!("snapshots/{id}"))?;
        }
        for name in pruned.packs.iter().chain(&pruned.leftovers) {
            repo.store.delete(name)?;
        }
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
