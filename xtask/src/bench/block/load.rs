//! The loads: what fio asks of a server.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::running::{Running, Target};
use crate::cmd::Cmd;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// What tables call it.
    pub(crate) name: &'static str,
    rw: &'static str,
    block: &'static str,
    depth: u32,
    connections: u32,
    /// True of loads whose rate is told in MiB/s.
    pub(crate) sequential: bool,
}

const fn random(name: &'static str, rw: &'static str, depth: u32, connections: u32) -> Load {
    Load {
        name,
        rw,
        block: "4k",
        depth,
        connections,
        sequential: false,
    }
}

const fn sequential(name: &'static str, rw: &'static str) -> Load {
    Load {
        name,
        rw,
        block: "1M",
        depth: 8,
        connections: 1,
        sequential: true,
    }
}

/// All loads. Reads come first: writes leave a device's cache busy.
pub(crate) const LOADS: &[Load] = &[
    random("4 KiB reads, depth 1", "randread", 1, 1),
    random("4 KiB reads, depth 8", "randread", 8, 1),
    random("4 KiB reads, depth 64", "randread", 64, 1),
    random(
        "4 KiB reads, 4 connections, depth 16 each",
        "randread",
        16,
        4,
    ),
    sequential("1 MiB reads, depth 8", "read"),
    random("4 KiB writes, depth 1", "randwrite", 1, 1),
    random("4 KiB writes, depth 8", "randwrite", 8, 1),
    random("4 KiB writes, depth 64", "randwrite", 64, 1),
    sequential("1 MiB writes, depth 8", "write"),
];

/// Something written between two backups.
pub(crate) struct Change {
    /// What tables call it.
    pub(crate) name: &'static str,
    percent: u64,
    scattered: bool,
}

impl Change {
    /// A part of the disk, in 4 KiB at random or in one place.
    pub(crate) const fn new(name: &'static str, percent: u64, scattered: bool) -> Self {
        Self {
            name,
            percent,
            scattered,
        }
    }

    /// Writes it.
    pub(crate) fn make(&self, server: &Running, size_mib: u64) -> Result<()> {
        let kib = size_mib * 1024 * self.percent / 100;
        let shape = match self.scattered {
            true => ["--rw=randwrite", "--bs=4k"],
            false => ["--rw=write", "--bs=1M"],
        };
        fio(server)
            .args(shape)
            .args([format!("--size={size_mib}M"), format!("--io_size={kib}k")])
            .args(["--iodepth=32", "--thread", "--randrepeat=0"])
            .args(["--refill_buffers", "--end_fsync=1"])
            .quiet()
    }
}

/// Writes 4 KiB in so many places, all of them different.
pub(crate) fn scatter(server: &Running, places: u32) -> Result<()> {
    fio(server)
        .args(["--rw=randwrite", "--bs=4k", "--iodepth=32"])
        .args(["--norandommap", "--random_generator=tausworthe64"])
        .args(["--thread", "--randrepeat=1"])
        .arg(format!("--number_ios={places}"))
        .quiet()
}

/// What came of a load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Requests a second.
    pub(crate) iops: f64,
    /// Of a hundred requests the slowest but one took so long, in microseconds.
    pub(crate) p99_us: f64,
    /// Processor time of the server for a request, in microseconds.
    pub(crate) server_us: f64,
}

/// What fio prints, as far as it matters here.
#[derive(Deserialize)]
struct Report {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    error: i64,
    read: Side,
    write: Side,
}

#[derive(Deserialize)]
struct Side {
    total_ios: u64,
    iops: f64,
    clat_ns: Latency,
}

#[derive(Deserialize)]
struct Latency {
    #[serde(default)]
    percentile: std::collections::BTreeMap<String, f64>,
}

impl Load {
    /// Puts the load on a server for some seconds.
    pub(crate) fn run(&self, server: &Running, seconds: u64, size_mib: u64) -> Result<Outcome> {
        let before = server.processor_us()?;
        let text = fio(server)
            .arg("--output-format=json")
            .args([format!("--rw={}", self.rw), format!("--bs={}", self.block)])
            .args([
                format!("--iodepth={}", self.depth),
                format!("--numjobs={}", self.connections),
            ])
            .args([
                "--thread",
                "--group_reporting",
                "--time_based",
                "--randrepeat=0",
            ])
            .args([
                format!("--runtime={seconds}"),
                format!("--size={size_mib}M"),
                "--refill_buffers".to_owned(),
                "--invalidate=0".to_owned(),
            ])
            .read()?;
        let used = server.processor_us()?.saturating_sub(before);
        // Before it fio says what it thinks of its options.
        let json = text
            .find('{')
            .map(|start| &text[start..])
            .unwrap_or_default();
        let report: Report = serde_json::from_str(json).context("parse what fio printed")?;
        let job = report.jobs.first().context("fio reported no job")?;
        anyhow::ensure!(job.error == 0, "fio ended with error {}", job.error);
        let side = if self.rw.ends_with("write") {
            &job.write
        } else {
            &job.read
        };
        anyhow::ensure!(side.total_ios > 0, "fio made no request");
        Ok(Outcome {
            iops: side.iops,
            p99_us: side
                .clat_ns
                .percentile
                .get("99.000000")
                .copied()
                .unwrap_or(0.0)
                / 1000.0,
            server_us: used as f64 / side.total_ios as f64,
        })
    }
}

/// fio, told where to go.
fn fio(server: &Running) -> Cmd {
    let fio = Cmd::new("fio").arg("--name=load");
    match &server.target {
        Target::Nbd(uri) => fio.arg("--ioengine=nbd").arg(format!("--uri={uri}")),
        Target::File { image, direct } => fio
            .arg("--ioengine=io_uring")
            .arg(format!("--filename={}", image.display()))
            .arg(format!("--direct={}", u8::from(*direct))),
    }
}
