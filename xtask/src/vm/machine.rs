//! A machine: what goes in and how it is run.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use guest_init::Job;

use super::accel::{self, Accel};
use super::files::Files;
use super::markers::{self, Trouble};
use super::monitor::{End, Limits, Mode, Seen};
use super::qemu::Root;
use super::screen::Show;
use super::verdict::{Ending, Verdict};
use crate::paths;
use crate::setup::kernels::Kernel;

/// Starts of a machine that never reached its init.
const BOOT_ATTEMPTS: u32 = 3;

/// From power-on to the init under emulation; an idle machine needs a tenth of it.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// Over the job's own limit, which the init keeps.
const JOB_GRACE: Duration = Duration::from_secs(30);

/// A machine to boot once, for one job.
pub(crate) struct Machine {
    /// Names the log of its console among those of machines that run at the same time.
    pub(crate) name: String,
    /// The kernel to boot.
    pub(crate) kernel: Kernel,
    /// Added to the kernel's command line.
    pub(crate) append: String,
    /// Guest memory.
    pub(crate) memory_mib: u32,
    /// A directory whose content is at `/payload` in the guest; nothing if not given.
    pub(crate) payload: Option<PathBuf>,
    /// Its root disk; Debian's, of [`crate::setup`], if not given.
    pub(crate) root: Option<Root>,
    /// What to run.
    pub(crate) job: Job,
    /// What is shown of the job's output as it comes.
    pub(crate) show: Show,
}

impl Machine {
    /// Boots the machine, runs the job, and says what became of it.
    pub(crate) fn run(&self) -> Result<Verdict> {
        super::ensure()?;
        let accel = Accel::choose(&self.kernel, || self.boots_under_kvm())?;
        let files = Files::make(self)?;
        let mut attempt = 1;
        let seen = loop {
            let limits = Limits {
                boot: BOOT_LIMIT,
                job: self.job_limit(),
            };
            let mode = Mode {
                show: self.show.clone(),
                until_ready: false,
            };
            let seen = files.start(self, accel, limits, mode)?;
            match &seen.end {
                End::NoBoot(line) if attempt < BOOT_ATTEMPTS => {
                    eprintln!("boot {attempt} of {} failed: {line}", self.kernel.release);
                    attempt += 1;
                }
                _ => break seen,
            }
        };
        self.verdict(accel, seen)
    }

    /// Opens the job's shell on this terminal.
    pub(crate) fn shell(&self) -> Result<()> {
        super::ensure()?;
        let accel = Accel::choose(&self.kernel, || self.boots_under_kvm())?;
        let files = Files::make(self)?;
        files.start_on_terminal(self, accel)
    }

    fn boots_under_kvm(&self) -> Result<bool> {
        let files = Files::make(self)?;
        let limits = Limits {
            boot: accel::PROBE_LIMIT,
            job: Duration::ZERO,
        };
        // An emulator that cannot even open KVM is an answer, too.
        let mode = Mode {
            show: Show::Nothing,
            until_ready: true,
        };
        let seen = files.start(self, Accel::Kvm, limits, mode);
        Ok(seen.is_ok_and(|seen| !matches!(seen.end, End::NoBoot(_))))
    }

    fn job_limit(&self) -> Duration {
        match self.job.limit_seconds {
            0 => Duration::from_secs(24 * 3600),
            seconds => Duration::from_secs(seconds) + JOB_GRACE,
        }
    }

    fn verdict(&self, accel: Accel, seen: Seen) -> Result<Verdict> {
        let console = self.write_console(&seen.console)?;
        let (ending, job) = match seen.end {
            End::Verdict(outcome, elapsed) => (Ending::Job(outcome), elapsed),
            End::Died(line) => (Ending::Died(line), Duration::ZERO),
            End::Overdue => (Ending::Hung, self.job_limit()),
            End::NoBoot(line) => (Ending::NoBoot(line), Duration::ZERO),
        };
        let is_notable = |line: &String| markers::trouble(line) == Some(Trouble::Notable);
        Ok(Verdict {
            release: self.kernel.release.clone(),
            accel,
            ending,
            boot: seen.boot,
            job,
            output: String::from_utf8_lossy(&seen.output).into_owned(),
            notable: seen.console.into_iter().filter(is_notable).collect(),
            console,
        })
    }

    fn write_console(&self, lines: &[String]) -> Result<PathBuf> {
        let dir = paths::target().join("vm");
        paths::create_dir(&dir)?;
        let path = dir.join(format!("{}-{}.log", self.name, self.kernel.version()));
        fs::write(&path, lines.join("\n") + "\n")
            .with_context(|| format!("write `{}`", path.display()))?;
        Ok(path)
    }
}
