//! The end of memory: which the kernel announces for a group.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::files::{is_gone, write};
use super::{CgroupDirs, Error, Groups, Layout, process};
use crate::failure::{Called, Failure};

/// Watches a container for processes that are killed because memory is at its limit.
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// `memory.events`, with the number of kills that it told last, and `cgroup.events`.
    V2 {
        events: File,
        kills: u64,
        populated: File,
        dir: PathBuf,
    },
    /// An eventfd that the kernel writes, and the group that it is of.
    V1 { event: OwnedFd, dir: PathBuf },
    /// No memory controller, so that only the end of the container can be seen.
    Blind(CgroupDirs),
}

/// What [`OomWatch::wait`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// Memory ended, for one process or more.
    Oom,
    /// The container has no process any more.
    Ended,
    /// Neither, for as long as was asked.
    Quiet,
}

impl OomWatch {
    /// Starts watching. Without a memory controller there is nothing to run out of, and only
    /// [`OomEvent::Ended`] will come.
    ///
    /// # Errors
    /// The controller's files cannot be used.
    pub fn new(dirs: &CgroupDirs) -> Result<Self, Error> {
        let layout = &Layout::detect();
        let groups = Groups { layout, dirs };
        let source = match (groups.v1("memory"), groups.v2("memory")) {
            (Some(dir), _) => watch_v1(dir)?,
            (None, Some(dir)) => watch_v2(dir)?,
            (None, None) => Source::Blind(dirs.clone()),
        };
        Ok(Self { source })
    }

    /// Waits for at most `timeout`.
    ///
    /// # Errors
    /// A call that failed.
    pub fn wait(&mut self, timeout: Duration) -> Result<OomEvent, Failure> {
        match &mut self.source {
            Source::V1 { event, dir } => wait_v1(event.as_fd(), dir, timeout),
            Source::Blind(dirs) => {
                sleep(timeout.min(Duration::from_secs(1)));
                let in_use = dirs.all().map(process::is_in_use);
                let in_use = in_use.collect::<Result<Vec<_>, _>>()?;
                Ok(quiet_or_ended(in_use.contains(&true)))
            }
            Source::V2 {
                events,
                kills,
                populated,
                dir,
            } => {
                let fds = [events.as_fd(), populated.as_fd()];
                wait_for(&fds, PollFlags::PRI, timeout)?;
                let now = kills_in(events)?;
                if now > *kills {
                    *kills = now;
                    return Ok(OomEvent::Oom);
                }
                // Reading makes the next change an event again.
                let _ = text_of(populated)?;
                Ok(quiet_or_ended(process::is_populated(dir)?))
            }
        }
    }
}

fn watch_v2(dir: &Path) -> Result<Source, Failure> {
    let open = |name: &str| {
        let path = dir.join(name);
        File::open(&path).called(|| format!("open(\"{}\")", path.display()))
    };
    let mut events = open("memory.events")?;
    let mut populated = open("cgroup.events")?;
    let _ = text_of(&mut populated)?;
    Ok(Source::V2 {
        kills: kills_in(&mut events)?,
        events,
        populated,
        dir: dir.to_owned(),
    })
}

/// `cgroup.event_control` takes the eventfd and the file that it is about.
fn watch_v1(dir: &Path) -> Result<Source, Failure> {
    let path = dir.join("memory.oom_control");
    let control = File::open(&path).called(|| format!("open(\"{}\")", path.display()))?;
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let event = eventfd(0, flags).called(|| "eventfd(0)")?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    write(&dir.join("cgroup.event_control"), &line)?;
    let dir = dir.to_owned();
    Ok(Source::V1 { event, dir })
}

/// The kernel also writes the eventfd when the group is removed.
fn wait_v1(event: BorrowedFd<'_>, dir: &Path, timeout: Duration) -> Result<OomEvent, Failure> {
    let came = wait_for(&[event], PollFlags::IN, timeout)?;
    let mut count = [0; 8];
    match rustix::io::read(event, &mut count) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
        Err(errno) => return Err(Failure::new("read(eventfd)", errno)),
    }
    if !dir.join("cgroup.event_control").exists() {
        return Ok(OomEvent::Ended);
    }
    if came {
        return Ok(OomEvent::Oom);
    }
    Ok(quiet_or_ended(process::is_in_use(dir)?))
}

fn quiet_or_ended(has_processes: bool) -> OomEvent {
    if has_processes {
        OomEvent::Quiet
    } else {
        OomEvent::Ended
    }
}

/// Whether something came.
fn wait_for(fds: &[BorrowedFd<'_>], flags: PollFlags, timeout: Duration) -> Result<bool, Failure> {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, flags))
        .collect();
    let timeout = Timespec::try_from(timeout).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(Failure::new("poll(memory events)", errno)),
    }
}

/// How many processes were killed; all there ever were once the group is gone.
fn kills_in(events: &mut File) -> Result<u64, Failure> {
    let text = text_of(events)?;
    let mut lines = text.lines();
    let kills = lines.find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
    Ok(kills.unwrap_or_default())
}

fn text_of(file: &mut File) -> Result<String, Failure> {
    let mut text = String::new();
    let start = file.seek(SeekFrom::Start(0));
    match start.and_then(|_| file.read_to_string(&mut text)) {
        Err(error) if is_gone(&error) => Ok(String::new()),
        result => result.map(|_| text).called(|| "read(cgroup events)"),
    }
}
