//! `vmstorage image info | map | check`.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::super::say;
use super::super::units::show_size;
use super::{Error, opened};
use crate::disk::open::{Format, Source};
use crate::disk::{self, Disk, ErrorKind, Extent, Status};

/// Parts that are asked for at once.
const PARTS: usize = 1024;

/// Show what an image is
#[derive(Debug, clap::Args)]
pub(super) struct Info {
    /// The disk
    disk: String,
    /// raw, qcow2 or vhdx; without it the extension decides
    #[arg(short, long, value_parser = Format::parse)]
    format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn info(args: Info) -> Result<(), Error> {
    let image = opened(&args.disk, args.format, true).await?;
    let geometry = image.disk.geometry();
    let used = match Source::parse(&args.disk) {
        Ok(Source::File(path)) => std::fs::metadata(path).ok().map(|meta| meta.blocks() * 512),
        _ => None,
    };
    let details = image.describe();
    if args.json {
        say(json!({
            "disk": args.disk,
            "format": image.format.name(),
            "size_bytes": geometry.size_bytes,
            "used_bytes": used,
            "details": details,
        }));
        return Ok(());
    }
    say(format!("disk:   {}", args.disk));
    say(format!("format: {}", image.format.name()));
    say(format!(
        "size:   {} ({} bytes)",
        show_size(geometry.size_bytes),
        geometry.size_bytes
    ));
    if let Some(used) = used {
        say(format!("used:   {}", show_size(used)));
    }
    if let Value::Object(details) = details {
        for (key, value) in details {
            let shown = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            say(format!("{}: {shown}", key.replace('_', " ")));
        }
    }
    Ok(())
}

/// Show which parts of a disk hold data
#[derive(Debug, clap::Args)]
pub(super) struct Map {
    /// The disk
    disk: String,
    /// raw, qcow2 or vhdx; without it the extension decides
    #[arg(short, long, value_parser = Format::parse)]
    format: Option<Format>,
    /// Print JSON, one part a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn map(args: Map) -> Result<(), Error> {
    let image = opened(&args.disk, args.format, true).await?;
    let size = image.disk.geometry().size_bytes;
    let mut at = 0;
    let mut last: Option<Status> = None;
    let show = |part: Status| {
        let Extent {
            offset_bytes,
            len_bytes,
        } = part.extent;
        if args.json {
            say(json!({
                "start": offset_bytes,
                "length": len_bytes,
                "allocated": part.allocated,
                "zero": part.zero,
            }));
            return;
        }
        let what = match (part.allocated, part.zero) {
            (_, false) => "data",
            (true, true) => "zero",
            (false, true) => "hole",
        };
        say(format!("{offset_bytes:>16} {len_bytes:>16} {what}"));
    };
    while at < size {
        let parts = image.disk.status(Extent::new(at, size - at), PARTS).await?;
        for part in parts {
            at = part.extent.end_bytes();
            match &mut last {
                Some(last) if (last.allocated, last.zero) == (part.allocated, part.zero) => {
                    last.extent.len_bytes += part.extent.len_bytes;
                }
                _ => {
                    last.replace(part).map(show);
                }
            }
        }
    }
    last.map(show);
    Ok(())
}

/// Look for damage in an image's own tables, and read all of its data
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The disk
    disk: String,
    /// raw, qcow2 or vhdx; without it the extension decides
    #[arg(short, long, value_parser = Format::parse)]
    format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn check(args: Check) -> Result<(), Error> {
    let found = match opened(&args.disk, args.format, true).await {
        Ok(image) => {
            let mut found = image.check().await?;
            found.extend(
                read_all(&*image.disk)
                    .await
                    .err()
                    .map(|error| error.to_string()),
            );
            found
        }
        Err(Error::Disk(error)) if error.kind() == ErrorKind::Corrupt => vec![error.to_string()],
        Err(other) => return Err(other),
    };
    if args.json {
        say(json!({ "disk": args.disk, "whole": found.is_empty(), "errors": found }));
    } else if found.is_empty() {
        say(format!("`{}` is whole", args.disk));
    } else {
        say(format!("`{}` is damaged: {}", args.disk, found.join("; ")));
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(Error::Negative)
    }
}

async fn read_all(disk: &dyn Disk) -> disk::Result<()> {
    let size = disk.geometry().size_bytes;
    let mut at = 0;
    let mut buf = crate::engine::IoBufMut::zeroed(1 << 20);
    while at < size {
        let parts = disk.status(Extent::new(at, size - at), PARTS).await?;
        for part in parts {
            let end = part.extent.end_bytes();
            while !part.zero && at < end {
                let len = (end - at).min(1 << 20) as usize;
                let head = buf.split_to(len);
                let mut head = disk.read(at, head).await?;
                head.unsplit(buf);
                buf = head;
                at += len as u64;
            }
            at = end;
        }
    }
    Ok(())
}
