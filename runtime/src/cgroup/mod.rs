//! Control groups: where the container's processes are held, counted and limited.
//!
//! Version 2 first; on a hybrid host every version 1 hierarchy is joined as well. Every container
//! has a group in the version 2 tree wherever there is one, even without controllers: enforcement
//! takes it as a second witness of who a process belongs to, and freezing and killing go by it.
//!
//! A group is made by `reeve` itself, or by systemd as a transient scope. Which controller is where
//! ([`Layout`]) is looked up each time; what is remembered of a container are its directories
//! ([`CgroupDirs`]).
//!
//! Written by hand rather than with `libcgroups`: that crate names version 1 groups after itself,
//! writes process ids where the start path hands a directory to `clone3`, and brings its own copies
//! of nix, pathrs and procfs.

mod below;
mod controller;
mod cpuset;
mod devices;
mod error;
mod files;
mod freeze;
mod layout;
mod limits;
mod oom;
mod process;
mod stats;
pub mod systemd;
mod v1;

pub use below::Below;
pub use error::Error;
pub use freeze::{freeze, is_frozen, thaw};
pub use layout::{Hierarchy, Layout};
pub use oom::{OomEvent, OomWatch};
pub use process::{kill_all, processes};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, CpusetStats, HugetlbStats, MemoryEntry,
    MemoryStats, PidsStats, Pressure, PressureLine, RdmaStats, Stats, Throttling, stats,
};
pub use v1::V1Groups;

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::spec::{CgroupPath, Resources};
use crate::user;
use below::Places;
use controller::{Controller, Groups};

/// The directories of one container, as remembered in its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupDirs {
    /// In the version 2 tree.
    pub v2: Option<PathBuf>,
    /// In the version 1 hierarchies.
    pub v1: Vec<PathBuf>,
    /// Roots of the hierarchies: parents are removed up to here, not further.
    pub roots: Vec<PathBuf>,
    /// The unit, if systemd made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<systemd::Unit>,
}

impl CgroupDirs {
    /// Those of a container at `path`.
    pub fn at(layout: &Layout, path: &CgroupPath) -> Self {
        Self::below(layout, path.relative())
    }

    fn below(layout: &Layout, path: &Path) -> Self {
        let dir = |hierarchy: &Hierarchy| hierarchy.root.join(path);
        let (v2, v1): (Vec<_>, Vec<_>) = layout.hierarchies.iter().partition(|one| one.v2);
        let roots = layout.hierarchies.iter().map(|one| one.root.clone());
        Self {
            v2: v2.first().map(|one| dir(one)),
            v1: v1.into_iter().map(dir).collect(),
            roots: roots.collect(),
            scope: None,
        }
    }

