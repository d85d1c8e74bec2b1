//! Real guests whose root disk `vmstorage` serves, over NBD and over shared memory: what they write
//! is there, and the changes that were tracked are enough to make the disk from what it was before.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use guest_init::Outcome;
use serde::Deserialize;

use crate::cmd::Cmd;
use crate::scratch;
use crate::setup::{guest_root, kernels};
use crate::vm::{self, Ending, Machine, Root, Show};

/// What the step is called, also for `--suite`.
pub(crate) const NAME: &str = "guests";

/// Any kernel will do.
const KERNEL: &str = "6.12";

/// Seconds of a job, under emulation.
const LIMIT_SECONDS: u64 = 300;

/// How long the service may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes 24 MiB that nobody could guess, and remembers what they were.
const WRITE: &str = "set -e; mkdir /root/written; cd /root/written
for number in 1 2 3 4 5 6; do head -c 4M /dev/urandom > $number; done
rm 3; sha256sum * > sums; sync";

/// Reads them back.
const READ: &str = "cd /root/written && sha256sum --quiet -c sums && test ! -e 3";

/// An extent as `vmstorage refpoint changes --json` tells it.
#[derive(Deserialize)]
struct Changed {
    offset: u64,
    length: u64,
}

/// Boots the guests; `programs` has `vmstorage`.
pub(crate) fn run(programs: &Path) -> Result<()> {
    let dir = scratch::dir(NAME)?;
    let at = |name: &str| dir.path().join(name);
    let before = guest_root::installed()?.context("the guest root is missing")?;
    let disk = at("disk.raw");
    copy(&before, &disk)?;

    let service = Service::start(programs, &disk, dir.path(), "unix")?;
    service.ctl(&["checkpoint", "create", "before"])?;
    service.ctl(&["checkpoint", "convert", "before"])?;
    boot("served over NBD", Root::Nbd(service.socket.clone()), WRITE)?;
    let changes = service.ask(&["refpoint", "changes", "disk", "--since", "before", "--json"])?;
    service.stop()?;

    let restored = at("restored.raw");
    copy(&before, &restored)?;
    let bytes = apply(&changes, &disk, &restored)?;
    eprintln!(
        "the guest changed {} MiB, as far as it was tracked",
        bytes >> 20
    );
    Cmd::new("cmp").arg(&disk).arg(&restored).run()?;
    boot("made from the increment", Root::Raw(restored), READ)?;

    let service = Service::start(programs, &disk, dir.path(), "vhost-user")?;
    boot(
        "served over vhost-user-blk",
        Root::VhostUser(service.socket.clone()),
        READ,
    )?;
    service.stop()
}

/// A copy that takes no room for holes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    Cmd::new("cp")
        .arg("--sparse=always")
        .arg(from)
        .arg(to)
        .run()
}

/// Boots a guest and runs a shell's script in it.
fn boot(what: &str, root: Root, script: &str) -> Result<()> {
    let kernel = kernels::named(KERNEL)?
        .into_iter()
        .next()
        .context("a kernel")?;
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let verdict = Machine {
        name: NAME.to_owned(),
        kernel,
        append: String::new(),
        memory_mib: 512,
        payload: None,
        root: Some(root),
        job: vm::batch(argv, LIMIT_SECONDS),
        show: Show::Nothing,
    }
    .run()
    .with_context(|| format!("a guest whose disk is {what}"))?;
    verdict.print(&format!("a disk {what} | "));
    if verdict.ending != Ending::Job(Outcome::Exit(0)) {
        bail!(
            "the guest whose disk is {what}: {verdict}\n{}",
            verdict.output.trim()
        );
    }
    Ok(())
}

/// Copies the extents of a list from one image to another; how many bytes it were.
fn apply(list: &str, from: &Path, to: &Path) -> Result<u64> {
    let changes: Vec<Changed> = serde_json::from_str(list).context("parse the changes")?;
    ensure!(
        !changes.is_empty(),
        "a guest has booted, and nothing is said to have changed"
    );
    let mut from = File::open(from).context("open the disk")?;
    let mut to = File::options()
        .write(true)
        .open(to)
        .context("open the copy")?;
    let mut bytes = 0;
    for change in &changes {
        from.seek(SeekFrom::Start(change.offset)).context("seek")?;
        to.seek(SeekFrom::Start(change.offset)).context("seek")?;
        let mut buffer = Vec::new();
        (&mut from)
            .take(change.length)
            .read_to_end(&mut buffer)
            .context("read the disk")?;
        to.write_all(&buffer).context("write the copy")?;
        bytes += change.length;
    }
    Ok(bytes)
}

/// `vmstorage serve` of one disk; dropping it kills it.
struct Service {
    program: PathBuf,
    child: Child,
    socket: PathBuf,
    control: PathBuf,
    log: PathBuf,
}

impl Service {
    /// Serves `disk` at a socket of the kind `door`.
    fn start(programs: &Path, disk: &Path, dir: &Path, door: &str) -> Result<Self> {
        let program = programs.join("vmstorage");
        let socket = dir.join(format!("{door}.sock"));
        let (control, log) = (dir.join("control"), dir.join("service.log"));
        let messages = File::create(&log).context("create the service's log")?;
        let child = Command::new(&program)
            .arg("serve")
            .arg(disk)
            .args(["--format", "raw", "--name", "disk", "--track", "--listen"])
            .arg(format!("{door}:{}", socket.display()))
            .arg("--control")
            .arg(&control)
            .stdin(Stdio::null())
            .stdout(messages.try_clone().context("dup")?)
            .stderr(messages)
            .spawn()
            .context("start `vmstorage serve`")?;
        let mut service = Service {
            program,
            child,
            socket,
            control,
            log,
        };
        let start = Instant::now();
        while !service.said().contains("ready:") {
            let ended = service.child.try_wait().context("wait for the service")?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                bail!("the service does not start: {}", service.said().trim());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(service)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let ctl = Cmd::new(&self.program)
            .arg("ctl")
            .arg("--control")
            .arg(&self.control);
        ctl.args(arguments).read()
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let command = Cmd::new(&self.program).args(arguments);
        command.arg("--control").arg(&self.control).read()
    }

    /// Ends it in order.
    fn stop(mut self) -> Result<()> {
        let asked = self.ctl(&["quit"])?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().context("wait for the service")? {
                ensure!(
                    status.success(),
                    "the service ended with {status}: {}",
                    self.said()
                );
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
        bail!("the service does not end: {}{}", asked, self.said())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _killed = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
