//! `cargo xtask bench block`: a disk served by `vmstorage`, beside the servers people use today.
//!
//! All serve the same image on the same file system over a unix socket, in turn within each round,
//! and fio's NBD engine is the client of all. Groups: raw and qcow2 past the page cache, raw in the
//! page cache. Beside them, what no server can exceed: the disk with fio alone, and the client with
//! a server that does nothing.
//!
//! Then the increments of backups, beside those of QEMU, and what it takes to ask what changed.
//!
//! Modules: [`server`] (the contestants), [`load`] (what is asked of them), [`report`];
//! [`running`] (a server that runs); [`increments`], [`changes`].

mod changes;
mod increments;
mod load;
mod report;
mod running;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::bench::{machine, page, progress::Progress, table::Table};
use crate::cmd::Cmd;
use crate::setup::{self, Need};
use crate::{build, scratch};
use load::{LOADS, Load};
use report::{Place, Sample};
use server::{Disk, Server};

/// Measure a disk's server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; each puts every load on every server once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Seconds of each load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Size of the disk in MiB; increments are those of one that is four times as large.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(16..=65536))]
    size: u64,
    /// Only groups whose name has this in it, such as `raw`, `page cache`, or `increments`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Where the images are made; a directory on the disk to be measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure this program instead of building `vmstorage`.
    #[arg(long, value_name = "FILE")]
    vmstorage: Option<PathBuf>,
    /// Write everything, with all samples, to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the tables into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// The part that is no group of servers.
const INCREMENTS: &str = "increments";

/// All that was measured.
#[derive(Default, Serialize)]
struct All {
    samples: Vec<Sample>,
    increments: Vec<increments::Sample>,
    changes: Option<changes::Seen>,
}

