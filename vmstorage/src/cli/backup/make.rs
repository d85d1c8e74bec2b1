//! `vmstorage backup run`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;

use super::super::serve::name_of;
use super::super::units::{parse_size, show_size};
use super::progress::{Reporter, Work};
use super::since::{self, Question, Since};
use super::{Error, Place, say};
use crate::backup::{self, Manifest, Plan, Progress, Repository, plain};
use crate::disk::open::{Format, Source};
use crate::disk::{self, ErrorKind, Extent};

/// Back up a disk that does not change meanwhile: a checkpoint, or the disk of a stopped machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vmstorage backup run root.qcow2 /backups
  vmstorage backup run 'nbd+unix:///root@monday?socket=/run/root.sock' /backups
  vmstorage backup run 'nbd+unix:///root@tuesday?socket=/run/root.sock' /backups --since monday
  vmstorage backup run root.qcow2 /backups --since monday --reference tuesday

The first run makes the repository. A backup of the export DISK@NAME stands for the reference point
NAME, as the checkpoint is called once it is converted; `--reference` says another one, which must
not be later than what is backed up. An increment reads only what changed, and restores alone.")]
pub(super) struct Run {
    /// Path, nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH
    source: String,
    #[command(flatten)]
    place: Place,
    /// The disk's name in the repository; otherwise that of the export or the file
    #[arg(long, value_name = "NAME")]
    disk: Option<String>,
    /// raw, qcow2 or vhdx; otherwise what the extension says
    #[arg(long, value_parser = Format::parse)]
    format: Option<Format>,
    /// Back up what changed since this reference point, on top of the backup that stands for it
    #[arg(long, value_name = "POINT")]
    since: Option<String>,
    /// The map of a closed disk, if it is not beside it as DISK.reeve-map
    #[arg(long, value_name = "FILE", requires = "since")]
    map: Option<PathBuf>,
    /// The reference point that the backup stands for; otherwise the checkpoint's name
    #[arg(long, value_name = "POINT")]
    reference: Option<String>,
    /// The backup that `--changes` is relative to
    #[arg(
        long,
        value_name = "BACKUP",
        requires = "changes",
        conflicts_with = "since"
    )]
    parent: Option<String>,
    /// JSON of what changed since the parent, as `vmstorage refpoint changes --json` prints it
    #[arg(long, value_name = "FILE", requires = "parent")]
    changes: Option<PathBuf>,
    /// Level of zstd
    #[arg(long, default_value_t = 3, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-7..=22))]
    level: i32,
    /// Size of the chunks of a repository that is made: a power of two from 4K to 4M
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "64K")]
    chunk_size: u64,
    /// Back up to a directory of plain qcow2 images, an increment on top of its parent
    #[arg(long, conflicts_with_all = ["encrypt_key", "changes"])]
    plain: bool,
    /// Print what happens as JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Changed {
    offset: u64,
    length: u64,
}

pub(super) async fn run(args: Run) -> Result<(), Error> {
    let source = Source::parse(&args.source).map_err(Error::Usage)?;
    let (name, checkpoint) = named(&source, &args.source);
    let chunk_bytes = u32::try_from(args.chunk_size)
        .ok()
        .filter(|bytes| bytes.is_power_of_two() && (4 << 10..=4 << 20).contains(bytes))
        .ok_or_else(|| Error::Usage("`--chunk-size` is a power of two from 4K to 4M".into()))?;
    let reference = args.reference.clone().or_else(|| checkpoint.clone());
    let disk_name = args.disk.clone().unwrap_or(name);
    if disk_name.is_empty() || disk_name.contains(char::is_control) {
        let message =
            format!("{disk_name:?} is no name of a disk; help: say another with `--disk`");
        return Err(Error::Usage(message));
    }
    check_source(&source)?;
    let place = Target::open(&args, chunk_bytes)?;
    let mut plan = Plan {
        disk: disk_name,
        time_ms: now_ms(),
        level: args.level,
        ..Plan::default()
    };
    let mut since = None;
    if let Some(name) = &args.since {
        let parent = stands_for(place.points()?, &plan.disk, name)?;
        plan.parent = Some(parent.id);
        since = Some(Since {
            name: name.clone(),
            digest: parent.reference_digest,
        });
    }
    let question = Question {
        format: args.format,
        map: args.map.clone(),
        reference: reference.as_deref(),
        checkpoint: checkpoint.as_deref(),
        since,
    };
    let stable = since::open(&source, question).await?;
    plan.reference_digest = stable.reference_digest;
    plan.changed = stable.changed;
    plan.reference = reference;
    if let (Target::Repository(repo), Some(parent), Some(file)) =
        (&place, &args.parent, &args.changes)
    {
        plan.parent = Some(repo.find(parent)?.id);
        plan.changed = Some(read_changes(file)?);
    }
    let mut reporter = Reporter::new(Work::Run, args.json);
    let mut last = Progress::default();
    let show = |progress: Progress| {
        last = progress;
        reporter.show(&progress);
    };
    let made = match &place {
        Target::Repository(repo) => backup::run(stable.opened.disk.clone(), plan, repo, show).await,
        Target::Plain(folder) => plain::run(&stable.opened.disk, plan, folder, show).await,
    };
    let seconds = reporter.finish(&last);
    tell(&made?, &last, seconds, args.json);
    Ok(())
}

