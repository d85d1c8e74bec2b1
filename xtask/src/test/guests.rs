//! Real guests whose root disk `vmstorage` serves, over NBD and over shared memory: a full backup,
//! a guest that writes, an increment of what was tracked, and a guest that boots from what is
//! restored.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use guest_init::Outcome;

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

/// Boots the guests; `programs` has `vmstorage`.
pub(crate) fn run(programs: &Path) -> Result<()> {
    let dir = scratch::dir(NAME)?;
    let at = |name: &str| dir.path().join(name);
    let (disk, backups, restored) = (at("disk.qcow2"), at("backups"), at("restored.raw"));
    let image = guest_root::installed()?.context("the guest root is missing")?;
    convert(&image, &disk)?;

    let service = Service::start(programs, &disk, dir.path(), "unix")?;
    service.back_up("before", &backups, &[])?;
    boot("served over NBD", Root::Nbd(service.socket.clone()), WRITE)?;
    service.back_up("after", &backups, &["--since", "before"])?;
    service.stop()?;

    let backup = |word: &str| Cmd::new(programs.join("vmstorage")).args(["backup", word]);
    backup("verify").arg(&backups).run()?;
    backup("list").arg(&backups).run()?;
    backup("restore")
        .arg(&backups)
        .arg("latest")
        .arg(&restored)
        .run()?;
    let compare = Cmd::new("qemu-img").args(["compare", "-f", "qcow2", "-F", "raw"]);
    compare.arg(&disk).arg(&restored).run()?;
    boot(
        "restored from a full backup and an increment",
        Root::Raw(restored),
        READ,
    )?;

    let service = Service::start(programs, &disk, dir.path(), "vhost-user")?;
    boot(
        "served over vhost-user-blk",
        Root::VhostUser(service.socket.clone()),
        READ,
    )?;
    service.stop()?;
    Cmd::new("qemu-img")
        .args(["check", "-f", "qcow2"])
        .arg(&disk)
        .run()
}

/// A qcow2 image with the content of a raw one.
fn convert(from: &Path, to: &Path) -> Result<()> {
    let convert = Cmd::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]);
    convert.arg(from).arg(to).run()
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
            .args(["--format", "qcow2", "--name", "disk", "--track", "--listen"])
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

    /// Backs up the disk as it is now, and keeps the moment as a reference point.
    fn back_up(&self, name: &str, repository: &Path, more: &[&str]) -> Result<()> {
        for action in ["create", "export"] {
            self.ctl(&["checkpoint", action, name])?;
        }
        let source = format!("nbd+unix:///disk@{name}?socket={}", self.socket.display());
        let run = Cmd::new(&self.program).args(["backup", "run", &source]);
        run.arg(repository).args(more).run()?;
        self.ctl(&["checkpoint", "convert", name]).map(drop)
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