/// A disk, and who serves it.
struct Group {
    name: &'static str,
    disk: Disk,
    servers: Vec<Server>,
}

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure(&[Need::StorageTools])?;
    let machine = machine::Machine::read()?;
    let ours = match &args.vmstorage {
        Some(path) => std::path::absolute(path).context("make the path absolute")?,
        None => build::release("vmstorage", "vmstorage")?,
    };
    let images = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir).context("make a directory for images")?,
        None => scratch::dir("block")?,
    };
    let place = Place {
        machine,
        versions: versions(&ours)?,
    };
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only));
    let mut all = All::default();
    let groups = groups(images.path(), args)?;
    for group in &groups {
        all.samples.extend(measure(group, &ours, args)?);
    }
    if !groups.is_empty() {
        let groups = groups.iter().map(|group| (group.name, &group.servers[..]));
        let tables = report::tables(&all.samples, &groups.collect::<Vec<_>>());
        publish(args, "block", &place, &tables)?;
    }
    if wanted(INCREMENTS) {
        let size_mib = args.size * 4;
        all.increments = increments::measure(&ours, images.path(), size_mib, args.rounds.min(3))?;
        all.changes = Some(changes::measure(&ours, images.path())?);
        let mut tables = increments::tables(&all.increments);
        tables.extend(all.changes.as_ref().map(changes::table));
        publish(args, "block --only increments", &place, &tables)?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_vec_pretty(&all).context("write the samples as JSON")?;
        fs::write(path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(())
}

fn groups(dir: &Path, args: &Args) -> Result<Vec<Group>> {
    let ours = [
        Server::Ours { tracked: false },
        Server::Ours { tracked: true },
    ];
    let with = |others: &[Server]| [&ours[..], others].concat();
    let (raw, qcow2) = (dir.join("disk.raw"), dir.join("disk.qcow2"));
    let disk = |image: &Path, format, direct| Disk {
        image: image.to_owned(),
        format,
        direct,
    };
    let groups = [
        Group {
            name: "raw, O_DIRECT",
            disk: disk(&raw, "raw", true),
            servers: with(&[
                Server::QemuNbd,
                Server::StorageDaemon,
                Server::Null,
                Server::Bare,
            ]),
        },
        Group {
            name: "qcow2, O_DIRECT",
            disk: disk(&qcow2, "qcow2", true),
            servers: with(&[Server::QemuNbd, Server::StorageDaemon]),
        },
        Group {
            name: "raw, page cache",
            disk: disk(&raw, "raw", false),
            servers: with(&[
                Server::QemuNbd,
                Server::StorageDaemon,
                Server::Nbdkit,
                Server::Null,
                Server::Bare,
            ]),
        },
    ];
    let wanted = |group: &Group| {
        args.only
            .as_ref()
            .is_none_or(|only| group.name.contains(only.as_str()))
    };
    let groups: Vec<Group> = groups.into_iter().filter(wanted).collect();
    if !groups.is_empty() {
        make_images(&raw, &qcow2, args.size)?;
    }
    Ok(groups)
}

/// Images whose every block is allocated.
fn make_images(raw: &Path, qcow2: &Path, size_mib: u64) -> Result<()> {
    random_image(raw, size_mib)?;
    Cmd::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .arg(raw)
        .arg(qcow2)
        .run()
}

/// An image with content that does not compress.
fn random_image(raw: &Path, size_mib: u64) -> Result<()> {
    Cmd::new("dd")
        .args(["if=/dev/urandom", "bs=1M", "conv=fsync", "status=none"])
        .arg(format!("count={size_mib}"))
        .arg(format!("of={}", raw.display()))
        .run()
}

fn measure(group: &Group, ours: &Path, args: &Args) -> Result<Vec<Sample>> {
    let progress = Progress::new(group.name, args.rounds * LOADS.len() as u64);
    let mut samples = Vec::new();
    for round in 0..args.rounds as usize {
        for load in LOADS {
            // A disk's speed changes within minutes, so all do one thing before any does the next;
            // and another one begins each time.
            for turn in 0..group.servers.len() {
                let server = group.servers[(round + turn) % group.servers.len()];
                samples.push(sample(group, server, load, ours, args)?);
            }
            progress.step();
        }
    }
    Ok(samples)
}

fn sample(group: &Group, server: Server, load: &Load, ours: &Path, args: &Args) -> Result<Sample> {
    // Beside the image: the map of changes is on the same disk, as it would be.
    let dir = tempfile::tempdir_in(group.disk.image.parent().context("the image's place")?)
        .context("make a directory for a server")?;
    if !group.disk.direct {
        warm(&group.disk.image)?;
    }
    let running = server.start(ours, &group.disk, dir.path())?;
    let outcome = load
        .run(&running, args.seconds, args.size)
        .with_context(|| format!("{} with {}", load.name, server.name()))?;
    Ok(Sample {
        group: group.name,
        server: server.name(),
        load: load.name,
        outcome,
    })
}

/// Has all of an image in the page cache, and nothing to be written back.
fn warm(image: &Path) -> Result<()> {
    Cmd::new("sync").arg(image).run()?;
    let mut file = fs::File::open(image).context("open the image")?;
    std::io::copy(&mut file, &mut std::io::sink()).context("read the image")?;
    Ok(())
}

fn versions(ours: &Path) -> Result<Vec<String>> {
    let first = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
    let ours = Cmd::new(ours).arg("--version").read()?;
    let others = ["qemu-nbd", "nbdkit", "fio"].map(|name| Cmd::new(name).arg("--version").read());
    let mut versions = vec![first(ours)];
    for other in others {
        versions.push(first(other?));
    }
    Ok(versions)
}

fn publish(args: &Args, name: &str, place: &Place, tables: &[Table]) -> Result<()> {
    let place = place.lines();
    for line in &place {
        println!("{line}");
    }
    for table in tables {
        println!("\n{}", table.to_text().trim_end());
    }
    match args.write {
        true => page::write(name, &place, tables),
        false => Ok(()),
    }
}
