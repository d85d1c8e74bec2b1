//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

/// Signals by their names without `SIG`, and by their numbers on every architecture that is built
/// for (signal(7)).
const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// Highest number of a signal (`_NSIG`).
const MOST: i32 = 64;

/// A signal, 0 to 64; 0 only asks whether there is a process to send one to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal(pub(super) i32);

/// What is no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no signal: a name such as TERM, SIGTERM or RTMIN+3, or a number from 0 to {MOST}, \
     is wanted"
)]
pub(super) struct NoSignal(String);

impl Signal {
    /// `SIGKILL`.
    pub(super) const KILL: Self = Self(libc::SIGKILL);
}

impl FromStr for Signal {
    type Err = NoSignal;

    fn from_str(text: &str) -> Result<Self, NoSignal> {
        let unknown = || NoSignal(text.to_owned());
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let number = text.parse().ok();
            let number = number.filter(|number| (0..=MOST).contains(number));
            return number.map(Self).ok_or_else(unknown);
        }
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let known = known.map(|(_, number)| *number);
        known
            .or_else(|| real_time(name))
            .map(Self)
            .ok_or_else(unknown)
    }
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`: within the range that the C library leaves to programs.
fn real_time(name: &str) -> Option<i32> {
    let (lowest, highest) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let (start, distance) = if let Some(rest) = name.strip_prefix("RTMIN") {
        (
            lowest,
            rest.strip_prefix('+').or(rest.is_empty().then_some("0"))?,
        )
    } else {
        let rest = name.strip_prefix("RTMAX")?;
        (
            highest,
            rest.strip_prefix('-').or(rest.is_empty().then_some("0"))?,
        )
    };
    let distance = i32::from(distance.parse::<u8>().ok()?);
    let number = if start == lowest {
        start + distance
    } else {
        start - distance
    };
    (lowest..=highest).contains(&number).then_some(number)
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = NAMES.iter().find(|(_, number)| *number == self.0);
        match known {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("kill", 9),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("USR1", libc::SIGUSR1),
            ("SIGRTMIN", libc::SIGRTMIN()),
            ("SIGRTMIN+3", libc::SIGRTMIN() + 3),
            ("RTMAX-2", libc::SIGRTMAX() - 2),
            ("rtmax", libc::SIGRTMAX()),
        ] {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal() {
        for text in [
            "",
            "SIG",
            "FOO",
            "-1",
            "65",
            "9x",
            "1000000000000",
            "RTMIN+",
            "RTMIN-1",
            "RTMIN+99",
            "RTMAX+1",
            "RTMAX-99",
            "SIGSIGTERM",
            "RTMIN+-1",
        ] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }

    #[test]
    fn prints_as_a_name() {
        assert_eq!(Signal(15).to_string(), "SIGTERM");
        assert_eq!(Signal(6).to_string(), "SIGABRT");
        assert_eq!(Signal(40).to_string(), "40");
    }
}
