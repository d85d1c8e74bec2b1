//! The birth of a first process, in the namespaces that the plan gives it.
//!
//! One `clone3` makes it, with all its new namespaces at once. Two kinds of namespaces can only be
//! given to children: those of this process are changed for the moment of the clone. Where a user
//! namespace stands between what is joined and what is made, an intermediate process joins the one
//! and makes the other; the first process is a child of this process all the same.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::conversation::step_failed;
use super::{ChildProcess, Error};
use crate::channel::{Cause, ChildEnd, Message, ParentEnd};
use crate::child::join;
use crate::failure::{Called, Failure};
use crate::plan::Birth;
use crate::spec::{NamespaceKind, TimeOffset};
use crate::sys::{self, Cloned};

/// Makes the first process in `group`, which runs `child`.
pub(super) fn first_process(
    birth: &Birth,
    group: Option<BorrowedFd<'_>>,
    parent_end: &ParentEnd,
    child_end: ChildEnd,
    child: impl FnOnce(ChildEnd),
) -> Result<ChildProcess, Error> {
    let with_others = [NamespaceKind::User, NamespaceKind::Pid];
    if birth
        .joined
        .iter()
        .any(|(kind, _)| with_others.contains(kind))
    {
        // Those who are root there, or see it there, must not look into a process that has the
        // host's root and descriptors still (as in CVE-2016-9962). Undone by its `execve`.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .called(|| "prctl(PR_SET_DUMPABLE, 0)")?;
    }
    if birth.needs_intermediate() {
        return through_intermediate(birth, group, parent_end, child_end, child);
    }
    let _for_the_clone = ForChildren::all(birth)?;
    match clone(birth, 0, group)? {
        Cloned::Child => be(child, child_end),
        Cloned::Parent { pid, pidfd } => Ok(ChildProcess::new(pid, pidfd)),
    }
}

/// In the first process, which never returns to what its parent was doing.
fn be(child: impl FnOnce(ChildEnd), child_end: ChildEnd) -> ! {
    child(child_end);
    sys::exit_now(1)
}

fn clone(birth: &Birth, more: u64, group: Option<BorrowedFd<'_>>) -> Result<Cloned, Failure> {
    let flags = birth.clone_flags() | more;
    let into = group.map_or("", |_| "|CLONE_INTO_CGROUP");
    sys::clone3(flags, group).called(|| format!("clone3(flags={flags:#x}, CLONE_PIDFD{into})"))
}

fn through_intermediate(
    birth: &Birth,
    group: Option<BorrowedFd<'_>>,
    parent_end: &ParentEnd,
    child_end: ChildEnd,
    child: impl FnOnce(ChildEnd),
) -> Result<ChildProcess, Error> {
    let cloned = sys::clone3(0, group).called(|| "clone3(CLONE_PIDFD|CLONE_INTO_CGROUP)")?;
    let mut intermediate = match cloned {
        Cloned::Child => {
            let made = join_all(birth)
                .and_then(|()| ForChildren::all(birth))
                .and_then(|guards| {
                    // This process ends, and need not find back.
                    std::mem::forget(guards);
                    clone(birth, sys::CLONE_PARENT, None)
                });
            match made {
                Ok(Cloned::Child) => be(child, child_end),
                Ok(Cloned::Parent { pid, pidfd }) => tell(&child_end, Ok((pid, pidfd))),
                Err(failure) => tell(&child_end, Err(failure)),
            }
        }
        Cloned::Parent { pid, pidfd } => ChildProcess::new(pid, pidfd),
    };
    drop(child_end);
    born(parent_end, &mut intermediate)
}

/// Tells of the process that this intermediate one made, or why it did not, and ends.
pub(super) fn tell(child_end: &ChildEnd, made: Result<(Pid, OwnedFd), Failure>) -> ! {
    let told = match made {
        Ok((pid, pidfd)) => child_end.send_born(pid.as_raw_nonzero().get(), pidfd.as_fd()),
        Err(failure) => {
            child_end.report("join namespaces", Cause::Call(failure));
            Ok(())
        }
    };
    sys::exit_now(i32::from(told.is_err()))
}

