//! The contestants: servers of one disk over a unix socket, each at its best settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long a server may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A clock tick of `/proc/PID/stat` in microseconds: `USER_HZ` is 100 on x86-64 and aarch64.
const TICK_US: u64 = 10_000;

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

/// A server that runs; dropping it ends it.
pub(crate) struct Running {
    /// Where the client goes.
    pub(crate) target: Target,
    child: Option<Child>,
    socket: PathBuf,
}

/// Where fio goes.
pub(crate) enum Target {
    /// An export.
    Nbd(String),
    /// The image itself.
    File {
        /// Its path.
        image: PathBuf,
        /// Past the page cache.
        direct: bool,
    },
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
        let mut command = match self {
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
            Server::Bare => return Ok(Running::none(disk)),
        };
        let log = fs::File::create(dir.join("server.log")).context("create the server's log")?;
        command
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log);
        let child = command
            .spawn()
            .with_context(|| format!("start {}", self.name()))?;
        let mut running = Running {
            target: Target::Nbd(format!("nbd+unix:///?socket={}", socket.display())),
            child: Some(child),
            socket,
        };
        running.wait_until_it_listens(self.name(), dir)?;
        Ok(running)
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

impl Running {
    fn none(disk: &Disk) -> Self {
        Self {
            target: Target::File {
                image: disk.image.clone(),
                direct: disk.direct,
            },
            child: None,
            socket: PathBuf::new(),
        }
    }

    /// Processor time that it has used, all threads together, in microseconds.
    pub(crate) fn processor_us(&self) -> Result<u64> {
        let Some(child) = &self.child else {
            return Ok(0);
        };
        let path = format!("/proc/{}/stat", child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
        // The name, in parentheses, may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = |index: usize| fields.split_whitespace().nth(index)?.parse::<u64>().ok();
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            bail!("`{path}` has no times");
        };
        Ok((user + system) * TICK_US)
    }

    fn wait_until_it_listens(&mut self, name: &str, dir: &Path) -> Result<()> {
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            let ended = match &mut self.child {
                Some(child) => child.try_wait().context("wait for the server")?.is_some(),
                None => false,
            };
            if ended || start.elapsed() > START_LIMIT {
                let log = fs::read_to_string(dir.join("server.log")).unwrap_or_default();
                bail!("{name} does not listen on its socket: {}", log.trim());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else {
            return;
        };
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended; waiting for it tells.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if !matches!(child.try_wait(), Ok(None)) {
                // nbdkit and others leave their socket.
                let _none = fs::remove_file(&self.socket);
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let _killed = child.kill();
        let _reaped = child.wait();
        let _none = fs::remove_file(&self.socket);
    }
}
