//! Increments: the time and the bytes of a backup of what changed.
//!
//! Every contestant has a disk of its own in turn, is told to back it up in full, and then backs up
//! what fio changed, again and again. In the end the last backup is compared with the disk.

mod ours;
mod qemu;
mod qmp;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::load::Change;
use super::running::Running;
use crate::bench::progress::Progress;
use crate::bench::table::Table;
use crate::cmd::Cmd;
use ours::Ours;
use qemu::Qemu;

/// What changes between two backups.
pub(crate) const CHANGES: &[Change] = &[
    Change::new("1 % in 4 KiB", 1, true),
    Change::new("1 % in one place", 1, false),
    Change::new("10 % in 4 KiB", 10, true),
    Change::new("10 % in one place", 10, false),
];

/// What the increment of 1 % in 4 KiB may take of QEMU's time and bytes.
const SCATTERED_MOST: f64 = 0.1;

/// Who backs up a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    /// `vmstorage`, with tracked blocks of so many KiB, to a repository or to plain images.
    Ours { block_kib: u32, plain: bool },
    /// QEMU's dirty bitmaps and backup job, with a granularity in KiB.
    Qemu { granularity_kib: u32 },
}

const CONTESTANTS: &[Contestant] = &[
    Contestant::Ours {
        block_kib: 64,
        plain: false,
    },
    Contestant::Ours {
        block_kib: 4,
        plain: false,
    },
    Contestant::Ours {
        block_kib: 4,
        plain: true,
    },
    Contestant::Qemu {
        granularity_kib: 64,
    },
    Contestant::Qemu { granularity_kib: 4 },
];

/// A disk that is served, and increments of it.
trait Chain {
    /// Where fio writes.
    fn running(&self) -> &Running;
    /// Backs up what changed since the last time, durably.
    fn increment(&mut self) -> Result<()>;
    /// Stops the server; a URI or path of the last backup, and its format.
    fn last(self: Box<Self>) -> Result<Last>;
}

/// The last backup, as QEMU's tools read it.
struct Last {
    image: String,
    format: &'static str,
    /// Serves it, if somebody has to.
    _server: Option<Running>,
}

/// One increment.
#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    contestant: String,
    change: &'static str,
    seconds: f64,
    /// What the backups grew by on the disk.
    stored_mib: f64,
}

impl Contestant {
    fn name(self) -> String {
        match self {
            Self::Ours { block_kib, plain } => {
                let kind = if plain { "plain" } else { "repository" };
                format!("vmstorage, {block_kib} KiB, {kind}")
            }
            Self::Qemu { granularity_kib } => format!("QEMU, {granularity_kib} KiB"),
        }
    }

    fn start(self, vmstorage: &Path, disk: &Path, dir: &Path) -> Result<Box<dyn Chain>> {
        Ok(match self {
            Self::Ours { block_kib, plain } => {
                Box::new(Ours::start(vmstorage, disk, dir, block_kib, plain)?)
            }
            Self::Qemu { granularity_kib } => Box::new(Qemu::start(disk, dir, granularity_kib)?),
        })
    }
}

/// Measures all of them on a disk of `size_mib`.
pub(crate) fn measure(
    vmstorage: &Path,
    dir: &Path,
    size_mib: u64,
    rounds: u64,
) -> Result<Vec<Sample>> {
    let disk = dir.join("changing.raw");
    super::random_image(&disk, size_mib)?;
    let progress = Progress::new("increments", rounds * CONTESTANTS.len() as u64);
    let mut samples = Vec::new();
    for round in 0..rounds as usize {
        for turn in 0..CONTESTANTS.len() {
            let contestant = CONTESTANTS[(round + turn) % CONTESTANTS.len()];
            let place = tempfile::tempdir_in(dir).context("make a directory for backups")?;
            let measured = one(contestant, vmstorage, &disk, place.path(), size_mib);
            samples.extend(measured.with_context(|| contestant.name())?);
            progress.step();
        }
    }
    Ok(samples)
}

fn one(
    contestant: Contestant,
    vmstorage: &Path,
    disk: &Path,
    dir: &Path,
    size_mib: u64,
) -> Result<Vec<Sample>> {
    let backups = dir.join("backups");
    fs::create_dir(&backups).context("make a directory for backups")?;
    let mut chain = contestant.start(vmstorage, disk, dir)?;
    let mut samples = Vec::new();
    for change in CHANGES {
        change.make(chain.running(), size_mib)?;
        Cmd::new("sync").run()?;
        let before = allocated(&backups)?;
        let begun = Instant::now();
        chain.increment()?;
        let seconds = begun.elapsed().as_secs_f64();
        samples.push(Sample {
            contestant: contestant.name(),
            change: change.name,
            seconds,
            stored_mib: (allocated(&backups)? - before) as f64 / f64::from(1 << 20),
        });
    }
    let last = chain.last()?;
    let same = Cmd::new("qemu-img").args(["compare", "-f", last.format, "-F", "raw"]);
    same.arg(&last.image).arg(disk).quiet()?;
    Ok(samples)
}

/// Bytes of a folder's files on the disk.
fn allocated(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).context("read the backups")? {
        let entry = entry.context("read the backups")?;
        let meta = entry.metadata().context("stat a backup")?;
        bytes += match meta.is_dir() {
            true => allocated(&entry.path())?,
            false => meta.blocks() * 512,
        };
    }
    Ok(bytes)
}

/// Seconds, bytes, and what they are of QEMU's.
pub(crate) fn tables(samples: &[Sample]) -> Vec<Table> {
    let median = |contestant: Contestant, change: &str, value: fn(&Sample) -> f64| {
        let name = contestant.name();
        let of = |sample: &&Sample| sample.contestant == name && sample.change == change;
        let values = samples.iter().filter(of).map(value).collect();
        super::report::median(values)
    };
    let names: Vec<String> = CONTESTANTS.iter().map(|one| one.name()).collect();
    let mut header = vec![""];
    header.extend(names.iter().map(String::as_str));
    header.push("best of ours / QEMU, 64 KiB");
    let peer = Contestant::Qemu {
        granularity_kib: 64,
    };
    let one = |title: &str, value: fn(&Sample) -> f64, places: usize| {
        let mut table = Table::new(title, &header);
        for change in CHANGES {
            let cell = |contestant: &Contestant| median(*contestant, change.name, value);
            let ours = CONTESTANTS
                .iter()
                .filter(|one| matches!(one, Contestant::Ours { .. }));
            let best = ours.filter_map(cell).reduce(f64::min);
            let ratio = best.zip(cell(&peer)).map(|(ours, peer)| ours / peer);
            let cells = CONTESTANTS
                .iter()
                .map(|one| super::report::cell(cell(one), places));
            let row = std::iter::once(change.name.to_owned()).chain(cells);
            table.row(row.chain([super::report::cell(ratio, 2)]));
        }
        table
    };
    let seconds = one("increments: seconds", |sample| sample.seconds, 2);
    let mut bytes = one("increments: MiB on the disk", |sample| sample.stored_mib, 0);
    bytes.note(format!(
        "Wanted: no more than QEMU's, and {SCATTERED_MOST} of it for 1 % in 4 KiB."
    ));
    vec![seconds, bytes]
}
