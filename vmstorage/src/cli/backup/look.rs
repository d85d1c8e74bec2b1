//! `vmstorage backup list | verify | prune`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::super::refpoint::utc;
use super::super::units::show_size;
use super::progress::{Reporter, Work};
use super::{Error, Place, say};
use crate::backup::{self, Keep, Manifest, Problem, Progress, PrunePlan, plain};
use crate::disk::ErrorKind;

/// How many digits of an id are shown at least.
const SHORT: usize = 8;

/// Show the points of a repository, the oldest first
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// Only points of this disk
    #[arg(long, value_name = "NAME")]
    disk: Option<String>,
    /// It is a directory of plain qcow2 images
    #[arg(long, conflicts_with = "encrypt_key")]
    plain: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &List) -> Result<(), Error> {
    let mut points = if args.plain {
        plain::list(Path::new(&args.place.repository))?
    } else {
        args.place.open()?.list()?
    };
    let short = if args.plain {
        let whole = points
            .iter()
            .map(|point| (point.id.clone(), point.id.clone()));
        whole.collect()
    } else {
        short(&points)
    };
    if let Some(disk) = &args.disk {
        points.retain(|point| point.disk == *disk);
    }
    if args.json {
        say(json!(points));
        return Ok(());
    }
    let heads = [
        "POINT",
        "DISK",
        "TIME",
        "SIZE",
        "STORED",
        "PARENT",
        "REFERENCE",
    ];
    let rows = points.iter().map(|point| row(point, &short));
    let rows: Vec<[String; 7]> = std::iter::once(heads.map(str::to_owned))
        .chain(rows)
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in &rows {
        let cells = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (text, width))| {
                // Sizes are compared by their ends.
                if (3..=4).contains(&column) {
                    format!("{text:>width$}")
                } else {
                    format!("{text:width$}")
                }
            });
        say(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    Ok(())
}

fn row(point: &Manifest, short: &BTreeMap<String, String>) -> [String; 7] {
    let parent = point.parent.as_ref().map_or("-", |id| {
        // One that was pruned is shown by its beginning.
        short
            .get(id)
            .map_or_else(|| id.get(..SHORT).unwrap_or(id), String::as_str)
    });
    [
        short.get(&point.id).unwrap_or(&point.id).clone(),
        point.disk.clone(),
        utc(point.time_ms / 1000),
        show_size(point.size_bytes),
        show_size(point.stored_bytes),
        parent.to_owned(),
        point.reference.clone().unwrap_or_else(|| "-".into()),
    ]
}

/// Beginnings of ids that are unique.
fn short(points: &[Manifest]) -> BTreeMap<String, String> {
    let unique = |id: &str, len: usize| {
        let begin = id.get(..len).unwrap_or(id);
        let same = points.iter().filter(|point| point.id.starts_with(begin));
        same.count() == 1
    };
    let ids = points.iter().map(|point| {
        let id = &point.id;
        let len = (SHORT..id.len()).find(|len| unique(id, *len));
        let begin = len.and_then(|len| id.get(..len)).unwrap_or(id);
        (id.clone(), begin.to_owned())
    });
    ids.collect()
}

/// Read everything, and print what is wrong; exit status 1 if something is
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Look at structure only, not at data
    #[arg(long)]
    quick: bool,
    /// Print what happens as JSON, one object a line; the last has the problems
    #[arg(long)]
    json: bool,
}

pub(super) fn verify(args: &Verify) -> Result<(), Error> {
    let mut reporter = Reporter::new(Work::Verify, args.json);
    let mut last = Progress::default();
    let show = |progress: Progress| {
        last = progress;
        reporter.show(&progress);
    };
    let checked = match args.place.open() {
        Ok(repo) => backup::verify(&repo, args.quick, show),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(vec![Problem {
            object: "config".into(),
            bytes: None,
            what: error.to_string(),
            hits: Vec::new(),
        }]),
        Err(error) => Err(error),
    };
    let seconds = reporter.finish(&last);
    let problems = checked?;
    if args.json {
        say(json!({"event": "done", "seconds": seconds, "problems": problems}));
    } else {
        problems.iter().for_each(print);
        if !args.quick
            && problems
                .iter()
                .any(|problem| problem.object.starts_with("packs/"))
        {
            say("the next full backup stores what it needs of the damaged packs again");
        }
    }
    if problems.is_empty() {
        if !args.json {
            say("everything is as it was stored");
        }
        return Ok(());
    }
    Err(Error::Negative)
}

fn print(problem: &Problem) {
    match problem.bytes {
        Some((from, to)) => say(format!(
            "`{}` bytes {from}..{to}: {}",
            problem.object, problem.what
        )),
        None => say(format!("`{}`: {}", problem.object, problem.what)),
    }
    for (point, from, to) in &problem.hits {
        if *to == u64::MAX {
            say(format!("  hits all of point {point}"));
        } else {
            say(format!(
                "  hits point {point} in the disk's bytes {from}..{to}"
            ));
        }
    }
}

/// Remove points that no rule keeps, and data that no point needs
///
/// Data lies in packs. One that nothing needs is removed; one of which a part is needed stays,
/// unless that leaves more than `--max-unused` of it unused: then what is needed is written anew.
#[derive(Debug, clap::Args)]
pub(super) struct Prune {
    #[command(flatten)]
    place: Place,
    /// Keep so many of the newest points of each disk
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    keep_last: usize,
    /// Keep the newest point of each of so many days
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    keep_daily: usize,
    /// Keep the newest point of each of so many weeks
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    keep_weekly: usize,
    /// Keep the newest point of each of so many months
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    keep_monthly: usize,
    /// Write packs anew of whose data a greater part is not needed, in percent; 100: none
    #[arg(long, default_value_t = 20, value_name = "PERCENT",
          value_parser = clap::value_parser!(u8).range(..=100))]
    max_unused: u8,
    /// Print what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn prune(args: &Prune) -> Result<(), Error> {
    let keep = Keep {
        last: args.keep_last,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
    };
    if keep == Keep::default() {
        let message = "nothing would be kept; help: say `--keep-last` or another rule";
        return Err(Error::Usage(message.into()));
    }
    let plan = PrunePlan {
        keep,
        max_unused_percent: args.max_unused,
        dry_run: args.dry_run,
    };
    let mut reporter = (!args.json).then(|| Reporter::new(Work::Prune, false));
    let mut last = Progress::default();
    let pruned = backup::prune(&args.place.open()?, plan, |progress| {
        last = progress;
        if let Some(reporter) = &mut reporter {
            reporter.show(&progress);
        }
    });
    if let Some(reporter) = &mut reporter {
        reporter.finish(&last);
    }
    let pruned = pruned?;
    if args.json {
        say(json!(pruned));
        return Ok(());
    }
    let (removes, repacks) = match args.dry_run {
        true => ("would remove", "would write anew"),
        false => ("removed", "wrote anew"),
    };
    for point in &pruned.points {
        say(format!("{removes} point {point}"));
    }
    let count = |all: &[String], one: &str| {
        let s = if all.len() == 1 { "" } else { "s" };
        format!("{} {one}{s}", all.len())
    };
    say(format!(
        "{removes} {}, {}, {}; {repacks} {}; {} of data",
        count(&pruned.points, "point"),
        count(&pruned.packs, "pack"),
        count(&pruned.leftovers, "leftover"),
        count(&pruned.repacked, "pack"),
        show_size(pruned.freed_bytes),
    ));
    Ok(())
}