    /// Every directory.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        self.v2.iter().chain(&self.v1).map(PathBuf::as_path)
    }

    /// Opens the version 1 groups, or groups below them, for a process that is to join them.
    ///
    /// # Errors
    /// A group that is not there, or is not ours to put processes into.
    pub fn open_v1(&self, below: &[Below]) -> Result<V1Groups, Error> {
        let places = Places::new(below)?;
        let groups = self.v1.iter().map(|dir| places.open(dir));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        Ok(V1Groups::open(&groups)?)
    }

    /// Opens the version 2 group, or a group below it, for a process to be born into.
    ///
    /// # Errors
    /// A group that is not there.
    pub fn open_v2(&self, below: &[Below]) -> Result<Option<OwnedFd>, Error> {
        let places = Places::new(below)?;
        let group = self.v2.as_deref().map(|dir| places.open(dir));
        Ok(group.transpose()?)
    }

    /// Kills every process in them and removes them, with the groups that the container made below
    /// and the parents that are empty then. A unit of systemd is stopped.
    ///
    /// # Errors
    /// Processes that do not die, or groups of which it cannot be known whether there are any.
    pub fn destroy(&self) -> Result<(), Failure> {
        kill_all(self)?;
        if let Some(unit) = &self.scope {
            unit.stop();
        }
        for dir in self.all() {
            files::remove_tree(dir)?;
            if self.scope.is_some() {
                // What is above is systemd's.
                continue;
            }
            for parent in dir.ancestors().skip(1) {
                let root = self.roots.iter().any(|root| root == parent);
                if root || fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sets what is given of `limits` and leaves the rest as it is.
    ///
    /// # Errors
    /// A limit that the host has not, or that the kernel refuses; those before it are set.
    pub fn update(&self, limits: &Resources) -> Result<(), Error> {
        let layout = &Layout::detect();
        if let Some(unit) = &self.scope {
            unit.update(limits, layout.pure_v2())?;
        }
        limits::apply(&Groups { layout, dirs: self }, limits)
    }
}

/// The cgroups of a container that is being started; removed with every process in them unless
/// kept.
#[derive(Debug)]
pub struct Cgroups {
    dirs: CgroupDirs,
    layout: Layout,
    /// What systemd is to make when the first process exists, and the limits of it.
    scope: Option<(systemd::Scope, Resources)>,
    v2: Option<File>,
    keep: bool,
}

impl Cgroups {
    /// Makes the groups and sets the limits. A path of systemd's form is only prepared: systemd
    /// makes a scope around a process, so [`Self::enter_scope`] does the rest.
    pub fn create(
        layout: &Layout,
        path: &CgroupPath,
        resources: &Resources,
    ) -> Result<Self, Error> {
        let dirs = CgroupDirs::at(layout, path);
        for dir in dirs.all() {
            // What is in there would be killed with the container.
            if process::is_in_use(dir)? {
                return Err(Error::InUse(dir.to_owned()));
            }
        }
        let mut cgroups = Self {
            dirs,
            layout: layout.clone(),
            scope: None,
            v2: None,
            keep: false,
        };
        if let Some(scope) = path.scope() {
            cgroups.scope = Some((systemd::Scope::new(scope.clone()), resources.clone()));
        } else {
            cgroups.make(resources)?;
        }
        Ok(cgroups)
    }

    /// Properties of the unit that systemd makes, from annotations `org.systemd.property.*`. For
    /// paths of another form they mean nothing.
    ///
    /// # Errors
    /// An annotation that is no property, or whose value cannot be understood.
    pub fn annotate<'a>(
        &mut self,
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Error> {
        match &mut self.scope {
            Some((scope, _)) => Ok(scope.annotate(annotations)?),
            None => Ok(()),
        }
    }

    fn make(&mut self, resources: &Resources) -> Result<(), Error> {
        let needed: Vec<_> = Controller::ALL
            .into_iter()
            .filter(|controller| controller.is_needed(resources))
            .filter(|controller| self.layout.v1(controller.v1_name()).is_none())
            .collect();
        if let (Some(tree), Some(dir)) = (self.layout.v2(), self.dirs.v2.clone()) {
            // systemd has handed down what it was asked for.
            let groups = Groups {
                layout: &self.layout,
                dirs: &self.dirs,
            };
            let is_there = |one: &Controller| groups.find(*one).is_some();
            let made = if self.dirs.scope.is_some() && needed.iter().all(is_there) {
                Ok(())
            } else {
                controller::make_v2(&tree.root, &dir, &needed)
            };
            match made {
                Err(Error::Call(failure)) if is_for_others(&failure) => {
                    tracing::debug!(%failure, "no cgroup v2 group");
                    self.dirs.v2 = None;
                }
                made => made?,
            }
        }
        self.make_v1()?;
        let groups = Groups {
            layout: &self.layout,
            dirs: &self.dirs,
        };
        limits::apply(&groups, resources)?;
        self.open_v2()
    }

    /// The groups of version 1, each able to take processes.
    fn make_v1(&mut self) -> Result<(), Error> {
        let mut made = Vec::new();
        for dir in std::mem::take(&mut self.dirs.v1) {
            match files::make_dir(&dir) {
                Err(failure) if is_for_others(&failure) => {
                    tracing::debug!(%failure, "no cgroup v1 group");
                    continue;
                }
                result => result?,
            }
            made.push(dir);
        }
        self.dirs.v1 = made;
        let groups = Groups {
            layout: &self.layout,
            dirs: &self.dirs,
        };
        if let (Some(tree), Some(dir)) = (self.layout.v1("cpuset"), groups.v1("cpuset")) {
            cpuset::inherit(&tree.root, dir)?;
        }
        Ok(())
    }

    fn open_v2(&mut self) -> Result<(), Error> {
        let dir = self.dirs.v2.as_deref();
        self.v2 = dir.map(files::open_dir).transpose()?;
        Ok(())
    }

    /// The directories.
    pub fn dirs(&self) -> &CgroupDirs {
        &self.dirs
    }

    /// The version 2 group, into which the first process is born; with systemd there is none before
    /// [`Self::enter_scope`].
    pub fn v2(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// Has systemd make a scope around the first process, if the path is of its form; otherwise
    /// does nothing. Afterwards [`Self::dirs`] says where the process is.
    ///
    /// # Errors
    /// A scope that systemd does not make. The process must not go on.
    pub fn enter_scope(&mut self, pid: Pid) -> Result<(), Error> {
        let Some((scope, resources)) = self.scope.take() else {
            return Ok(());
        };
        let path = scope.start(pid, &resources, self.layout.pure_v2())?;
        self.dirs = CgroupDirs {
            scope: Some(scope.unit().clone()),
            ..CgroupDirs::below(&self.layout, &path)
        };
        self.make(&resources)?;
        match &self.dirs.v2 {
            Some(v2) => Ok(process::join(v2, pid)?),
            None => Ok(()),
        }
    }

    /// Leaves the groups where they are, for a container that goes on without this process.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = self.dirs.destroy() {
            tracing::warn!(%error, "cgroups of the container are left over");
        }
    }
}

/// Whether a group cannot be made because the hierarchy is not ours to change, as for a user who is
/// not root. Limits that would need it are errors later.
fn is_for_others(failure: &Failure) -> bool {
    let denied = [Errno::ACCESS, Errno::PERM, Errno::ROFS];
    denied.into_iter().any(|errno| failure.is(errno)) && user::is_rootless()
}

#[cfg(test)]
mod tests;
