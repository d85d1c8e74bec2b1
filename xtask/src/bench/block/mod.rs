//! `cargo xtask bench block`: a disk served by `vmstorage`, beside the servers people use today.
//!
//! All serve the same image on the same file system over a unix socket, in turn within each round,
//! and fio's NBD engine is the client of all. Groups: raw and qcow2 past the page cache, raw in the
//! page cache. Beside them, what no server can exceed: the disk with fio alone, and the client with
//! a server that does nothing.
//!
//! Modules: [`server`] (the contestants), [`load`] (what is asked of them), [`report`].

mod load;
mod report;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::bench::{machine, page, progress::Progress};
use crate::cmd::Cmd;
use crate::setup::{self, Need};
use crate::{build, scratch};
use load::LOADS;
use report::{Report, Sample};
use server::{Disk, Server};

/// Measure a disk's server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; each starts every server once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Seconds of each load.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Size of the disk in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(16..=65536))]
    size: u64,
    /// Only groups whose name has this in it.
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
    let groups = groups(images.path(), args)?;
    let mut samples = Vec::new();
    for group in &groups {
        samples.extend(measure(group, &ours, args)?);
    }
    let report = Report {
        machine,
        versions: versions(&ours)?,
        samples,
        groups: groups
            .iter()
            .map(|group| (group.name, group.servers.clone()))
            .collect(),
    };
    publish(args, &report)
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
    make_images(&raw, &qcow2, args.size)?;
    Ok(groups)
}

/// Images whose every block is allocated, with content that does not compress.
fn make_images(raw: &Path, qcow2: &Path, size_mib: u64) -> Result<()> {
    let out = format!("of={}", raw.display());
    Cmd::new("dd")
        .args(["if=/dev/urandom", "bs=1M", "conv=fsync", "status=none"])
        .arg(format!("count={size_mib}"))
        .arg(out)
        .run()?;
    Cmd::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .arg(raw)
        .arg(qcow2)
        .run()
}

fn measure(group: &Group, ours: &Path, args: &Args) -> Result<Vec<Sample>> {
    let total = args.rounds * group.servers.len() as u64;
    let progress = Progress::new(group.name, total);
    let mut samples = Vec::new();
    for round in 0..args.rounds as usize {
        // Another one begins each round, so that a disturbance falls on all of them.
        for turn in 0..group.servers.len() {
            let server = group.servers[(round + turn) % group.servers.len()];
            // Beside the image: the map of changes is on the same disk, as it would be.
            let dir = tempfile::tempdir_in(group.disk.image.parent().context("the image's place")?)
                .context("make a directory for a server")?;
            if !group.disk.direct {
                warm(&group.disk.image)?;
            }
            let running = server.start(ours, &group.disk, dir.path())?;
            for load in LOADS {
                let outcome = load
                    .run(&running, args.seconds, args.size)
                    .with_context(|| format!("{} with {}", load.name, server.name()))?;
                samples.push(Sample {
                    group: group.name,
                    server: server.name(),
                    load: load.name,
                    outcome,
                });
            }
            progress.step();
        }
    }
    Ok(samples)
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

fn publish(args: &Args, report: &Report) -> Result<()> {
    let (place, tables) = (report.place(), report.tables());
    for line in &place {
        println!("{line}");
    }
    for table in &tables {
        println!("\n{}", table.to_text().trim_end());
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_vec_pretty(report).context("write the samples as JSON")?;
        fs::write(path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    match args.write {
        true => page::write("block", &place, &tables),
        false => Ok(()),
    }
}
