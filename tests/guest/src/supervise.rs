//! Runs the job, passes its output on, reaps orphans, and reports how it ended.

use std::fs::OpenOptions;
use std::io::{self, PipeReader, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use guest_init::{Job, Kind, Outcome, Report, layout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};

use crate::error::{Context as _, Error};
use crate::port::{self, Port};

/// The longest sleep between two looks at children and clock.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How long output of processes that outlive the job is waited for.
const LINGER: Duration = Duration::from_secs(2);

/// Runs `job` to its end and sends the verdict.
pub(crate) fn run(job: &Job) -> Result<(), Error> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    port::send(&Report::Ready { release })?;
    let start = Instant::now();
    let outcome = match job.kind {
        Kind::Batch => run_batch(job, start)?,
        Kind::Shell => run_shell(job)?,
    };
    let elapsed = start.elapsed();
    kill_everything();
    port::send(&Report::Verdict { outcome, elapsed })
}

/// The job as a command with the environment and directory it asks for.
fn command(program: &str, job: &Job) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(&job.env).current_dir(&job.cwd);
    command
}

fn run_batch(job: &Job, start: Instant) -> Result<Outcome, Error> {
    let mut output = Port::open(layout::OUTPUT_PORT)?;
    let (reader, writer) = io::pipe().call(|| "pipe2".to_owned())?;
    let copy = writer.try_clone().call(|| "dup".to_owned())?;
    let (program, args) = job
        .argv
        .split_first()
        .ok_or_else(|| Error::new("job", "empty argv"))?;
    let spawned = command(program, job)
        .args(args)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(copy)
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(cause) => return Ok(Outcome::Failed(format!("exec `{program}`: {cause}"))),
    };
    let pid = Pid::from_child(&child);
    let limit = (job.limit_seconds > 0).then(|| Duration::from_secs(job.limit_seconds));
    let mut pipe = Some(reader);
    let outcome = loop {
        forward(&mut pipe, &mut output)?;
        if let Some(outcome) = reap(pid)? {
            break outcome;
        }
        if limit.is_some_and(|limit| start.elapsed() > limit) {
            kill_everything();
            break Outcome::TimeLimit;
        }
    };
    let ended = Instant::now();
    // Until every writer has closed its end, or for a moment: an orphan may keep it open for ever.
    while pipe.is_some() && ended.elapsed() < LINGER && forward(&mut pipe, &mut output)? {}
    output.drain()?;
    Ok(outcome)
}

/// Passes on what the pipe has within one tick; true if there was something. Takes the pipe away at
/// its end.
fn forward(pipe: &mut Option<PipeReader>, output: &mut Port) -> Result<bool, Error> {
    let Some(reader) = pipe else {
        poll(&mut [], Some(&TICK)).call(|| "poll".to_owned())?;
        return Ok(false);
    };
    let mut fds = [PollFd::new(&*reader, PollFlags::IN)];
    match poll(&mut fds, Some(&TICK)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Ok(_) => {}
        Err(errno) => return Err(Error::new("poll", errno)),
    }
    let mut buffer = [0; 4096];
    match reader
        .read(&mut buffer)
        .call(|| "read the job's output".to_owned())?
    {
        0 => *pipe = None,
        count => output.write(&buffer[..count])?,
    }
    Ok(true)
}

/// Reaps every child that ended; the job's outcome if it is among them.
fn reap(job: Pid) -> Result<Option<Outcome>, Error> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == job => return Ok(Some(outcome(status))),
            Ok(Some(_orphan)) => {}
            Ok(None) => return Ok(None),
            Err(errno) => return Err(Error::new("waitpid", errno)),
        }
    }
}

fn outcome(status: WaitStatus) -> Outcome {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Outcome::Exit(code),
        (None, Some(signal)) => Outcome::Signal(signal),
        (None, None) => Outcome::Failed("the job ended with neither status nor signal".to_owned()),
    }
}

fn run_shell(job: &Job) -> Result<Outcome, Error> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(layout::CONSOLE_PORT)
            .call(|| format!("open `{}`", layout::CONSOLE_PORT))
    };
    // `setsid --ctty` makes the port the controlling terminal, so that job control works.
    let child = command("/usr/bin/setsid", job)
        .args(["--ctty", "--wait"])
        .args(&job.argv)
        .stdin(open()?)
        .stdout(open()?)
        .stderr(open()?)
        .spawn()
        .call(|| "exec `setsid`".to_owned())?;
    let pid = Pid::from_child(&child);
    loop {
        if let Some(outcome) = reap(pid)? {
            return Ok(outcome);
        }
        poll(&mut [], Some(&TICK)).call(|| "poll".to_owned())?;
    }
}

/// Kills every process but this one, so that nothing writes while the disks are flushed.
fn kill_everything() {
    // "Group 1" is `kill(-1)`: every process but the caller, process 1. ESRCH means none is left.
    let _none_left = kill_process_group(Pid::INIT, Signal::KILL);
}
