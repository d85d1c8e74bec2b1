//! `vmstorage refpoint`: reference points of a disk, closed or served.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::units::{parse_size, show_size};
use super::{Error, say, say_lines};
use crate::disk;
use crate::disk::open::{self, Format};
use crate::serve::Client;
use crate::serve::control;
use crate::track::Offline;
use crate::track::catalog::{Described, Reply, Request};

/// Extents that are asked for at once.
const PAGE: usize = 16384;

/// Reference points: make them, and ask what changed between them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vmstorage refpoint create root.qcow2 monday
  vmstorage refpoint changes root.qcow2 --since monday
  vmstorage refpoint changes root.qcow2 --since monday --until tuesday --json
  vmstorage refpoint export root.qcow2 > root.points     # travels with the disk and its map
  vmstorage refpoint list root --control /run/vm.ctl     # of a disk that is being served

A dirty bitmap of QEMU becomes a point since which the changes are known:
  nbdinfo --json --map=qemu:dirty-bitmap:b0 nbd+unix:///?socket=/run/q.sock > b0.json
  vmstorage refpoint bitmap root.qcow2 before b0.json
  vmstorage refpoint bitmap root.qcow2 before --qcow2-bitmap b0   # of a closed image

Exit status 3: changes since the point cannot be told, only a full backup is right.")]
pub(super) struct Args {
    /// Ask the service at this control socket; the disk is then one of its names
    #[arg(long, value_name = "PATH", global = true)]
    control: Option<PathBuf>,
    /// The map, if it is not beside the disk as DISK.reeve-map
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "control")]
    map: Option<PathBuf>,
    /// The format of the disk, if its name does not say it
    #[arg(long, global = true, conflicts_with = "control", value_parser = Format::parse)]
    format: Option<Format>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a reference point of the disk as it is now
    Create {
        /// File of the disk, or its name in the service
        disk: PathBuf,
        /// Name of the point
        name: String,
    },
    /// Show all points of a disk, and whether changes since them are known
    List {
        /// File of the disk, or its name in the service
        disk: PathBuf,
    },
    /// Show a point
    Show {
        /// File of the disk, or its name in the service
        disk: PathBuf,
        /// Name or id of the point
        name: String,
    },
    /// Forget a point
    Delete {
        /// File of the disk, or its name in the service
        disk: PathBuf,
        /// Name or id of the point
        name: String,
    },
    /// Show which parts of the disk changed
    Changes {
        /// File of the disk, or its name in the service
        disk: PathBuf,
        /// Name or id of the earlier point
        #[arg(long, value_name = "POINT")]
        since: String,
        /// Name or id of the later point; now without it
        #[arg(long, value_name = "POINT")]
        until: Option<String>,
        /// Begin at this byte
        #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "0")]
        offset: u64,
        /// Show so many extents at most
        #[arg(long, value_name = "NUMBER")]
        limit: Option<usize>,
    },
    /// Print points as a text that travels with the disk and its map
    Export {
        /// File of the disk, or its name in the service
        disk: PathBuf,
        /// Names or ids of the points; all if none are named
        names: Vec<String>,
    },
    /// Take points from an export; all or none
    Import {
        /// File of the disk, or its name in the service
        disk: PathBuf,
        /// What `export` printed
        file: PathBuf,
    },
    /// Make a point of a dirty bitmap of QEMU, as nbdinfo prints it or a qcow2 image holds it
    Bitmap {
        /// File of the disk, or its name in the service
        disk: PathBuf,
        /// Name of the point
        name: String,
        /// Output of `nbdinfo --json --map=qemu:dirty-bitmap:…`; with `--qcow2-bitmap` the image,
        /// if it is another than DISK
        #[arg(required_unless_present = "qcow2_bitmap")]
        file: Option<PathBuf>,
        /// Read this persistent bitmap of a qcow2 image that nobody has open
        #[arg(long, value_name = "BITMAP")]
        qcow2_bitmap: Option<String>,
    },
}

/// A part of a map as nbdinfo prints it.
#[derive(Debug, serde::Deserialize)]
struct Mapped {
    offset: u64,
    length: u64,
    #[serde(rename = "type")]
    flags: u64,
}

/// Who is asked.
enum Target {
    Closed(Offline),
    Served(Client, String),
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let (disk, request) = request(&args.command)?;
    let mut target = match args.control {
        Some(control) => Target::Served(Client::connect(&control)?, disk.display().to_string()),
        None => Target::Closed(Offline {
            disk,
            map: args.map,
            format: args.format,
        }),
    };
    let Command::Changes { limit, .. } = args.command else {
        let reply = target.ask(request)?;
        show(&reply, args.json);
        return Ok(());
    };
    show_changes(&mut target, request, limit, args.json)
}

