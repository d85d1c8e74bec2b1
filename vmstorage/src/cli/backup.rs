//! `vmstorage backup`: points of disks in a repository.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde::Deserialize;

use super::{Error, say};
use crate::backup::{self, Image, Keep, Key, Plan, Progress, Repository};
use crate::disk::open::{self, Format, Options, Source};
use crate::disk::{self, Extent};
use crate::engine;

/// Back up disks to a repository, and bring any point back
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory, or s3://BUCKET/PREFIX with the AWS_… variables of the environment
    repository: String,
    /// File of 32 random bytes that the repository is encrypted with
    #[arg(long)]
    encrypt_key: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a repository
    Init {
        /// Bytes of a chunk of a full backup
        #[arg(long, default_value_t = 65_536)]
        chunk_bytes: u32,
    },
    /// Back up a disk that does not change meanwhile
    Run {
        /// Path, nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH
        source: String,
        /// The disk's name in the repository
        #[arg(long)]
        disk: String,
        /// raw, qcow2 or vhdx
        #[arg(long, value_parser = Format::parse)]
        format: Option<Format>,
        /// The point that the changes are relative to
        #[arg(long, requires = "changes")]
        parent: Option<String>,
        /// JSON of what changed since the parent: [{"offset": 0, "length": 4096}, …]
        #[arg(long, requires = "parent")]
        changes: Option<PathBuf>,
        /// Level of zstd
        #[arg(long, default_value_t = 3)]
        level: i32,
    },
    /// Print the points, one JSON object a line
    List,
    /// Read everything, and print what is wrong
    Verify {
        /// Look at structure only, not at data
        #[arg(long)]
        quick: bool,
    },
    /// Bring a point back to a new image
    Restore {
        /// The point's id
        point: String,
        /// Path of the image
        target: PathBuf,
        /// raw, qcow2 or vhdx; otherwise what the extension says
        #[arg(long, value_parser = Format::parse)]
        format: Option<Format>,
    },
    /// Remove points that no rule keeps, and data that no point needs
    Prune {
        /// Newest points of each disk
        #[arg(long, default_value_t = 0)]
        keep_last: usize,
        /// Days
        #[arg(long, default_value_t = 0)]
        keep_daily: usize,
        /// Weeks
        #[arg(long, default_value_t = 0)]
        keep_weekly: usize,
        /// Months
        #[arg(long, default_value_t = 0)]
        keep_monthly: usize,
        /// Print what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Deserialize)]
struct Changed {
    offset: u64,
    length: u64,
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let done = engine::run(act(args));
    done.map_err(|error| disk::Error::io("start an engine", error))?
}

async fn act(args: Args) -> Result<(), Error> {
    let key = args
        .encrypt_key
        .as_deref()
        .map(Key::from_file)
        .transpose()?;
    let store = backup::open_store(&args.repository)?;
    if let Command::Init { chunk_bytes } = args.command {
        return Ok(Repository::create(store, key, chunk_bytes).map(drop)?);
    }
    let repo = Repository::open(store, key)?;
    match args.command {
        Command::Init { .. } => {}
        Command::List => {
            for point in repo.list()? {
                say(serde_json::json!(point));
            }
        }
        Command::Verify { quick } => {
            let problems = backup::verify(&repo, quick)?;
            for problem in &problems {
                say(serde_json::json!(problem));
            }
            if !problems.is_empty() {
                return Err(Error::Negative);
            }
        }
        Command::Run {
            source,
            disk,
            format,
            parent,
            changes,
            level,
        } => {
            let plan = Plan {
                disk,
                time_s: now_s(),
                parent,
                changed: changes.map(read_changes).transpose()?,
                reference: None,
                level,
            };
            make(&repo, &source, format, plan).await?;
        }
        Command::Restore {
            point,
            target,
            format,
        } => bring_back(&repo, &point, &target, format).await?,
        Command::Prune {
            keep_last: last,
            keep_daily: daily,
            keep_weekly: weekly,
            keep_monthly: monthly,
            dry_run,
        } => {
            if [last, daily, weekly, monthly] == [0; 4] {
                let message = "nothing would be kept; help: say `--keep-last` or another rule";
                return Err(Error::Usage(message.into()));
            }
            let keep = Keep {
                last,
                daily,
                weekly,
                monthly,
            };
            say(serde_json::json!(backup::prune(&repo, keep, dry_run)?));
        }
    }
    Ok(())
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn read_changes(path: PathBuf) -> Result<Vec<Extent>, Error> {
    let show = path.display();
    let text =
        std::fs::read(&path).map_err(|error| disk::Error::io(format!("read `{show}`"), error))?;
    let parts: Vec<Changed> = serde_json::from_slice(&text)
        .map_err(|error| Error::Usage(format!("`{show}` is no list of changes: {error}")))?;
    let extents = parts
        .into_iter()
        .map(|part| Extent::new(part.offset, part.length));
    Ok(extents.collect())
}

async fn make(
    repo: &Repository,
    source: &str,
    format: Option<Format>,
    plan: Plan,
) -> Result<(), Error> {
    let source = Source::parse(source).map_err(Error::Usage)?;
    let options = Options {
        format,
        read_only: true,
        ..Options::default()
    };
    let opened = open::open(&source, options).await?;
    let bar = indicatif::ProgressBar::new(0);
    let show = |progress: Progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
    };
    let made = backup::run(opened.disk.clone(), plan, repo, show).await;
    bar.finish_and_clear();
    say(serde_json::json!(made?));
    Ok(())
}

async fn bring_back(
    repo: &Repository,
    point: &str,
    target: &std::path::Path,
    format: Option<Format>,
) -> Result<(), Error> {
    let image = Image::open(repo, point).await?;
    let Some(format) = format.or_else(|| Format::of_extension(target)) else {
        return Err(Error::Usage("help: say the target's `--format`".into()));
    };
    let opened = open::create(target, format, image.manifest().size_bytes).await?;
    let done = backup::restore(image, &opened.disk, true).await;
    let closed = opened.close().await;
    Ok(done.and(closed)?)
}
