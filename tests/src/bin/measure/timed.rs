//! One command under a stopwatch.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::sys::{self, Used};

/// What a command took.
pub(crate) struct Sample {
    /// From just before it was started until it had ended.
    pub(crate) wall: Duration,
    /// What it used.
    pub(crate) used: Used,
    /// Killed because it took too long.
    pub(crate) overdue: bool,
}

impl Sample {
    /// The line that is printed for it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "wall_us": micros(self.wall),
            "cpu_us": micros(self.used.cpu),
            "max_rss_kib": self.used.max_rss_kib,
            "exit_code": self.used.status.code(),
            "signal": self.used.status.signal(),
            "overdue": self.overdue,
        })
    }
}

/// Runs a command to its end, or to its `limit`. Only standard error is passed on to it.
pub(crate) fn run(command: &[&OsStr], limit: Duration) -> Result<Sample, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Usage);
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let start = Instant::now();
    let child = command.spawn();
    let child = child.map_err(Failure::call(|| format!("execve({program:?})")))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(Failure::Usage)?;
    let overdue = !ends_within(pid, limit)?;
    let used = sys::wait4(pid).map_err(Failure::call(|| format!("wait4({pid:?})")))?;
    Ok(Sample {
        wall: start.elapsed(),
        used,
        overdue,
    })
}

/// Whether the child ends in time; it is killed if not. It is left to be waited for.
fn ends_within(child: Pid, limit: Duration) -> Result<bool, Failure> {
    let opened = pidfd_open(child, PidfdFlags::empty());
    let pidfd = opened.map_err(Failure::call(|| format!("pidfd_open({child:?})")))?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut waited = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut waited, Some(&timeout)) {
            Ok(0) => break,
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::call(|| "poll(pidfd)".to_owned())(errno)),
        }
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(false),
        Err(errno) => {
            let call = || format!("pidfd_send_signal({child:?}, SIGKILL)");
            Err(Failure::call(call)(io::Error::from(errno)))
        }
    }
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::time::Duration;

    use super::run;

    fn words<'a>(words: &[&'a str]) -> Vec<&'a OsStr> {
        words.iter().copied().map(OsStr::new).collect()
    }

    #[test]
    fn a_command_is_timed_whatever_its_status() {
        let command = words(&["sh", "-c", "exit 3"]);
        let sample = run(&command, Duration::from_secs(60)).expect("there is a shell");
        assert_eq!(sample.used.status.code(), Some(3));
        assert!(!sample.overdue);
        assert!(sample.used.max_rss_kib > 0);
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed() {
        let command = words(&["sleep", "60"]);
        let sample = run(&command, Duration::from_millis(50)).expect("there is `sleep`");
        assert!(sample.overdue);
        assert_eq!(sample.to_json()["signal"], libc::SIGKILL);
        assert!(sample.wall < Duration::from_secs(30));
    }

    #[test]
    fn what_is_not_there_is_a_failure_of_its_own() {
        let missing = words(&["/nonexistent/program"]);
        assert!(run(&missing, Duration::from_secs(1)).is_err());
        assert!(run(&[], Duration::from_secs(1)).is_err());
    }
}
