//! The version 1 groups of a process, which it joins by itself.
//!
//! Moving another process, or a whole one, takes a lock that waits for a grace period of RCU: 5 to
//! 6 ms (Linux 6.18). A thread that moves itself takes none, 35 µs a group: it writes 0 into
//! `tasks` ("cgroup: Optimize single thread migration", Linux 5.5). A process that has just been
//! cloned is one thread.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, openat};

use crate::failure::{Called as _, Failure};

/// The open `tasks` files of a container's groups, one in each hierarchy of version 1.
///
/// The kernel asks what the one who opened them may do, not the one who writes.
#[derive(Debug, Default)]
pub struct V1Groups(Vec<OwnedFd>);

impl V1Groups {
    pub(super) fn open(groups: &[OwnedFd]) -> Result<Self, Failure> {
        let open = |group: &OwnedFd| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            openat(group, "tasks", flags, Mode::empty())
                .called(|| format!("open(\"{}/tasks\", O_WRONLY)", name(group).display()))
        };
        groups.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(OwnedFd::as_fd).collect()
    }

    /// Puts the calling thread, the only one of its process, into each group, and closes them.
    ///
    /// # Errors
    /// A group that does not take it. The process must not go on.
    pub(crate) fn join(self) -> Result<(), Failure> {
        self.0.iter().try_for_each(|tasks| {
            let written = rustix::io::write(tasks, b"0").map(|_| ());
            written.called(|| format!("write(\"{}\", \"0\")", name(tasks).display()))
        })
    }
}

/// For messages.
fn name(file: &OwnedFd) -> PathBuf {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    path.unwrap_or_else(|_| PathBuf::from("a cgroup"))
}

impl From<Vec<OwnedFd>> for V1Groups {
    fn from(tasks: Vec<OwnedFd>) -> Self {
        Self(tasks)
    }
}
