//! What one action of the probe came to, and the line that carries it out of a container.

use std::fmt;

/// The result of one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded; what it had to tell, or nothing.
    Done(String),
    /// A system call failed.
    Failed {
        /// Its errno.
        errno: i32,
        /// Its name.
        call: String,
    },
    /// The process that tried was ended by a signal.
    Killed(i32),
    /// The probe does not know the action, or not with these arguments.
    Misused(String),
}

/// An [`Outcome`] and the name of its action: a line of the probe's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// First word of the action.
    pub action: String,
    /// What came of it.
    pub outcome: Outcome,
}

impl Outcome {
    /// A failure of `call`.
    pub fn failed(call: &str, errno: i32) -> Self {
        Self::Failed {
            errno,
            call: call.to_owned(),
        }
    }

    /// Whether it succeeded.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// The errno, 0 for success; `None` for what ended otherwise.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Done(_) => Some(0),
            Self::Failed { errno, .. } => Some(*errno),
            Self::Killed(_) | Self::Misused(_) => None,
        }
    }

    /// What the action told; empty if it failed.
    pub fn detail(&self) -> &str {
        match self {
            Self::Done(detail) => detail,
            _ => "",
        }
    }

    /// Exit code of a probe that did only this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done(_) => 0,
            Self::Failed { errno, .. } => u8::try_from(*errno).unwrap_or(u8::MAX),
            Self::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::Misused(_) => EXIT_MISUSED,
        }
    }
}

/// Exit code for a wrong command line (`EX_USAGE`).
pub const EXIT_MISUSED: u8 = 64;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(detail) if detail.is_empty() => write!(f, "ok"),
            Self::Done(detail) => write!(f, "ok {detail}"),
            Self::Failed { errno, call } => {
                write!(f, "errno={errno} {} {call}", errno_name(*errno))
            }
            Self::Killed(signal) => write!(f, "signal={signal}"),
            Self::Misused(message) => write!(f, "usage {message}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.outcome)
    }
}

impl Outcome {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_once(' ').unwrap_or((text, ""));
        if head == "ok" {
            return Some(Self::Done(rest.to_owned()));
        }
        if head == "usage" {
            return Some(Self::Misused(rest.to_owned()));
        }
        if let Some(signal) = head.strip_prefix("signal=") {
            return Some(Self::Killed(signal.parse().ok()?));
        }
        let errno = head.strip_prefix("errno=")?.parse().ok()?;
        let call = rest.split_once(' ').map_or("", |(_, call)| call);
        Some(Self::failed(call, errno))
    }
}

impl Report {
    /// Reads what [`fmt::Display`] wrote; `None` for any other line.
    pub fn parse(line: &str) -> Option<Self> {
        let (action, rest) = line.trim_end().split_once(' ')?;
        let outcome = Outcome::parse(rest)?;
        Some(Self {
            action: action.to_owned(),
            outcome,
        })
    }
}

/// Symbol of an errno that a file, process or mount call may answer.
pub fn errno_name(errno: i32) -> &'static str {
    const NAMES: &[(i32, &str)] = &[
        (0, "success"),
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::EBADF, "EBADF"),
        (libc::ECHILD, "ECHILD"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::ENOTBLK, "ENOTBLK"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EMFILE, "EMFILE"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::EMLINK, "EMLINK"),
        (libc::ERANGE, "ERANGE"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENODATA, "ENODATA"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ENOKEY, "ENOKEY"),
        (libc::ESTALE, "ESTALE"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known == errno)
        .map_or("E?", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let outcomes = [
            Outcome::Done(String::new()),
            Outcome::Done("dev=8:1 ino=12".to_owned()),
            Outcome::failed("openat", libc::EACCES),
            Outcome::Killed(11),
            Outcome::Misused("open MODE PATH".to_owned()),
        ];
        for outcome in outcomes {
            let report = Report {
                action: "open".to_owned(),
                outcome,
            };
            assert_eq!(Report::parse(&report.to_string()), Some(report));
        }
    }

    #[test]
    fn the_line_of_a_refusal_names_the_errno() {
        let outcome = Outcome::failed("openat", libc::EACCES);
        let report = Report {
            action: "open".to_owned(),
            outcome,
        };
        assert_eq!(report.to_string(), "open errno=13 EACCES openat");
        assert_eq!(report.outcome.exit_code(), 13);
    }

    #[test]
    fn other_lines_are_not_reports() {
        for line in ["", "open", "hello world", "open errno=x EACCES"] {
            assert_eq!(Report::parse(line), None, "{line:?}");
        }
    }
}
