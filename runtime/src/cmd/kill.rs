//! `reeve kill`: sends a signal to a container.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::ps::members;
use super::signal::Signal;
use crate::cgroup::CgroupDirs;
use crate::failure::Failure;
use crate::spec::ContainerId;
use crate::state::{State, Status};
use crate::sys;

/// Send a signal to a container's first process
///
/// It goes to the very process that the container was started with: a number that was given to
/// another one meanwhile is noticed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve kill web                # SIGTERM
  reeve kill web KILL           # by name, with or without SIG
  reeve kill web 10             # by number
  reeve kill web SIGRTMIN+3     # a real-time signal
  reeve kill --all web KILL     # every process of the container
  reeve kill web 0              # nothing is sent; fails if it has ended")]
pub struct Args {
    /// Send it to every process of the container
    #[arg(short, long)]
    all: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Name or number of the signal
    #[arg(value_name = "SIGNAL", default_value = "TERM")]
    signal: Signal,
}

/// Why no signal was sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container has ended, or has no process yet.
    #[error("container not running: `{0}`")]
    NotRunning(ContainerId),
    /// A system call.
    #[error(transparent)]
    Call(#[from] Failure),
}

impl Error {
    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotRunning(id) => Some(format!("`reeve state {id}` says how it is")),
            Self::Call(_) => None,
        }
    }
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, super::Error> {
    let state = State::load(root, &args.id)?;
    if args.all {
        // Processes may be left when the first one has ended, and none is no error: engines clean
        // up with this.
        signal_all(&state.cgroups, args.signal).map_err(Error::Call)?;
        if state.cgroups.all().next().is_none() {
            // Without groups the first process is all that is known of them.
            match signal_first(&state, args.signal) {
                Ok(()) | Err(Error::NotRunning(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    } else {
        signal_first(&state, args.signal)?;
    }
    if args.signal == Signal::KILL {
        thaw_v1(&state.cgroups).map_err(Error::Call)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn signal_first(state: &State, signal: Signal) -> Result<(), Error> {
    let not_running = || Error::NotRunning(state.id.clone());
    let process = state.process.ok_or_else(not_running)?;
    let pidfd = open(process.pid)?.ok_or_else(not_running)?;
    // Asked after the descriptor was made: now it is known whose it is.
    if !process.runs() || state.status() == Status::Stopped {
        return Err(not_running());
    }
    let alone = signal == Signal::KILL && !is_init(process.pid);
    if !send(&pidfd, process.pid, signal)? {
        return Err(not_running());
    }
    if alone {
        signal_all(&state.cgroups, signal)?;
    }
    Ok(())
}

/// Whether a process is the first of its pid namespace: then the kernel ends all others with it.
/// In a namespace of others' they would be left behind.
fn is_init(pid: i32) -> bool {
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.and_then(|numbers| numbers.split_whitespace().last()) == Some("1")
}

/// Sends to every process of the groups, until a look finds none that was not sent to: one that
/// forks meanwhile does not get its child past it.
fn signal_all(cgroups: &CgroupDirs, signal: Signal) -> Result<(), Failure> {
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let pids = members(cgroups)?;
        let fresh = pids.into_iter().filter(|pid| !done.contains(pid));
        let mut opened = Vec::new();
        for pid in fresh {
            if let Some(pidfd) = open(pid)? {
                opened.push((pid, pidfd));
            }
        }
        if opened.is_empty() {
            break;
        }
        // A number that is still in the group after its descriptor was made is that process's, or
        // that of an ended one, which gets nothing.
        let still = members(cgroups)?;
        for (pid, pidfd) in opened {
            if still.contains(&pid) {
                send(&pidfd, pid, signal)?;
            }
            done.push(pid);
        }
    }
    Ok(())
}

/// Rounds of [`signal_all`]; a container that forks without end has every one of them.
const ROUNDS: usize = 100;

fn open(pid: i32) -> Result<Option<OwnedFd>, Failure> {
    let Some(number) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        // EINVAL: a thread that is no process any more.
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(errno) => Err(Failure::new(format!("pidfd_open({pid})"), errno)),
    }
}

/// Whether there was a process to send it to.
fn send(pidfd: &OwnedFd, pid: i32, signal: Signal) -> Result<bool, Failure> {
    match sys::pidfd_send_signal(pidfd.as_fd(), signal.0) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(errno) => {
            let call = format!("pidfd_send_signal(pidfd of {pid}, {signal})");
            Err(Failure::new(call, errno))
        }
    }
}

/// Lets the processes of a paused container run, and so end. In version 1 a frozen process does not
/// even die of `SIGKILL`; in version 2 it does.
fn thaw_v1(cgroups: &CgroupDirs) -> Result<(), Failure> {
    let files = cgroups.v1.iter().map(|dir| dir.join("freezer.state"));
    for file in files.filter(|file| file.exists()) {
        let path = file.display();
        fs::write(&file, "THAWED").map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Failure::new(format!("write(\"{path}\", \"THAWED\")"), errno)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command};

    use super::*;
    use crate::state::{ProcessName, VERSION};

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    fn state(process: Option<ProcessName>) -> State {
        let text = serde_json::json!({
            "version": VERSION, "id": "a", "process": process, "creator": null, "bundle": "/b",
            "created_ms": 0, "cgroups": {"v2": null, "v1": [], "roots": []}, "policy": null,
        });
        serde_json::from_value(text).unwrap()
    }

    fn name(child: &Child) -> ProcessName {
        ProcessName::of(child.id().cast_signed()).unwrap()
    }

    #[test]
    fn the_first_process_gets_it() {
        let mut child = sleeper();
        let state = state(Some(name(&child)));
        signal_first(&state, Signal(0)).unwrap();
        signal_first(&state, Signal(libc::SIGRTMIN() + 3)).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGRTMIN() + 3));
        let error = signal_first(&state, Signal(15)).unwrap_err();
        assert!(matches!(error, Error::NotRunning(_)), "{error}");
    }

    #[test]
    fn another_process_with_its_number_does_not() {
        let mut child = sleeper();
        let mut process = name(&child);
        process.start_ticks += 1;
        let error = signal_first(&state(Some(process)), Signal::KILL).unwrap_err();
        assert!(matches!(error, Error::NotRunning(_)), "{error}");
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// In the host's pid namespace nothing ends with the first process.
    #[test]
    fn killing_the_first_process_leaves_no_other_behind() {
        let group = tempfile::tempdir().unwrap();
        let (mut first, mut other) = (sleeper(), sleeper());
        let pids = format!("{}\n{}\n", first.id(), other.id());
        fs::write(group.path().join("cgroup.procs"), pids).unwrap();
        let mut state = state(Some(name(&first)));
        state.cgroups.v1.push(group.path().to_owned());
        assert!(!is_init(first.id().cast_signed()));
        signal_first(&state, Signal::KILL).unwrap();
        for child in [&mut first, &mut other] {
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
    }

    #[test]
    fn every_process_of_the_groups_gets_it() {
        let group = tempfile::tempdir().unwrap();
        let below = group.path().join("below");
        fs::create_dir(&below).unwrap();
        let mut children = [sleeper(), sleeper()];
        let dirs = [group.path(), below.as_path()];
        for (dir, child) in dirs.iter().zip(&children) {
            fs::write(dir.join("cgroup.procs"), format!("{}\n", child.id())).unwrap();
        }
        let cgroups = CgroupDirs {
            v2: Some(group.path().to_owned()),
            ..CgroupDirs::default()
        };
        signal_all(&cgroups, Signal(libc::SIGUSR1)).unwrap();
        for child in &mut children {
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGUSR1));
        }
        // Numbers of processes that are gone are passed over.
        signal_all(&cgroups, Signal::KILL).unwrap();
    }
}
