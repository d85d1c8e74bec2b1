//! A child process as its parent holds it: a container's first process, one of `reeve exec`, a
//! hook.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::Exit;
use crate::failure::{Called, Failure};
use crate::state::has_executed;

/// A child, killed and reaped when dropped. It is only ever addressed by its pidfd, so never
/// another process that was given its number.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl ChildProcess {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            reaped: false,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends a signal; a process that has just ended does not mind.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Failure::new(
                format!("pidfd_send_signal({signal:?})"),
                errno,
            )),
        }
    }

    /// How it has ended, if it has without ever executing a program: killed for want of memory,
    /// say, when it could say nothing any more.
    pub(crate) fn ended_early(&mut self) -> Result<Option<Exit>, Failure> {
        let mut ready = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec::default();
        let ended = retry_on_intr(|| poll(&mut ready, Some(&now))).called(|| "poll(pidfd)")?;
        // Its number is its own until it is waited for.
        let pid = self.pid.as_raw_nonzero().get();
        if ended == 0 || has_executed(pid) != Some(false) {
            return Ok(None);
        }
        self.wait().map(Some)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<Exit, Failure> {
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let status = retry_on_intr(|| waitid(id.clone(), WaitIdOptions::EXITED))
            .called(|| "waitid(P_PIDFD, WEXITED)")?;
        self.reaped = true;
        status
            .map(|status| Exit::of(&status))
            .ok_or_else(|| Failure::new("waitid(P_PIDFD, WEXITED)", Errno::CHILD))
    }
}

impl ChildProcess {
    /// Leaves it to itself.
    pub(crate) fn leave(mut self) {
        self.reaped = true;
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        let ended = self.signal(Signal::KILL).and_then(|()| self.wait());
        if let Err(error) = ended {
            tracing::warn!(%error, "a child process could not be ended");
        }
    }
}