fn request(command: &Command) -> Result<(PathBuf, Request), Error> {
    Ok(match command.clone_parts() {
        (disk, Some(request)) => (disk, request),
        (disk, None) => (disk, from_file(command)?),
    })
}

impl Command {
    /// The disk, and what to ask, unless a file must be read for it.
    fn clone_parts(&self) -> (PathBuf, Option<Request>) {
        let (disk, request) = match self {
            Self::Create { disk, name } => (disk, Request::Create { name: name.clone() }),
            Self::List { disk } => (disk, Request::List),
            Self::Show { disk, name } => (disk, Request::Show { name: name.clone() }),
            Self::Delete { disk, name } => (disk, Request::Delete { name: name.clone() }),
            Self::Changes {
                disk,
                since,
                until,
                offset,
                ..
            } => {
                let request = Request::Changes {
                    since: since.clone(),
                    until: until.clone(),
                    offset_bytes: *offset,
                    limit: PAGE,
                };
                (disk, request)
            }
            Self::Export { disk, names } => {
                let names = names.clone();
                (disk, Request::Export { names })
            }
            Self::Import { disk, .. } | Self::Bitmap { disk, .. } => return (disk.clone(), None),
        };
        (disk.clone(), Some(request))
    }
}

fn from_file(command: &Command) -> Result<Request, Error> {
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file);
        text.map_err(|error| disk::Error::io(format!("read({})", file.display()), error))
    };
    match command {
        Command::Bitmap {
            disk,
            name,
            file,
            qcow2_bitmap: Some(bitmap),
        } => {
            let (extents, size_bytes) = stored_bitmap(file.as_ref().unwrap_or(disk), bitmap)?;
            Ok(Request::Bitmap {
                name: name.clone(),
                extents,
                size_bytes,
            })
        }
        Command::Bitmap {
            name,
            file: Some(file),
            ..
        } => {
            let parts: Vec<Mapped> = serde_json::from_str(&read(file)?).map_err(|error| {
                Error::Usage(format!(
                    "`{}` is no map of nbdinfo: {error}",
                    file.display()
                ))
            })?;
            let (extents, size_bytes) = dirty_of(&parts).map_err(|why| {
                Error::Usage(format!(
                    "`{}` is no whole map of a dirty bitmap: {why}",
                    file.display()
                ))
            })?;
            Ok(Request::Bitmap {
                name: name.clone(),
                extents,
                size_bytes,
            })
        }
        Command::Import { file, .. } => Ok(Request::Import { text: read(file)? }),
        _ => Err(Error::Usage("no file is named".into())),
    }
}

/// Dirty parts, as pairs of offset and length, and how far a bitmap tells; in bytes.
type Dirty = (Vec<(u64, u64)>, u64);

/// The dirty parts of a map, which has to say something of every byte: what it leaves out would
/// count as not changed.
fn dirty_of(parts: &[Mapped]) -> Result<Dirty, String> {
    let mut end = 0_u64;
    for part in parts {
        if part.offset != end {
            return Err(format!("it says nothing of byte {end}"));
        }
        if part.flags > 1 {
            return Err(format!("`type` is {} at byte {end}", part.flags));
        }
        let next = end.checked_add(part.length).filter(|next| *next > end);
        end = next.ok_or_else(|| format!("`length` is wrong at byte {end}"))?;
    }
    if parts.is_empty() {
        return Err("it is empty".into());
    }
    let dirty = parts.iter().filter(|part| part.flags == 1);
    let dirty = dirty.map(|part| (part.offset, part.length));
    Ok((dirty.collect(), end))
}

/// What a bitmap that a qcow2 image holds calls dirty.
fn stored_bitmap(image: &Path, bitmap: &str) -> Result<Dirty, Error> {
    let how = open::Options {
        format: Some(Format::Qcow2),
        read_only: true,
        ..open::Options::default()
    };
    let read = async {
        let opened = open::open(&open::Source::File(image.to_owned()), how).await?;
        let size_bytes = opened.disk.geometry().size_bytes;
        let dirty = opened.dirty_bitmap(bitmap).await;
        opened.close().await?;
        Ok((dirty?, size_bytes))
    };
    let dirty = crate::engine::run(read).map_err(|error| disk::Error::io("eventfd", error))?;
    let (dirty, size_bytes) =
        dirty.map_err(|error: disk::Error| error.context(format!("`{}`", image.display())))?;
    let pairs = dirty.iter().map(|at| (at.offset_bytes, at.len_bytes));
    Ok((pairs.collect(), size_bytes))
}

impl Target {
    fn ask(&mut self, request: Request) -> Result<Reply, Error> {
        match self {
            Self::Closed(offline) => {
                let answer = crate::engine::run(offline.answer(request));
                Ok(answer.map_err(|error| disk::Error::io("eventfd", error))??)
            }
            Self::Served(client, disk) => {
                let disk = disk.clone();
                let answer = client.ask(&control::Request::Refpoint { disk, request })?;
                serde_json::from_value(answer).map_err(|error| {
                    let message = format!("the service answers what nobody asked: {error}");
                    disk::Error::new(disk::ErrorKind::Io, message).into()
                })
            }
        }
    }
}

