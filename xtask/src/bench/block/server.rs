//! The contestants: servers of one disk over a unix socket, each at its best settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::running::Running;

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// `vmstorage serve`.
    Ours {
        /// With the change tracker.
        tracked: bool,
    },
    /// `qemu-nbd`.
    QemuNbd,
    /// `qemu-storage-daemon` with an I/O thread.
    StorageDaemon,
    /// `nbdkit file`, which has no `O_DIRECT`.
    Nbdkit,
    /// `nbdkit null`, which does nothing: what the client can do at most.
    Null,
    /// No server: fio on the image, by io_uring. What the disk can do.
    Bare,
}

/// What is served, and how.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The image.
    pub(crate) image: PathBuf,
    /// `raw` or `qcow2`.
    pub(crate) format: &'static str,
    /// Past the page cache.
    pub(crate) direct: bool,
}

impl Server {
    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Ours { tracked: false } => "vmstorage",
            Server::Ours { tracked: true } => "vmstorage, tracked",
            Server::QemuNbd => "qemu-nbd",
            Server::StorageDaemon => "qemu-storage-daemon",
            Server::Nbdkit => "nbdkit file",
            Server::Null => "client alone",
            Server::Bare => "disk alone",
        }
    }

    /// True of those that serve a disk and are not ours.
    pub(crate) fn is_peer(self) -> bool {
        !matches!(self, Server::Ours { .. }) && !self.is_ceiling()
    }

    /// True of those that show how fast a server could be at most.
    pub(crate) fn is_ceiling(self) -> bool {
        matches!(self, Server::Null | Server::Bare)
    }

    /// Starts it; `dir` takes its socket and what it writes beside the disk.
    pub(crate) fn start(self, ours: &Path, disk: &Disk, dir: &Path) -> Result<Running> {
        let socket = dir.join("nbd.sock");
        let command = match self {
            Server::Ours { tracked } => vmstorage(ours, disk, &socket, tracked.then_some(dir)),
            Server::QemuNbd => qemu_nbd(disk, &socket),
            Server::StorageDaemon => storage_daemon(disk, &socket),
            Server::Nbdkit => {
                let mut command = nbdkit(&socket);
                command.arg("file").arg(&disk.image);
                command
            }
            Server::Null => {
                let mut command = nbdkit(&socket);
                let size = fs::metadata(&disk.image).context("stat the image")?.len();
                command.arg("null").arg(size.to_string());
                command
            }
            Server::Bare => return Ok(Running::none(&disk.image, disk.direct)),
        };
        Running::launch(command, self.name(), socket, dir)
    }
}

fn vmstorage(program: &Path, disk: &Disk, socket: &Path, tracked: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command
        .arg("serve")
        .arg(&disk.image)
        .args(["--format", disk.format, "--name", "disk"]);
    command
        .arg("--listen")
        .arg(format!("unix:{}", socket.display()));
    if disk.direct {
        command.arg("--direct");
    }
    if let Some(dir) = tracked {
        command.arg(format!("--track={}", dir.join("disk.map").display()));
    }
    command
}

fn qemu_nbd(disk: &Disk, socket: &Path) -> Command {
    let mut command = Command::new("qemu-nbd");
    command.args([
        "--persistent",
        "--shared=16",
        "--discard=unmap",
        "--format",
        disk.format,
    ]);
    command.args(match disk.direct {
        true => ["--cache=none", "--aio=io_uring"],
        false => ["--cache=writeback", "--aio=threads"],
    });
    command.arg("--socket").arg(socket).arg(&disk.image);
    command
}

fn storage_daemon(disk: &Disk, socket: &Path) -> Command {
    let (image, format) = (disk.image.display(), disk.format);
    let (cache, aio) = match disk.direct {
        true => ("cache.direct=on", "io_uring"),
        false => ("cache.direct=off", "threads"),
    };
    let mut command = Command::new("qemu-storage-daemon");
    command.args(["--object", "iothread,id=io"]);
    command.arg("--blockdev").arg(format!(
        "driver=file,node-name=file,filename={image},aio={aio},{cache},discard=unmap"
    ));
    command
        .arg("--blockdev")
        .arg(format!("driver={format},node-name=disk,file=file,{cache}"));
    let socket = socket.display();
    command
        .arg("--nbd-server")
        .arg(format!("addr.type=unix,addr.path={socket}"));
    command.args([
        "--export",
        "type=nbd,id=export,node-name=disk,name=,writable=on,iothread=io",
    ]);
    command
}

fn nbdkit(socket: &Path) -> Command {
    let mut command = Command::new("nbdkit");
    command
        .args(["--foreground", "--exit-with-parent", "--unix"])
        .arg(socket);
    command
}
