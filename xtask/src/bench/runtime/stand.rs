//! The test stand: runs the contestants' commands under the stopwatch.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::bundle::Bundle;
use super::settings::{Contestant, Kind, Settings};

/// Seconds within which every command has to return.
pub(crate) const LIMIT_SECONDS: u64 = 30;

/// What is kept of what a command that failed had to say.
const MOST_CHARACTERS: usize = 300;

/// What the stopwatch prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Sample {
    pub(crate) wall_us: u64,
    pub(crate) cpu_us: u64,
    pub(crate) max_rss_kib: u64,
    exit_code: Option<i32>,
    signal: Option<i32>,
    pub(crate) overdue: bool,
}

/// A command that was run.
pub(crate) struct Outcome {
    pub(crate) sample: Sample,
    stderr: String,
}

impl Outcome {
    /// Why it failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        let how = match (self.sample.overdue, self.sample.exit_code) {
            (true, _) => "did not return".to_owned(),
            (false, Some(0)) => return None,
            (false, Some(code)) => format!("exit {code}"),
            (false, None) => format!("signal {}", self.sample.signal.unwrap_or_default()),
        };
        let said = self.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(MOST_CHARACTERS).collect();
        Some(match said.is_empty() {
            true => how,
            false => format!("{how}: {said}"),
        })
    }
}

/// Runs the contestants' commands.
pub(crate) struct Stand<'a> {
    /// What is measured.
    pub(crate) settings: &'a Settings,
}

impl Stand<'_> {
    /// Writes a bundle for the container `id`.
    pub(crate) fn bundle(&self, id: &str, args: &[&str], memory: Option<u64>) -> Result<PathBuf> {
        Bundle {
            spec: &self.settings.spec,
            rootfs: &self.settings.rootfs(),
            cgroup: format!("/{}/{id}", self.settings.cgroup),
            args,
            memory,
        }
        .write(&self.settings.dir.join("bundles").join(id))
    }

    /// Where a contestant keeps the state of its containers.
    pub(crate) fn state_root(&self, contestant: &Contestant) -> PathBuf {
        self.settings.dir.join("state").join(&contestant.name)
    }

    /// The command line of a contestant's command.
    pub(crate) fn line<S: AsRef<OsStr>>(
        &self,
        contestant: &Contestant,
        words: &[S],
    ) -> Vec<OsString> {
        let mut line = vec![contestant.path.clone().into_os_string()];
        if matches!(contestant.kind, Kind::Runtime { .. }) {
            line.push("--root".into());
            line.push(self.state_root(contestant).into());
        }
        line.extend(words.iter().map(|word| word.as_ref().to_owned()));
        line
    }

    /// Runs a contestant's command.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        contestant: &Contestant,
        words: &[S],
    ) -> Result<Outcome> {
        self.time(&self.line(contestant, words), LIMIT_SECONDS)
    }

    /// Runs a command line.
    pub(crate) fn time(&self, line: &[OsString], limit_seconds: u64) -> Result<Outcome> {
        // A file and not a pipe: a container that stays would hold the pipe open.
        let mut stderr = tempfile::tempfile().context("make a temporary file")?;
        let output = Command::new(&self.settings.measure)
            .arg("time")
            .arg(limit_seconds.to_string())
            .arg("--")
            .args(line)
            .stdin(Stdio::null())
            .stderr(stderr.try_clone().context("dup(temporary file)")?)
            .output()
            .with_context(|| format!("run `{}`", self.settings.measure.display()))?;
        let mut said = Vec::new();
        stderr.rewind().context("lseek(temporary file)")?;
        stderr
            .read_to_end(&mut said)
            .context("read(temporary file)")?;
        let said = String::from_utf8_lossy(&said).into_owned();
        if !output.status.success() {
            bail!("the stopwatch failed on {line:?}: {}", said.trim());
        }
        let sample = serde_json::from_slice(&output.stdout);
        Ok(Outcome {
            sample: sample.with_context(|| format!("the stopwatch printed {:?}", output.stdout))?,
            stderr: said,
        })
    }

    /// Runs a program that ends at once in the container `id`, whose bundle is written already.
    pub(crate) fn run(
        &self,
        contestant: &Contestant,
        id: &str,
        limit_seconds: u64,
    ) -> Result<Outcome> {
        let line = self.run_line(contestant, id);
        let outcome = self.time(&line, limit_seconds)?;
        if outcome.failure().is_some() {
            self.remove(contestant, id)?;
        }
        Ok(outcome)
    }

    /// The command line of [`Stand::run`].
    pub(crate) fn run_line(&self, contestant: &Contestant, id: &str) -> Vec<OsString> {
        let bundle = self.settings.dir.join("bundles").join(id);
        match contestant.kind {
            Kind::Runtime { .. } => {
                let words = ["run", "--bundle"].map(OsString::from);
                let words = words.into_iter().chain([bundle.into(), id.into()]);
                self.line(contestant, &words.collect::<Vec<_>>())
            }
            Kind::Floor => {
                let rootfs = self.settings.rootfs();
                let words = ["floor".into(), rootfs.into(), super::bundle::TRUE.into()];
                self.line::<OsString>(contestant, &words)
            }
        }
    }

    /// Removes a container that may be in any state, or not there.
    pub(crate) fn remove(&self, contestant: &Contestant, id: &str) -> Result<()> {
        if matches!(contestant.kind, Kind::Runtime { .. }) {
            self.command(contestant, &["delete", "--force", id])?;
        }
        Ok(())
    }
}
