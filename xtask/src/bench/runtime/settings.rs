//! What one half of the benchmark tells the other.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What can be measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
pub(crate) enum Part {
    /// Each command in turn.
    Latency,
    /// System calls of one `run`.
    Syscalls,
    /// The smallest memory limit.
    Memory,
    /// Many containers at a time.
    Parallel,
    /// Runs that never return, under load.
    Hangs,
    /// `run` with a policy, in a virtual machine.
    Policy,
}

/// Something that runs containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contestant {
    /// How it is called in the results; also the beginning of its containers' ids.
    pub(crate) name: String,
    /// Its program.
    pub(crate) path: PathBuf,
    /// What it understands.
    pub(crate) kind: Kind,
}

/// What a contestant understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// An OCI runtime with the command line of runc.
    Runtime {
        /// It has the command `kill`.
        can_kill: bool,
    },
    /// `measure floor`.
    Floor,
}

/// What the measuring half gets to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// What to measure.
    pub(crate) parts: Vec<Part>,
    /// Samples of each command.
    pub(crate) runs: u64,
    /// The stopwatch.
    pub(crate) measure: PathBuf,
    /// What is measured, in the order of the results.
    pub(crate) contestants: Vec<Contestant>,
    /// A directory for everything.
    pub(crate) dir: PathBuf,
    /// Name of the cgroup in which all containers are, directly below the root of each hierarchy.
    pub(crate) cgroup: String,
    /// `runc spec`.
    pub(crate) spec: Value,
    /// Containers that are started at a time, and after one another.
    pub(crate) containers: u64,
    /// How many of them are being started at one moment.
    pub(crate) at_once: usize,
    /// Runs under load.
    pub(crate) hang_runs: u64,
    /// Whom they are of.
    pub(crate) hangs_of: Vec<String>,
}

impl Settings {
    /// The root file system of all containers.
    pub(crate) fn rootfs(&self) -> PathBuf {
        rootfs(&self.dir)
    }

    /// Where the measuring half leaves what it measured.
    pub(crate) fn results(&self) -> PathBuf {
        self.dir.join("results.json")
    }

    /// The runtimes among the contestants.
    pub(crate) fn runtimes(&self) -> impl Iterator<Item = &Contestant> {
        let is_runtime = |one: &&Contestant| matches!(one.kind, Kind::Runtime { .. });
        self.contestants.iter().filter(is_runtime)
    }
}

/// The root file system in the benchmark's directory.
pub(crate) fn rootfs(dir: &Path) -> PathBuf {
    dir.join("rootfs")
}