/// The process that an intermediate one made, when that has ended.
pub(super) fn born(
    parent_end: &ParentEnd,
    intermediate: &mut ChildProcess,
) -> Result<ChildProcess, Error> {
    let born = match parent_end.receive()? {
        Some(Message::Born(pid, pidfd)) => {
            let pid = Pid::from_raw(pid);
            let pid = pid.ok_or_else(|| Failure::new("recvmsg(pid)", Errno::BADMSG))?;
            Ok(ChildProcess::new(pid, pidfd))
        }
        Some(Message::Failed(failed)) => Err(step_failed(failed)),
        _ => Err(Failure::new("recvmsg(pid)", Errno::PIPE).into()),
    };
    intermediate.wait()?;
    born
}

/// Joins what is to be joined. What belongs to the host has to come before the user namespace, what
/// belongs to that namespace after it, and only the kernel knows which is which.
fn join_all(birth: &Birth) -> Result<(), Failure> {
    let (users, others): (Vec<_>, Vec<_>) = birth
        .joined
        .iter()
        .filter(|(kind, _)| *kind != NamespaceKind::Pid)
        .partition(|(kind, _)| *kind == NamespaceKind::User);
    let mut later = Vec::new();
    for (kind, path) in others {
        match join(*kind, path) {
            Err(failure) if failure.is(Errno::PERM) && !users.is_empty() => {
                later.push((kind, path));
            }
            result => result?,
        }
    }
    for (kind, path) in users {
        join(*kind, path)?;
    }
    later
        .into_iter()
        .try_for_each(|(kind, path)| join(*kind, path))
}

/// A namespace that children of this process are born into, until dropped.
pub(super) struct ForChildren {
    own: File,
    kind: LinkNameSpaceType,
}

impl ForChildren {
    /// Those of a plan.
    fn all(birth: &Birth) -> Result<Vec<Self>, Failure> {
        let mut guards = Vec::new();
        let joined = birth.joined.iter();
        for (_, path) in joined.filter(|(kind, _)| *kind == NamespaceKind::Pid) {
            guards.push(Self::pid_of(path)?);
        }
        if birth.new_namespaces.contains(&NamespaceKind::Time) {
            guards.push(Self::time(&birth.time_offsets)?);
        }
        Ok(guards)
    }

    /// The pid namespace behind a file.
    fn pid_of(path: &Path) -> Result<Self, Failure> {
        let own = own("/proc/self/ns/pid")?;
        join(NamespaceKind::Pid, path)?;
        let kind = LinkNameSpaceType::ProcessID;
        Ok(Self { own, kind })
    }

    /// The pid namespace of a process.
    pub(super) fn pid_of_process(pidfd: BorrowedFd<'_>) -> Result<Self, Failure> {
        let own = own("/proc/self/ns/pid")?;
        let kind = LinkNameSpaceType::ProcessID;
        move_into_link_name_space(pidfd, Some(kind))
            .called(|| "setns(first process, CLONE_NEWPID)")?;
        Ok(Self { own, kind })
    }

    /// A new time namespace.
    fn time(offsets: &[TimeOffset]) -> Result<Self, Failure> {
        let own = own("/proc/self/ns/time")?;
        sys::unshare_time_namespace().called(|| "unshare(CLONE_NEWTIME)")?;
        let guard = Self {
            own,
            kind: LinkNameSpaceType::Time,
        };
        for offset in offsets {
            let line = format!("{} {} {}", offset.clock, offset.secs, offset.nanosecs);
            fs::write("/proc/self/timens_offsets", &line)
                .called(|| format!("write(\"/proc/self/timens_offsets\", \"{line}\")"))?;
        }
        Ok(guard)
    }
}

impl Drop for ForChildren {
    fn drop(&mut self) {
        if let Err(errno) = move_into_link_name_space(self.own.as_fd(), Some(self.kind)) {
            tracing::warn!(%errno, kind = ?self.kind, "children stay in the container's namespace");
        }
    }
}

fn own(path: &str) -> Result<File, Failure> {
    File::open(path).called(|| format!("open(\"{path}\")"))
}