/// Prints changes page by page, so that neither side holds them all.
fn show_changes(
    target: &mut Target,
    mut request: Request,
    limit: Option<usize>,
    as_json: bool,
) -> Result<(), Error> {
    let (mut count, mut total, mut left) = (0, 0, limit.unwrap_or(usize::MAX));
    let mut begun = false;
    while left > 0 {
        if let Request::Changes { limit, .. } = &mut request {
            *limit = left.min(PAGE);
        }
        let Reply::Changes {
            extents,
            next_bytes,
            ..
        } = target.ask(request.clone())?
        else {
            break;
        };
        // Where there is no answer nothing is begun.
        if as_json && !std::mem::replace(&mut begun, true) {
            say("[");
        }
        for &(offset, length) in &extents {
            if as_json {
                let comma = if count == 0 { " " } else { "," };
                say(format!(
                    "{comma}{}",
                    json!({"offset": offset, "length": length})
                ));
            } else {
                say(format!("{offset:>20} {length:>20}"));
            }
            count += 1;
            total += length;
        }
        left -= extents.len().min(left);
        match (&mut request, next_bytes) {
            (Request::Changes { offset_bytes, .. }, Some(next)) => *offset_bytes = next,
            _ => break,
        }
    }
    if as_json {
        say(if begun { "]" } else { "[]" });
    } else {
        say(format!("{count} extents, {} changed", show_size(total)));
    }
    Ok(())
}

fn show(reply: &Reply, as_json: bool) {
    if let Reply::Text(text) = reply {
        say_lines(text);
    } else if as_json {
        match reply {
            Reply::Point(point) => say(json!(point)),
            Reply::Points(points) => say(json!(points)),
            other => say(json!(other)),
        }
    } else {
        match reply {
            Reply::Points(points) => show_table(points),
            Reply::Point(point) => show_point(point),
            _ => {}
        }
    }
}

fn show_table(points: &[Described]) {
    let width = points.iter().map(|known| known.point.name.chars().count());
    let width = width.max().unwrap_or(0).max(4);
    say(format!(
        "{:width$}  {:20}  {:>8}  {:>10}  STATE",
        "NAME", "CREATED", "EPOCH", "SIZE"
    ));
    for known in points {
        let point = &known.point;
        let state = known.void.as_deref().unwrap_or("usable");
        say(format!(
            "{:width$}  {:20}  {:>8}  {:>10}  {state}",
            point.name,
            utc(point.created_s),
            point.point.epoch,
            show_size(point.point.size_bytes),
        ));
    }
}

fn show_point(known: &Described) {
    let (point, at) = (&known.point, &known.point.point);
    let rows = [
        ("name", point.name.clone()),
        ("id", point.id.to_string()),
        ("created", utc(point.created_s)),
        ("disk id", at.disk_id.to_string()),
        ("generation", at.generation.to_string()),
        ("session", at.session.to_string()),
        ("epoch", at.epoch.to_string()),
        ("size", format!("{} bytes", at.size_bytes)),
        ("block", format!("{} bytes", at.block_bytes)),
        ("imported", if point.imported { "yes" } else { "no" }.into()),
        ("digest", point.digest.clone()),
        (
            "state",
            known.void.clone().unwrap_or_else(|| "usable".into()),
        ),
    ];
    for (name, value) in rows {
        say(format!("{name:10}  {value}"));
    }
}

/// Seconds since 1970 as `2026-11-23T00:15:33Z`.
pub(super) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, in eras of 400 years: leap days then come last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_with_gaps_or_of_another_kind_is_no_dirty_bitmap() {
        let dirty = |text: &str| dirty_of(&serde_json::from_str::<Vec<Mapped>>(text).unwrap());
        let whole = r#"[{"offset":0,"length":8,"type":0},{"offset":8,"length":4,"type":1}]"#;
        assert_eq!(dirty(whole).unwrap(), (vec![(8, 4)], 12));
        let wrong = [
            "[]",
            r#"[{"offset":8,"length":4,"type":1}]"#,
            r#"[{"offset":0,"length":8,"type":0},{"offset":9,"length":4,"type":1}]"#,
            r#"[{"offset":0,"length":8,"type":3}]"#,
            r#"[{"offset":0,"length":0,"type":0}]"#,
            r#"[{"offset":0,"length":18446744073709551615,"type":0},
                {"offset":18446744073709551615,"length":4,"type":1}]"#,
        ];
        for text in wrong {
            dirty(text).unwrap_err();
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_392_933, "2026-11-23T00:15:33Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }
}
