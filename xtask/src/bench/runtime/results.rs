//! What was measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::stand::Outcome;

/// A command that is measured, in the order of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// `--version`: the start of the program itself.
    Version,
    /// `run` of a program that ends at once.
    Run,
    /// `create`.
    Create,
    /// `state`.
    State,
    /// `start`.
    Start,
    /// `exec` of a program that ends at once.
    Exec,
    /// `kill` with SIGKILL.
    Kill,
    /// `delete`.
    Delete,
}

impl Step {
    /// All, in order.
    pub(crate) const ALL: [Step; 8] = [
        Step::Version,
        Step::Run,
        Step::Create,
        Step::State,
        Step::Start,
        Step::Exec,
        Step::Kill,
        Step::Delete,
    ];

    /// As it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Version => "--version",
            Step::Run => "run",
            Step::Create => "create",
            Step::State => "state",
            Step::Start => "start",
            Step::Exec => "exec",
            Step::Kill => "kill",
            Step::Delete => "delete",
        }
    }
}

/// Samples of one command of one contestant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Series {
    /// Wall times in microseconds, of those that succeeded.
    pub(crate) wall_us: Vec<u64>,
    /// Processor times in microseconds, of the process and the children it waited for.
    pub(crate) cpu_us: Vec<u64>,
    /// Peak memory of the largest of these processes in KiB, over all samples.
    pub(crate) max_rss_kib: u64,
    /// How many failed.
    pub(crate) failed: u64,
    /// Why the first of them did.
    pub(crate) failure: Option<String>,
}

impl Series {
    /// Takes in one sample; whether it was a success.
    pub(crate) fn add(&mut self, outcome: &Outcome) -> bool {
        match outcome.failure() {
            None => {
                self.wall_us.push(outcome.sample.wall_us);
                self.cpu_us.push(outcome.sample.cpu_us);
                self.max_rss_kib = self.max_rss_kib.max(outcome.sample.max_rss_kib);
                true
            }
            Some(why) => {
                self.failed += 1;
                self.failure.get_or_insert(why);
                false
            }
        }
    }
}

/// The series of one command of one contestant.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Name of the contestant.
    pub(crate) contestant: String,
    /// The command.
    pub(crate) step: Step,
    /// Its samples.
    pub(crate) series: Series,
}

/// Containers started after one another, and several at a time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parallel {
    /// Name of the contestant.
    pub(crate) contestant: String,
    /// Containers of each kind.
    pub(crate) containers: u64,
    /// Time of all that were started after one another, in microseconds.
    pub(crate) serial_us: u64,
    /// Time of all that were started at a time, in microseconds.
    pub(crate) parallel_us: u64,
    /// Starts that failed.
    pub(crate) failed: u64,
    /// Why the first of them did.
    pub(crate) failure: Option<String>,
}

/// Runs under load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hangs {
    /// Name of the contestant.
    pub(crate) contestant: String,
    /// Runs that were made; fewer than asked for if too many hung.
    pub(crate) runs: u64,
    /// Runs that did not return in time.
    pub(crate) hung: u64,
    /// Runs that returned, and failed.
    pub(crate) failed: u64,
    /// Why the first of them did.
    pub(crate) failure: Option<String>,
}

/// What the measuring half found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Each command of each contestant.
    pub(crate) rows: Vec<Row>,
    /// Whose containers were killed by the benchmark itself, for want of a command.
    pub(crate) killed_for: Vec<String>,
    /// System calls of one `run`, by contestant.
    pub(crate) syscalls: BTreeMap<String, u64>,
    /// The smallest memory limit in bytes under which a program runs, by contestant.
    pub(crate) memory: BTreeMap<String, Option<u64>>,
    /// Many containers at a time.
    pub(crate) parallel: Vec<Parallel>,
    /// Runs under load.
    pub(crate) hangs: Vec<Hangs>,
    /// What the contestants left behind that they should have removed.
    pub(crate) left: Vec<String>,
}

impl Measured {
    /// The samples of one command of one contestant.
    pub(crate) fn series(&self, contestant: &str, step: Step) -> Option<&Series> {
        let wanted = |row: &&Row| row.contestant == contestant && row.step == step;
        self.rows.iter().find(wanted).map(|row| &row.series)
    }
}

/// Wall times of `run` without and with a policy, in turn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compared {
    /// Without, in microseconds.
    pub(crate) a_us: Vec<u64>,
    /// With, in microseconds.
    pub(crate) b_us: Vec<u64>,
}
