//! A server that runs.

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

impl Running {
    /// Starts a server and waits until it listens; `dir` takes what it says.
    pub(crate) fn launch(
        mut command: Command,
        name: &str,
        socket: PathBuf,
        dir: &Path,
    ) -> Result<Self> {
        let log = fs::File::create(dir.join("server.log")).context("create the server's log")?;
        command
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let mut running = Self {
            target: Target::Nbd(format!("nbd+unix:///?socket={}", socket.display())),
            child: Some(child),
            socket,
        };
        running.wait_until_it_listens(name, dir)?;
        Ok(running)
    }

    /// No server: fio goes to the image.
    pub(crate) fn none(image: &Path, direct: bool) -> Self {
        Self {
            target: Target::File {
                image: image.to_owned(),
                direct,
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

    /// Memory that it has in use, in KiB.
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        let pid = self.child.as_ref().map_or(0, Child::id);
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        let number = number.with_context(|| format!("`{path}` has no VmRSS"))?;
        number.parse().with_context(|| format!("parse `{number}`"))
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
