//! `vmstorage image create | resize`.

use std::path::PathBuf;

use super::super::units::parse_size;
use super::{Error, close, new_format, opened};
use crate::disk::open::{self, Format};

/// Make an empty image; what exists is not touched
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vmstorage image create root.qcow2 20G
  vmstorage image create --format raw /images/data 1T")]
pub(super) struct Create {
    /// Where
    path: PathBuf,
    /// Size of the disk, such as 20G
    #[arg(value_parser = parse_size)]
    size: u64,
    /// raw, qcow2 or vhdx; without it the extension decides
    #[arg(short, long, value_parser = Format::parse)]
    format: Option<Format>,
}

pub(super) async fn create(args: Create) -> Result<(), Error> {
    let format = new_format(&args.path, args.format)?;
    let made = open::create(&args.path, format, args.size).await?;
    close(&made, Ok(())).await
}

/// Change the size of a disk; new bytes are zero
#[derive(Debug, clap::Args)]
pub(super) struct Resize {
    /// The disk
    disk: String,
    /// Its size, such as 40G
    #[arg(value_parser = parse_size)]
    size: u64,
    /// raw, qcow2 or vhdx; without it the extension decides
    #[arg(short, long, value_parser = Format::parse)]
    format: Option<Format>,
    /// Let it shrink, and lose what is beyond
    #[arg(long)]
    shrink: bool,
}

pub(super) async fn resize(args: Resize) -> Result<(), Error> {
    let image = opened(&args.disk, args.format, false).await?;
    let now = image.disk.geometry().size_bytes;
    if args.size < now && !args.shrink {
        close(&image, Ok(())).await?;
        return Err(Error::Usage(format!(
            "`{}` would shrink from {now} to {} bytes and lose the rest; help: `--shrink`",
            args.disk, args.size
        )));
    }
    let done = image.disk.resize(args.size).await;
    close(&image, done).await
}
