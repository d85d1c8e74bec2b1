//! What the init tells the runner, one line each.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A line on the report port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The init runs, the root is mounted, the job starts next. From here on nothing is retried.
    Ready {
        /// `uname -r` of the guest.
        release: String,
    },
    /// The job ended. The last line, and there is one of it.
    Verdict {
        /// How it ended.
        outcome: Outcome,
        /// Wall-clock time of the job alone, without the boot.
        elapsed: Duration,
    },
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this status.
    Exit(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// Its time limit passed and everything was killed.
    TimeLimit,
    /// It could not be run; the reason is one line.
    Failed(String),
}

/// A line on the report port that is none.
#[derive(Debug, thiserror::Error)]
#[error("not a report line: `{0}`")]
pub struct ParseReportError(String);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Exit(status) => write!(f, "exit={status}"),
            Outcome::Signal(signal) => write!(f, "signal={signal}"),
            Outcome::TimeLimit => write!(f, "time-limit"),
            Outcome::Failed(reason) => write!(f, "failed={}", reason.replace('\n', "; ")),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Ready { release } => write!(f, "ready {release}"),
            Report::Verdict { outcome, elapsed } => {
                write!(f, "verdict ms={} {outcome}", elapsed.as_millis())
            }
        }
    }
}

impl FromStr for Outcome {
    type Err = ParseReportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseReportError(text.to_owned());
        if text == "time-limit" {
            return Ok(Outcome::TimeLimit);
        }
        let (key, value) = text.split_once('=').ok_or_else(bad)?;
        match key {
            "exit" => value.parse().map(Outcome::Exit).map_err(|_| bad()),
            "signal" => value.parse().map(Outcome::Signal).map_err(|_| bad()),
            "failed" => Ok(Outcome::Failed(value.to_owned())),
            _ => Err(bad()),
        }
    }
}

impl FromStr for Report {
    type Err = ParseReportError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let bad = || ParseReportError(line.to_owned());
        match line.split_once(' ').ok_or_else(bad)? {
            ("ready", release) => Ok(Report::Ready {
                release: release.to_owned(),
            }),
            ("verdict", rest) => {
                let (ms, outcome) = rest.split_once(' ').ok_or_else(bad)?;
                let ms = ms
                    .strip_prefix("ms=")
                    .and_then(|ms| ms.parse().ok())
                    .ok_or_else(bad)?;
                Ok(Report::Verdict {
                    outcome: outcome.parse().map_err(|_| bad())?,
                    elapsed: Duration::from_millis(ms),
                })
            }
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Report};
    use std::time::Duration;

    #[test]
    fn every_report_survives_the_wire() {
        let outcomes = [
            Outcome::Exit(0),
            Outcome::Exit(101),
            Outcome::Signal(9),
            Outcome::TimeLimit,
            Outcome::Failed("exec `x=y`: no such file".to_owned()),
        ];
        let elapsed = Duration::from_millis(12_345);
        let mut reports: Vec<Report> = outcomes
            .into_iter()
            .map(|outcome| Report::Verdict { outcome, elapsed })
            .collect();
        reports.push(Report::Ready {
            release: "6.1.0-56-cloud-amd64".to_owned(),
        });
        for report in reports {
            let line = report.to_string();
            assert_eq!(line.parse::<Report>().expect(&line), report);
        }
    }

    #[test]
    fn noise_is_refused() {
        for line in [
            "",
            "ready",
            "verdict",
            "verdict ms=x exit=0",
            "verdict ms=1 exit=x",
            "hello you",
        ] {
            assert!(
                line.parse::<Report>().is_err(),
                "`{line}` was taken for a report"
            );
        }
    }
}
