//! One container for each column of the table.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reeve_tests::fixture::in_container;
use reeve_tests::host::PIN_DIR;
use reeve_tests::tools;

use crate::attempts::{Tried, try_ten};
use crate::failure::Failure;
use crate::stage::{Stage, io};
use crate::table::Style;

/// What came of the backup.
pub(crate) struct Backup {
    /// The copy has the data of the original.
    pub(crate) equal: bool,
    bytes: u64,
    /// Until the first container under a policy was up, and until a second one was.
    first: Duration,
    again: Duration,
    took: Duration,
}

impl Backup {
    pub(crate) fn describe(&self, style: &Style) -> String {
        let verdict = if self.equal {
            "equal to the original"
        } else {
            "DIFFERENT from the original"
        };
        format!(
            "{}
  `qemu-img convert` took {:.2} s for {} KiB, {verdict}
  \
             the container was up after {:.2} s, the kernel's look at Reeve's programs included; \
             the next one after {:.2} s",
            style.heading("the backup"),
            self.took.as_secs_f64(),
            self.bytes / 1024,
            self.first.as_secs_f64(),
            self.again.as_secs_f64(),
        )
    }
}

/// The column under the policy.
pub(crate) struct Held {
    pub(crate) results: Vec<Tried>,
    /// Output of `reeve audit`.
    pub(crate) audit: String,
}

/// The ten in a container without a policy.
pub(crate) fn without_policy(stage: &Stage) -> Result<Vec<Tried>, Failure> {
    let pin = Pin::make()?;
    let mut running = stage.container("demo-free")?.start()?;
    let ten = try_ten(stage, &mut running, &pin.path)?;
    running.finish()?;
    Ok(ten.tried)
}

/// The ten as an ordinary user.
pub(crate) fn unprivileged(stage: &Stage) -> Result<Vec<Tried>, Failure> {
    let pin = Pin::make()?;
    let mut running = stage.unprivileged("demo-user")?.start()?;
    let ten = try_ten(stage, &mut running, &pin.path)?;
    running.finish()?;
    Ok(ten.tried)
}

/// The backup and the ten in a container under the policy.
pub(crate) fn under_policy(stage: &Stage) -> Result<(Backup, Held), Failure> {
    let container = stage.container("demo-held")?.with_policy(stage.policy())?;
    let start = Instant::now();
    let mut running = container.start()?;
    running.attempt("pid")?;
    let up = start.elapsed();
    let again = time_of_another(stage)?;
    let (from, to) = (in_container(stage.image()), in_container(stage.backup()));
    let start = Instant::now();
    let copied = running.attempt(format!("exec /bin/qemu-img convert -O qcow2 {from} {to}"))?;
    let took = start.elapsed();
    let compared = compare(stage)?;
    let bytes = std::fs::metadata(stage.backup()).map_or(0, |found| found.len());
    let equal = copied.is_done() && copied.detail().is_empty() && compared;
    let backup = Backup {
        equal,
        bytes,
        first: up,
        again,
        took,
    };

    let pin = a_pin(Path::new(PIN_DIR)).unwrap_or_else(|| PathBuf::from(PIN_DIR));
    let ten = try_ten(stage, &mut running, &pin)?;
    let audit = tools::output(tools::reeve()?.args(["audit", running.id()]))?;
    running.finish()?;
    Ok((
        backup,
        Held {
            results: ten.tried,
            audit,
        },
    ))
}

/// How long a container under a policy takes to start while the programs are loaded.
fn time_of_another(stage: &Stage) -> Result<Duration, Failure> {
    let container = stage.container("demo-next")?.with_policy(stage.policy())?;
    let start = Instant::now();
    let mut running = container.start()?;
    running.attempt("pid")?;
    let took = start.elapsed();
    running.finish()?;
    Ok(took)
}

/// Whether the copy has the same content; `qemu-img compare` ends with 1 if not.
fn compare(stage: &Stage) -> Result<bool, Failure> {
    let mut compare = Command::new(tools::find("qemu-img")?);
    let done = compare
        .arg("compare")
        .arg(stage.image())
        .arg(stage.backup())
        .output();
    Ok(done
        .map_err(|source| io("execve", Path::new("qemu-img"), source))?
        .status
        .success())
}

/// An object pinned where Reeve pins its own, for who may unpin it.
struct Pin {
    path: PathBuf,
}

impl Pin {
    fn make() -> Result<Self, Failure> {
        let directory = Path::new(PIN_DIR).join("demo");
        std::fs::create_dir_all(&directory).map_err(|source| io("mkdir", &directory, source))?;
        let path = directory.join("object");
        let mut pin = Command::new(tools::find("probe")?);
        tools::output(pin.arg("bpf-obj-pin").arg(&path))?;
        Ok(Self { path })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // The last one out: what others have pinned keeps the directories.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.path.parent().map(std::fs::remove_dir);
        let _ = std::fs::remove_dir(PIN_DIR);
    }
}

/// The first object pinned below `directory`.
fn a_pin(directory: &Path) -> Option<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        if path.is_dir() {
            a_pin(&path)
        } else {
            Some(path)
        }
    })
}
