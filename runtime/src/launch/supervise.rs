//! The event loop of `reeve run`: signals are forwarded, a terminal is relayed, the end of the
//! entry process ends it.

use std::io::{stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::Signal;

use super::process::ChildProcess;
use super::terminal::{RawMode, follow_size};
use super::{Error, Exit};
use crate::failure::{Called, Failure};
use crate::sys;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A signal came.
    Signal,
    /// The container's terminal has output.
    Output,
    /// The container's terminal takes input again.
    Writable,
    /// The caller typed.
    Input,
    /// The entry process ended.
    Exited,
}

/// Reads of a terminal after the end, of at most a page each: several times what a terminal holds.
const LAST_READS: usize = 256;

pub(super) fn until_exit(
    process: &mut ChildProcess,
    terminal: Option<OwnedFd>,
) -> Result<Exit, Error> {
    let signals = sys::signalfd_all().called(|| "signalfd(~[])")?;
    let relay = terminal.map(Relay::new).transpose()?;
    let mut supervisor = Supervisor { signals, relay };
    loop {
        for event in supervisor.select(process)? {
            if event == Event::Exited {
                // What was written last is still in the terminal.
                supervisor.drain()?;
                return Ok(process.wait()?);
            }
            supervisor.apply(event, process)?;
        }
    }
}

struct Supervisor {
    signals: OwnedFd,
    relay: Option<Relay>,
}

impl Supervisor {
    /// Waits until something happens.
    fn select(&self, process: &ChildProcess) -> Result<Vec<Event>, Failure> {
        let pidfd = process.pidfd();
        let stdin = stdin();
        let mut waits = vec![
            (Event::Signal, PollFd::new(&self.signals, PollFlags::IN)),
            (Event::Exited, PollFd::new(&pidfd, PollFlags::IN)),
        ];
        if let Some(relay) = &self.relay {
            if !relay.output_ended {
                waits.push((Event::Output, PollFd::new(&relay.master, PollFlags::IN)));
            }
            if !relay.pending.is_empty() {
                waits.push((Event::Writable, PollFd::new(&relay.master, PollFlags::OUT)));
            } else if !relay.input_ended {
                waits.push((Event::Input, PollFd::new(&stdin, PollFlags::IN)));
            }
        }
        let (events, mut fds): (Vec<_>, Vec<_>) = waits.into_iter().unzip();
        retry_on_intr(|| poll(&mut fds, None)).called(|| "poll()")?;
        let ready = events.into_iter().zip(&fds);
        let ready = ready.filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(event, _)| event).collect())
    }

    fn apply(&mut self, event: Event, process: &ChildProcess) -> Result<(), Failure> {
        match (event, &mut self.relay) {
            (Event::Signal, _) => self.forward(process),
            (Event::Output, Some(relay)) => relay.output().map(|_| ()),
            (Event::Writable, Some(relay)) => relay.flush(),
            (Event::Input, Some(relay)) => relay.input(),
            _ => Ok(()),
        }
    }

    fn forward(&self, process: &ChildProcess) -> Result<(), Failure> {
        while let Some(number) =
            sys::read_signal(self.signals.as_fd()).called(|| "read(signalfd)")?
        {
            match (Signal::from_named_raw(number), &self.relay) {
                (Some(Signal::WINCH), Some(relay)) => follow_size(&relay.master)?,
                // Its own children, and output into a closed pipe, are reeve's business.
                (Some(Signal::CHILD | Signal::PIPE), _) => {}
                (Some(signal), _) => process.signal(signal)?,
                // Real-time signals have no name and no safe way to be sent on.
                (None, _) => tracing::debug!(signal = number, "signal not forwarded"),
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failure> {
        let Some(relay) = &mut self.relay else {
            return Ok(());
        };
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A process that is left may write without end.
        for _ in 0..LAST_READS {
            let mut fds = [PollFd::new(&relay.master, PollFlags::IN)];
            let ready = retry_on_intr(|| poll(&mut fds, Some(&at_once))).called(|| "poll()")?;
            if ready == 0 || !relay.output()? {
                break;
            }
        }
        Ok(())
    }
}

/// Bytes between the caller's terminal and the container's.
struct Relay {
    master: OwnedFd,
    /// Typed, but not taken yet: the container's terminal may be full, and waiting for it would
    /// stop the output too.
    pending: Vec<u8>,
    input_ended: bool,
    output_ended: bool,
    _raw: RawMode,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self, Failure> {
        let flags = fcntl_getfl(&master).called(|| "fcntl(terminal, F_GETFL)")?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK)
            .called(|| "fcntl(terminal, F_SETFL, O_NONBLOCK)")?;
        Ok(Self {
            master,
            pending: Vec::new(),
            input_ended: false,
            output_ended: false,
            _raw: RawMode::enter()?,
        })
    }

    /// Passes output on; `false` at its end.
    fn output(&mut self) -> Result<bool, Failure> {
        let mut bytes = [0; 8192];
        match rustix::io::read(&self.master, &mut bytes[..]) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            // The last process closed its side.
            Ok(0) | Err(Errno::IO) => {
                self.output_ended = true;
                Ok(false)
            }
            Err(errno) => Err(Failure::new("read(terminal)", errno)),
            Ok(length) => {
                let mut rest = &bytes[..length];
                while !rest.is_empty() {
                    match retry_on_intr(|| rustix::io::write(stdout(), rest)) {
                        Ok(written) => rest = &rest[written..],
                        Err(Errno::AGAIN) => wait_for_stdout()?,
                        // Nobody reads: the container goes on without a reader, as with any closed
                        // pipe.
                        Err(_) => break,
                    }
                }
                Ok(true)
            }
        }
    }

    fn input(&mut self) -> Result<(), Failure> {
        let mut bytes = [0; 4096];
        match rustix::io::read(stdin(), &mut bytes[..]) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Ok(0) | Err(_) => {
                self.input_ended = true;
                Ok(())
            }
            Ok(length) => {
                self.pending.extend_from_slice(&bytes[..length]);
                self.flush()
            }
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match rustix::io::write(&self.master, &self.pending) {
            Ok(written) => {
                self.pending.drain(..written);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(Errno::IO) => {
                self.pending.clear();
                self.input_ended = true;
                Ok(())
            }
            Err(errno) => Err(Failure::new("write(terminal)", errno)),
        }
    }
}

/// Standard output may be non-blocking, set so by whoever shares it.
fn wait_for_stdout() -> Result<(), Failure> {
    let stdout = stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
    retry_on_intr(|| poll(&mut fds, None))
        .called(|| "poll(1)")
        .map(|_| ())
}
