//! The processes of a container's cgroups.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::files::{read, read_in, walk, write};
use super::{CgroupDirs, freeze};
use crate::failure::Failure;

/// How long processes may take to die. One that does not is stuck in the kernel.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills every process in the groups and in those below them, and waits until they are gone.
///
/// # Errors
/// A process does not die; or a group cannot be read, so that it may have processes still.
pub fn kill_all(dirs: &CgroupDirs) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut wait = Duration::from_micros(200);
    let freezer = LazyCell::new(|| freeze::v1(dirs));
    loop {
        let mut left = false;
        if let Some(v2) = &dirs.v2 {
            // Before the file is written: what dies of it is still there, or was.
            left = is_populated(v2)?;
            if left {
                kill_group(v2)?;
            }
        }
        for dir in dirs.all() {
            left |= signal_all(dir)?;
        }
        if !left {
            return Ok(());
        }
        // In version 1 a frozen process dies when it is thawed.
        if let Some(dir) = &*freezer {
            freeze::thaw_v1(dir)?;
        }
        if Instant::now() > deadline {
            let call = format!("kill(processes of {:?}, SIGKILL)", dirs.v2);
            return Err(Failure::new(call, Errno::TIMEDOUT));
        }
        sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(20));
    }
}

/// One write, and nothing that forks meanwhile escapes it. A group that the container made a
/// threaded one has no such file to write; its processes are killed one by one.
fn kill_group(v2: &Path) -> Result<(), Failure> {
    match write(&v2.join("cgroup.kill"), "1") {
        Err(failure)
            if [Errno::NOENT, Errno::NODEV, Errno::OPNOTSUPP]
                .into_iter()
                .any(|errno| failure.is(errno)) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Kills what is in a group and below it; whether there was anything.
///
/// A process is held by its pidfd before the group is read a second time, so that only one that is
/// in the group is killed, whoever had its number before.
fn signal_all(dir: &Path) -> Result<bool, Failure> {
    let found = Members::of(dir)?;
    let held: Vec<(i32, OwnedFd)> = found
        .pids
        .iter()
        .filter_map(|pid| {
            let pidfd = pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty());
            Some((*pid, pidfd.ok()?))
        })
        .collect();
    let again = if held.is_empty() {
        Members::default()
    } else {
        Members::of(dir)?
    };
    for (pid, pidfd) in &held {
        if again.pids.contains(pid) {
            // A process that is gone already is what is wanted.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
    Ok(!found.is_empty())
}

/// Every process of a container, by number.
///
/// # Errors
/// A group that cannot be read, which is something else than an empty one; or a process that has no
/// number here, because it is in another pid namespace.
pub fn processes(dirs: &CgroupDirs) -> Result<Vec<Pid>, Failure> {
    let mut all = BTreeSet::new();
    for dir in dirs.all() {
        let found = Members::of(dir)?;
        if found.unnamed > 0 {
            let call = format!("read(\"{}\")", dir.join("cgroup.procs").display());
            return Err(Failure::new(call, Errno::SRCH));
        }
        all.extend(found.pids);
    }
    Ok(all.into_iter().filter_map(Pid::from_raw).collect())
}

/// Whether a group or one below it has processes; a group that there is not has none.
pub(super) fn is_in_use(dir: &Path) -> Result<bool, Failure> {
    Ok(!Members::of(dir)?.is_empty())
}

/// Puts a process into a group.
pub(super) fn join(dir: &Path, pid: Pid) -> Result<(), Failure> {
    write(&dir.join("cgroup.procs"), &pid.as_raw_nonzero().to_string())
}

/// Whether a version 2 group or one below it has processes.
pub(super) fn is_populated(v2: &Path) -> Result<bool, Failure> {
    let events = read(&v2.join("cgroup.events"))?.unwrap_or_default();
    Ok(events.lines().any(|line| line == "populated 1"))
}

/// The processes of a group and of those below it.
#[derive(Debug, Default)]
struct Members {
    /// By number, each of which is above 0.
    pids: BTreeSet<i32>,
    /// How many have no number in this pid namespace; the kernel writes 0 for them.
    unnamed: usize,
}

impl Members {
    fn of(dir: &Path) -> Result<Self, Failure> {
        let mut found = Self::default();
        let add = |group: BorrowedFd<'_>| {
            found.add(group).map_err(|failure| Failure {
                call: format!("{} in or below \"{}\"", failure.call, dir.display()),
                ..failure
            })
        };
        walk(dir, add, |_, _| Ok(()))?;
        Ok(found)
    }

    fn is_empty(&self) -> bool {
        self.pids.is_empty() && self.unnamed == 0
    }

    fn add(&mut self, group: BorrowedFd<'_>) -> Result<(), Failure> {
        match read_in(group, "cgroup.procs") {
            Ok(text) => self.add_lines(&text.unwrap_or_default()),
            // A threaded group lists its processes in the group above that is none.
            Err(failure) if failure.is(Errno::OPNOTSUPP) => {
                let threads = read_in(group, "cgroup.threads")?.unwrap_or_default();
                for thread in threads.lines() {
                    self.add_lines(&process_of(thread)?.unwrap_or_default());
                }
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn add_lines(&mut self, text: &str) {
        for line in text.lines() {
            match line.parse() {
                Ok(pid @ 1..) => {
                    self.pids.insert(pid);
                }
                _ => self.unnamed += 1,
            }
        }
    }
}

/// The process that a thread is of; `None` if it has ended.
fn process_of(thread: &str) -> Result<Option<String>, Failure> {
    if thread == "0" {
        return Ok(Some(thread.to_owned()));
    }
    let status = match read(format!("/proc/{thread}/status").as_ref()) {
        Err(failure) if failure.is(Errno::SRCH) => None,
        status => status?,
    };
    let status = status.unwrap_or_default();
    let mut lines = status.lines();
    let number = lines.find_map(|line| line.strip_prefix("Tgid:"));
    Ok(number.map(|number| number.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_process_without_a_number_is_not_none() {
        let mut found = Members::default();
        found.add_lines("12\n0\n7\n");
        assert_eq!(found.pids.len(), 2);
        assert_eq!(found.unnamed, 1);
        assert!(!found.is_empty());
    }

    #[test]
    fn unreadable_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_in_use(&dir.path().join("none")).unwrap());
        // A directory in place of the file can be opened and not read.
        fs::create_dir(dir.path().join("cgroup.procs")).unwrap();
        let dirs = CgroupDirs {
            v1: vec![dir.path().to_owned()],
            ..CgroupDirs::default()
        };
        assert!(processes(&dirs).unwrap_err().is(Errno::ISDIR));
        assert!(kill_all(&dirs).is_err());
    }

    #[test]
    fn groups_below_count() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(dir.path().join("cgroup.procs"), "5\n").unwrap();
        fs::write(below.join("cgroup.procs"), "7\n5\n").unwrap();
        let dirs = CgroupDirs {
            v2: Some(dir.path().to_owned()),
            ..CgroupDirs::default()
        };
        let found: Vec<_> = processes(&dirs).unwrap();
        let found: Vec<_> = found.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        assert_eq!(found, [5, 7]);
    }
}