/// Where a backup goes.
enum Target {
    Repository(Repository),
    Plain(PathBuf),
}

impl Target {
    fn open(args: &Run, chunk_bytes: u32) -> Result<Self, Error> {
        if args.plain {
            if args.place.repository.contains("://") {
                let message = "`--plain` needs a directory: images cannot be written to a bucket";
                return Err(Error::Usage(message.into()));
            }
            return Ok(Self::Plain(args.place.repository.clone().into()));
        }
        // An increment stands on a backup, so there has to be a repository.
        let increment = args.since.is_some() || args.parent.is_some();
        let repo = match increment {
            true => args.place.open()?,
            false => args.place.make(chunk_bytes)?,
        };
        Ok(Self::Repository(repo))
    }

    fn points(&self) -> disk::Result<Vec<Manifest>> {
        match self {
            Self::Repository(repo) => repo.list(),
            Self::Plain(folder) => plain::list(folder),
        }
    }
}

fn tell(made: &Manifest, last: &Progress, seconds: f64, as_json: bool) {
    if as_json {
        say(json!({"event": "done", "seconds": seconds, "point": made}));
        return;
    }
    say(format!(
        "{} of `{}`: {} read, {} skipped, {} stored, {} deduplicated, in {seconds:.1} s",
        made.id,
        made.disk,
        show_size(last.read_bytes),
        show_size(made.size_bytes.saturating_sub(last.read_bytes)),
        show_size(last.stored_bytes),
        show_size(last.deduplicated_bytes),
    ));
}

/// What a disk is called, and the checkpoint of it: an export is `DISK` or `DISK@CHECKPOINT`.
fn named(source: &Source, text: &str) -> (String, Option<String>) {
    match source {
        Source::Nbd(target) => match target.export.split_once('@') {
            Some((disk, point)) if !disk.is_empty() && !point.is_empty() => {
                (disk.to_owned(), Some(point.to_owned()))
            }
            _ if target.export.is_empty() => ("disk".to_owned(), None),
            _ => (target.export.clone(), None),
        },
        _ => (name_of(text), None),
    }
}

/// The latest backup of a disk that stands for a reference point.
fn stands_for(mut points: Vec<Manifest>, disk: &str, reference: &str) -> Result<Manifest, Error> {
    points.retain(|point| point.disk == disk && point.reference.as_deref() == Some(reference));
    let found = points.pop().ok_or_else(|| {
        let message = format!(
            "no backup of disk `{disk}` stands for reference point `{reference}`; help: run once \
             without `--since`, of the checkpoint's export or with `--reference`"
        );
        disk::Error::new(ErrorKind::FullNeeded, message)
    });
    Ok(found?)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Nothing is made for a disk that is not there.
fn check_source(source: &Source) -> disk::Result<()> {
    let Source::File(path) = source else {
        return Ok(());
    };
    let found = std::fs::metadata(path).map(drop);
    found.map_err(|error| disk::Error::io(format!("open `{}`", path.display()), error))
}

fn read_changes(path: &PathBuf) -> Result<Vec<Extent>, Error> {
    let show = path.display();
    let text =
        std::fs::read(path).map_err(|error| disk::Error::io(format!("read `{show}`"), error))?;
    let parts: Vec<Changed> = serde_json::from_slice(&text)
        .map_err(|error| Error::Usage(format!("`{show}` is no list of changes: {error}")))?;
    let extents = parts
        .into_iter()
        .map(|part| Extent::new(part.offset, part.length));
    Ok(extents.collect())
}
