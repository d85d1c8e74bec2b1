//! `vmstorage image convert | compare`.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::say;
use super::super::staged::Staged;
use super::super::units::show_size;
use super::{Error, close, new_format, opened};
use crate::disk;
use crate::disk::copy::{self, Options, Progress};
use crate::disk::open::{self, Format, Opened};
use crate::engine::sleep;

/// Copy a disk into a new image; parts without data stay without space
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vmstorage image convert root.qcow2 root.vhdx
  vmstorage image convert 'nbd+unix:///root@monday?socket=/run/root.sock' monday.qcow2
  vmstorage image convert --json --format raw disk.img copy.raw")]
pub(super) struct Convert {
    /// The disk to copy
    source: String,
    /// The image to make; what exists is not touched, unless `--existing` is said. It has this name
    /// when it is whole, and `.partial` behind it before
    target: PathBuf,
    /// Format of the source; without it the extension decides
    #[arg(short, long, value_parser = Format::parse)]
    format: Option<Format>,
    /// Format of the target; without it the extension decides
    #[arg(short = 'O', long, value_parser = Format::parse)]
    target_format: Option<Format>,
    /// Copy into an image or block device that exists
    #[arg(long)]
    existing: bool,
    /// Requests at once
    #[arg(long, default_value_t = 16, value_name = "NUMBER")]
    requests: usize,
    /// Print what was done as JSON, and no progress
    #[arg(long)]
    json: bool,
}

pub(super) async fn convert(args: Convert) -> Result<(), Error> {
    let begin = Instant::now();
    let source = opened(&args.source, args.format, true).await?;
    let size = source.disk.geometry().size_bytes;
    let staged = match args.existing {
        true => None,
        false => Some(Staged::new(&args.target).await?),
    };
    let target = target(&args, staged.as_ref().map(Staged::path), size).await?;
    let room = target.disk.geometry().size_bytes;
    if room < size {
        let (from, to) = (&args.source, args.target.display());
        let message = format!("`{to}` has {room} bytes, fewer than the {size} of `{from}`");
        return Err(Error::Usage(message));
    }
    let options = Options {
        requests: args.requests,
        target_is_zero: !args.existing,
        find_zeroes: true,
    };
    let progress = Rc::new(Progress::default());
    let copying = copy::copy(&source.disk, &target.disk, options, &progress);
    let done = shown(size, &progress, args.json, copying).await;
    close(&target, done).await?;
    staged.map_or(Ok(()), Staged::keep)?;
    let seconds = begin.elapsed().as_secs_f64();
    if args.json {
        say(json!({
            "size_bytes": size,
            "copied_bytes": progress.copied_bytes.get(),
            "zero_bytes": progress.zero_bytes.get(),
            "seconds": seconds,
        }));
        return Ok(());
    }
    let (copied, zero) = (progress.copied_bytes.get(), progress.zero_bytes.get());
    say(format!(
        "{} copied, {} skipped, in {seconds:.1} s",
        show_size(copied),
        show_size(zero)
    ));
    Ok(())
}

/// What is copied to: a new image at `made`, or one that exists.
async fn target(args: &Convert, made: Option<&Path>, size: u64) -> Result<Opened, Error> {
    let Some(made) = made else {
        let path = args.target.to_string_lossy();
        return opened(&format!("file:{path}"), args.target_format, false).await;
    };
    let format = new_format(&args.target, args.target_format)?;
    Ok(open::create(made, format, size).await?)
}

/// Shows how far something is until it ends.
async fn shown<T>(
    size: u64,
    progress: &Progress,
    quiet: bool,
    work: impl Future<Output = disk::Result<T>>,
) -> disk::Result<T> {
    if quiet {
        return work.await;
    }
    let bar = ProgressBar::new(size);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:30} {bytes:>10} / {total_bytes}  {binary_bytes_per_sec:>12}  {eta} left",
    ) {
        bar.set_style(style);
    }
    let mut work = pin!(work);
    loop {
        bar.set_position(progress.done_bytes.get());
        match select(work, pin!(sleep(Duration::from_millis(100)))).await {
            Either::Left((done, _)) => {
                bar.finish_and_clear();
                return done;
            }
            Either::Right(((), unfinished)) => work = unfinished,
        }
    }
}

/// Find the first byte in which two disks differ; exit status 1 if they do
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where one disk is longer, the rest of it has to be zero.

Examples:
  vmstorage image compare root.qcow2 root.vhdx
  vmstorage image compare --format raw disk.img nbd://host/disk")]
pub(super) struct Compare {
    /// A disk
    one: String,
    /// Another one
    other: String,
    /// Format of the first; without it the extension decides
    #[arg(short, long, value_parser = Format::parse)]
    format: Option<Format>,
    /// Format of the second; without it the extension decides
    #[arg(short = 'F', long, value_parser = Format::parse)]
    other_format: Option<Format>,
    /// Print the answer as JSON, and no progress
    #[arg(long)]
    json: bool,
}

pub(super) async fn compare(args: Compare) -> Result<(), Error> {
    let one = opened(&args.one, args.format, true).await?;
    let other = opened(&args.other, args.other_format, true).await?;
    let sizes = (
        one.disk.geometry().size_bytes,
        other.disk.geometry().size_bytes,
    );
    let progress = Rc::new(Progress::default());
    let comparing = copy::compare(&one.disk, &other.disk, &progress);
    let difference = shown(sizes.0.max(sizes.1), &progress, args.json, comparing).await?;
    if args.json {
        say(json!({ "identical": difference.is_none(), "first_difference": difference }));
    } else {
        match difference {
            None => say("identical"),
            Some(at) => say(format!("they differ at byte {at}")),
        }
    }
    match difference {
        None => Ok(()),
        Some(_) => Err(Error::Negative),
    }
}
