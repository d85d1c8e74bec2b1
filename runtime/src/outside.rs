//! What of a container's mounts only a process of the host can open, before the container's first
//! process exists.
//!
//! An id-mapped mount is made by whoever owns the file system that it shows, so not from within a
//! user namespace. And the root of a user namespace may be kept from directories on the way to what
//! is bound; that process tries first, and only what it may not open is taken from here, because
//! the mounts below a tree that was copied outside are not locked in the container. And where the
//! container is to share mounts with the host, what is bound has to be a peer of the host's mount,
//! which the root of the container's namespace is no more once the container's root lies on it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::child::{clone_path, map_ids, set_propagation};
use crate::failure::{Called, Failure};
use crate::plan::{LaunchPlan, Step};
use crate::spec::{IdMapping, IdmapFrom, Mount, MountKind, PropagationKind, SourceLink};
use crate::sys;

/// Descriptors for the first process, which inherits them and closes them when it executes.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// The tree of the root file system.
    pub(crate) rootfs: Option<OwnedFd>,
    /// Whether the trees share mounts with the host, as those that the process copies would not.
    pub(crate) peers: bool,
    /// Detached trees of bind mounts, by the number of the mount; id-mapped if that was asked for.
    pub(crate) trees: BTreeMap<usize, OwnedFd>,
    /// User namespaces with the mapping of a new file system, by the number of the mount.
    pub(crate) namespaces: BTreeMap<usize, OwnedFd>,
}

impl Outside {
    /// Opens what the plan needs from outside: nothing for most.
    pub(crate) fn open(plan: &LaunchPlan) -> Result<Self, Failure> {
        let propagation = propagation(plan);
        let mut outside = Self {
            peers: propagation.is_none(),
            ..Self::default()
        };
        if plan.private_user {
            outside.rootfs = open_tree(&plan.rootfs, (true, true), propagation).ok();
        }
        let binds = plan.private_user || outside.peers;
        let mut known: Vec<(&IdmapFrom, File)> = Vec::new();
        for step in &plan.steps {
            if let Step::Mount(mount) = step {
                outside.open_mount(mount, binds, propagation, &mut known)?;
            }
        }
        Ok(outside)
    }

    /// All of them.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let mounts = self.trees.values().chain(self.namespaces.values());
        self.rootfs.iter().chain(mounts).map(AsFd::as_fd)
    }

    fn open_mount<'p>(
        &mut self,
        mount: &'p Mount,
        binds: bool,
        propagation: Option<u64>,
        known: &mut Vec<(&'p IdmapFrom, File)>,
    ) -> Result<(), Failure> {
        let bind = match &mount.kind {
            MountKind::Bind {
                source,
                recursive,
                link,
            } => Some((source, (*recursive, *link == SourceLink::Follow))),
            _ => None,
        };
        let Some(idmap) = &mount.idmap else {
            // What cannot be opened here either is the first process's to report.
            if let Some((source, how)) = bind.filter(|_| binds)
                && let Ok(tree) = open_tree(source, how, propagation)
            {
                self.trees.insert(mount.number, tree);
            }
            return Ok(());
        };
        let at = match known.iter().position(|(from, _)| *from == &idmap.from) {
            Some(at) => at,
            None => {
                known.push((&idmap.from, user_namespace(&idmap.from)?));
                known.len() - 1
            }
        };
        let namespace = &known[at].1;
        match bind {
            Some((source, how)) => {
                let tree = open_tree(source, how, propagation)?;
                map_ids(&tree, namespace, idmap.recursive).map_err(|failure| Failure {
                    call: format!("{} on \"{}\"", failure.call, source.display()),
                    ..failure
                })?;
                self.trees.insert(mount.number, tree);
            }
            None => {
                let namespace = namespace.try_clone().called(|| "dup(user namespace)")?;
                self.namespaces.insert(mount.number, namespace.into());
            }
        }
        Ok(())
    }
}

/// How trees that were opened here have to propagate, where they would be peers of the host's
/// mounts and the first process's own are not. `None` is for peers, which a user namespace never
/// gets: what it mounts must not come to the host.
fn propagation(plan: &LaunchPlan) -> Option<u64> {
    let kind = plan.steps.iter().find_map(|step| match step {
        Step::StopPropagation(propagation) => Some(propagation.kind),
        _ => None,
    });
    match kind {
        Some(PropagationKind::Shared) if !plan.private_user => None,
        Some(PropagationKind::Private | PropagationKind::Unbindable) => Some(libc::MS_PRIVATE),
        _ => Some(libc::MS_SLAVE),
    }
}

/// A detached copy of a tree, recursive and with links followed or not.
fn open_tree(
    path: &Path,
    (recursive, follow): (bool, bool),
    propagation: Option<u64>,
) -> Result<OwnedFd, Failure> {
    let tree = clone_path(path, recursive, follow)?;
    if let Some(flag) = propagation {
        set_propagation(&tree, flag, true)?;
    }
    Ok(tree)
}

/// A user namespace with the mapping.
fn user_namespace(from: &IdmapFrom) -> Result<File, Failure> {
    match from {
        IdmapFrom::Namespace(path) => {
            File::open(path).called(|| format!("open(\"{}\")", path.display()))
        }
        IdmapFrom::Ranges { uids, gids } => {
            let helper = Helper::start()?;
            let pid = helper.pid.as_raw_nonzero();
            write_map(&format!("/proc/{pid}/uid_map"), uids)?;
            write_map(&format!("/proc/{pid}/gid_map"), gids)?;
            let path = format!("/proc/{pid}/ns/user");
            File::open(&path).called(|| format!("open(\"{path}\")"))
        }
    }
}

fn write_map(path: &str, ranges: &[IdMapping]) -> Result<(), Failure> {
    let lines = ranges.iter();
    let lines = lines.map(|map| format!("{} {} {}\n", map.container, map.host, map.size));
    let text: String = lines.collect();
    fs::write(path, &text).called(|| format!("write(\"{path}\", {text:?})"))
}

/// A process that holds a new user namespace until it is dropped.
struct Helper {
    pid: Pid,
    pidfd: OwnedFd,
    /// The process reads from the other end, and ends if this one is closed by whatever happens to
    /// its parent.
    _life: OwnedFd,
}

impl Helper {
    fn start() -> Result<Self, Failure> {
        let (wait, life) = pipe_with(PipeFlags::CLOEXEC).called(|| "pipe2(O_CLOEXEC)")?;
        match sys::clone3(libc::CLONE_NEWUSER as u64, None)
            .called(|| "clone3(CLONE_NEWUSER|CLONE_PIDFD)")?
        {
            sys::Cloned::Parent { pid, pidfd } => Ok(Self {
                pid,
                pidfd,
                _life: life,
            }),
            sys::Cloned::Child => {
                drop(life);
                let _ = rustix::io::retry_on_intr(|| rustix::io::read(&wait, &mut [0; 1]));
                sys::exit_now(0)
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // A child that was not waited for cannot be another process.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let _ = rustix::io::retry_on_intr(|| waitid(id.clone(), WaitIdOptions::EXITED));
    }
}
