//! What became of a machine and its job.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use guest_init::Outcome;

use super::accel::Accel;

/// What became of a machine's job.
pub(crate) struct Verdict {
    /// `uname -r` of the machine.
    pub(crate) release: String,
    /// How the machine was executed.
    pub(crate) accel: Accel,
    /// How the job ended.
    pub(crate) ending: Ending,
    /// Time to boot.
    pub(crate) boot: Duration,
    /// Time the job took.
    pub(crate) job: Duration,
    /// What the job printed.
    pub(crate) output: String,
    /// Lines of the kernel's console worth a look.
    pub(crate) notable: Vec<String>,
    /// The kernel's whole console.
    pub(crate) console: PathBuf,
}

/// How a machine's job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself or by its own time limit, as the init saw it.
    Job(Outcome),
    /// The kernel died; this is the line it printed, or what else ended the machine.
    Died(String),
    /// The machine hung and was killed.
    Hung,
    /// No boot reached the init; why the last one did not.
    NoBoot(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Job(outcome) => outcome.fmt(f),
            Ending::Died(line) => write!(f, "died: {line}"),
            Ending::Hung => f.write_str("hung: no verdict in time"),
            Ending::NoBoot(line) => write!(f, "never booted: {line}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verdict: {} kernel={} accel={} boot={:.1}s job={:.1}s",
            self.ending,
            self.release,
            self.accel.name(),
            self.boot.as_secs_f32(),
            self.job.as_secs_f32(),
        )
    }
}

impl Verdict {
    /// Prints the verdict line after `prefix`, and what to look at when something was wrong.
    pub(crate) fn print(&self, prefix: &str) {
        let machine_failed = !matches!(self.ending, Ending::Job(_));
        for line in &self.notable {
            eprintln!("{prefix}console: {line}");
        }
        if machine_failed || !self.notable.is_empty() {
            eprintln!(
                "{prefix}the whole console is in `{}`",
                self.console.display()
            );
        }
        println!("{prefix}{self}");
    }

    /// An exit status for this process, as `timeout` and shells give it.
    pub(crate) fn exit_status(&self) -> u8 {
        match &self.ending {
            Ending::Job(Outcome::Exit(status)) => u8::try_from(*status).unwrap_or(255),
            Ending::Job(Outcome::Signal(signal)) => 128 + u8::try_from(*signal).unwrap_or(127),
            Ending::Job(Outcome::TimeLimit) | Ending::Hung => 124,
            Ending::Job(Outcome::Failed(_)) | Ending::Died(_) | Ending::NoBoot(_) => 125,
        }
    }
}
