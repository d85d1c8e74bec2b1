//! Options that every command on machines has, and the jobs made from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use guest_init::{Job, Kind};
use tempfile::TempDir;

use super::machine::Machine;
use super::screen::Show;
use crate::setup::kernels::Kernel;
use crate::{paths, scratch};

/// A machine, as the command line describes it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kernel to boot: 6.1, 6.12, newest, a release; where it makes sense, `all`.
    #[arg(long, default_value = "newest")]
    pub(crate) kernel: String,
    /// Added to the kernel's command line.
    #[arg(
        long,
        value_name = "CMDLINE",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub(crate) append: String,
    /// Guest memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub(crate) memory: u32,
    /// Directory whose content is at /payload in the guest, read-only.
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    payload: Option<PathBuf>,
    /// File to put into /payload/bin, which is in PATH; may be repeated.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
}

/// The files under test; a temporary directory lives as long as this does.
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// The user's directory.
    Given(PathBuf),
    /// Copies of single files.
    Staged(TempDir),
}

impl Payload {
    /// The directory, if there is one.
    fn path(&self) -> Option<PathBuf> {
        match self {
            Payload::Empty => None,
            Payload::Given(path) => Some(path.clone()),
            Payload::Staged(dir) => Some(dir.path().to_owned()),
        }
    }
}

impl Options {
    /// Collects the files under test.
    pub(crate) fn payload(&self) -> Result<Payload> {
        match &self.payload {
            Some(path) => Ok(Payload::Given(path.clone())),
            None if self.file.is_empty() => Ok(Payload::Empty),
            None => Ok(Payload::Staged(stage(&self.file)?)),
        }
    }

    /// A machine with `kernel` for `job`.
    pub(crate) fn machine(&self, kernel: Kernel, payload: &Payload, job: Job) -> Machine {
        Machine {
            name: "run".to_owned(),
            kernel,
            append: self.append.clone(),
            memory_mib: self.memory,
            payload: payload.path(),
            root: None,
            job,
            show: Show::Plain,
        }
    }
}

/// A job without terminal and with the environment every job has.
pub(crate) fn batch(argv: Vec<String>, limit_seconds: u64) -> Job {
    Job {
        kind: Kind::Batch,
        argv,
        env: environment(),
        cwd: "/root".to_owned(),
        limit_seconds,
    }
}

/// The environment every job has.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let path = "/payload/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let pairs = [
        ("PATH", path),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        ("RUST_BACKTRACE", "1"),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A directory with copies of `files` in its `bin`.
pub(crate) fn stage(files: &[PathBuf]) -> Result<TempDir> {
    let dir = scratch::dir("payload")?;
    let bin = dir.path().join("bin");
    paths::create_dir(&bin)?;
    for file in files {
        copy(file, &bin)?;
    }
    Ok(dir)
}

/// Copies a file under its own name, with its mode.
fn copy(file: &Path, into: &Path) -> Result<()> {
    let name = file
        .file_name()
        .with_context(|| format!("`{}` has no name", file.display()))?;
    fs::copy(file, into.join(name)).with_context(|| format!("copy `{}`", file.display()))?;
    Ok(())
}
