//! What it takes to ask what changed on a very large disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::report::{cell, median};
use super::running::Running;
use crate::bench::table::Table;
use crate::cmd::Cmd;

/// Changes between the two points.
const CHANGES: u32 = 300;
/// The largest file of ext4 is a block less than 16 TiB.
const DISK_BYTES: u64 = (16 << 40) - (64 << 10);
/// Questions.
const QUESTIONS: usize = 20;
/// The longest that an answer may take, in milliseconds.
const MOST_MS: f64 = 100.0;

/// What was seen.
#[derive(Debug, Serialize)]
pub(crate) struct Seen {
    /// Of each question, with the start of the command.
    milliseconds: Vec<f64>,
    /// What the map takes on the disk.
    map_kib: f64,
    /// What the server takes in memory, with its buffers.
    memory_mib: f64,
}

/// Asks a sparse disk of 16 TiB, as far as ext4 can have one.
pub(crate) fn measure(vmstorage: &Path, dir: &Path) -> Result<Seen> {
    let dir = tempfile::tempdir_in(dir).context("make a directory for a server")?;
    let (socket, control) = (dir.path().join("nbd"), dir.path().join("control"));
    let map = dir.path().join("map");
    let disk = dir.path().join("disk.raw");
    let sized = fs::File::create(&disk).and_then(|file| file.set_len(DISK_BYTES));
    sized.context("make a sparse disk")?;
    let mut command = Command::new(vmstorage);
    command
        .arg("serve")
        .arg(&disk)
        .args(["--format=raw", "--name=disk"])
        .arg(format!("--track={}", map.display()))
        .arg(format!("--listen=unix:{}", socket.display()))
        .arg(format!("--control={}", control.display()));
    let running = Running::launch(command, "vmstorage", socket, dir.path())?;
    let ask = |args: &[&str]| {
        let command = Cmd::new(vmstorage).args(args);
        command.arg("--control").arg(&control)
    };
    ask(&["refpoint", "create", "disk", "before"]).quiet()?;
    super::load::scatter(&running, CHANGES)?;
    let mut milliseconds = Vec::new();
    for _ in 0..QUESTIONS {
        let begun = Instant::now();
        let args = ["refpoint", "changes", "disk", "--since=before", "--json"];
        let text = ask(&args).read()?;
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
        let found: Vec<serde_json::Value> =
            serde_json::from_str(&text).context("parse the changes")?;
        anyhow::ensure!(
            found.len() == CHANGES as usize,
            "{} changes were told of {CHANGES}",
            found.len()
        );
    }
    let map = fs::metadata(&map).context("stat the map")?;
    Ok(Seen {
        milliseconds,
        map_kib: map.blocks() as f64 / 2.0,
        memory_mib: running.memory_kib()? as f64 / 1024.0,
    })
}

/// As a table.
pub(crate) fn table(seen: &Seen) -> Table {
    let title = format!("{CHANGES} changes of a disk of 16 TiB, in blocks of 64 KiB");
    let mut table = Table::new(title, &["", "measured", "wanted"]);
    let time = median(seen.milliseconds.clone());
    let mut row = |what: &str, value, wanted: String| {
        table.row([what.to_owned(), cell(value, 1), wanted]);
    };
    row(
        "`refpoint changes`, in milliseconds",
        time,
        format!("≤ {MOST_MS}"),
    );
    row("map on the disk, in KiB", Some(seen.map_kib), String::new());
    row(
        "memory of the server, in MiB",
        Some(seen.memory_mib),
        String::new(),
    );
    table
}
