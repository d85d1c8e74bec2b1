//! `qemu-storage-daemon`: a dirty bitmap, and jobs that back up what it marks to images on top of
//! each other.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::super::running::Running;
use super::qmp::Monitor;
use super::{Chain, Last};
use crate::cmd::Cmd;

/// A disk with a bitmap and its backups.
pub(super) struct Qemu {
    backups: PathBuf,
    running: Running,
    monitor: Monitor,
    /// Number of the last image.
    last: u32,
}

impl Qemu {
    pub(super) fn start(disk: &Path, dir: &Path, granularity_kib: u32) -> Result<Self> {
        let backups = dir.join("backups");
        Cmd::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .arg(disk)
            .arg(image(&backups, 0))
            .run()?;
        let (socket, qmp) = (dir.join("nbd"), dir.join("qmp"));
        let mut command = Command::new("qemu-storage-daemon");
        // No I/O thread: with one, QEMU 10.0 fails an assertion when the job begins.
        command.args([
            "--blockdev".to_owned(),
            format!(
                "driver=file,node-name=file,filename={},aio=io_uring,cache.direct=on",
                disk.display()
            ),
            "--blockdev=driver=raw,node-name=disk,file=file,cache.direct=on".to_owned(),
            format!(
                "--chardev=socket,id=qmp,path={},server=on,wait=off",
                qmp.display()
            ),
            "--monitor=chardev=qmp".to_owned(),
            format!("--nbd-server=addr.type=unix,addr.path={}", socket.display()),
            "--export=type=nbd,id=export,node-name=disk,name=,writable=on".to_owned(),
        ]);
        let running = Running::launch(command, "qemu-storage-daemon", socket, dir)?;
        let mut monitor = Monitor::connect(&qmp)?;
        monitor.execute(
            "block-dirty-bitmap-add",
            &json!({"node": "disk", "name": "changes", "granularity": granularity_kib << 10}),
        )?;
        Ok(Self {
            backups,
            running,
            monitor,
            last: 0,
        })
    }
}

impl Chain for Qemu {
    fn running(&self) -> &Running {
        &self.running
    }

    fn increment(&mut self) -> Result<()> {
        let (before, path) = (
            image(&self.backups, self.last),
            image(&self.backups, self.last + 1),
        );
        // Clusters of 64 KiB: the job copies no less, so that smaller ones only take longer.
        Cmd::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .args([&before, &path])
            .run()?;
        let target = json!({
            "driver": "qcow2", "node-name": "target",
            "file": {"driver": "file", "filename": path, "aio": "io_uring"},
        });
        self.monitor.execute("blockdev-add", &target)?;
        let job = json!({
            "job-id": "backup", "device": "disk", "target": "target",
            "sync": "incremental", "bitmap": "changes",
        });
        self.monitor.execute("blockdev-backup", &job)?;
        self.monitor.wait_for_job("backup")?;
        let target = json!({"node-name": "target"});
        self.monitor.execute("blockdev-del", &target)?;
        let written = File::open(&path).and_then(|file| file.sync_all());
        written.context("fsync of the increment")?;
        self.last += 1;
        Ok(())
    }

    fn last(self: Box<Self>) -> Result<Last> {
        Ok(Last {
            image: image(&self.backups, self.last).display().to_string(),
            format: "qcow2",
            _server: None,
        })
    }
}

fn image(backups: &Path, number: u32) -> PathBuf {
    backups.join(format!("{number}.qcow2"))
}
