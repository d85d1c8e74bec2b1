//! Control groups: where the container's processes are held, counted and limited.
//!
//! Version 2 first; on a hybrid host the version 1 hierarchies that limit or freeze are joined as
//! well. Every container has a group in the version 2 tree wherever there is one, even without
//! controllers: enforcement takes it as a second witness of who a process belongs to.
//!
//! Written by hand rather than with `libcgroups`: that crate names version 1 groups after itself,
//! writes process ids where the start path hands a directory to `clone3`, and brings its own copies
//! of nix, pathrs and procfs.

mod layout;
mod limits;
mod process;

pub use layout::{Hierarchy, Layout};
pub use process::kill_all;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::failure::{Called, Failure};
use crate::spec::{CgroupPath, Resources};

/// Why cgroups could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of a hierarchy.
    #[error(transparent)]
    Call(#[from] Failure),
    /// A limit whose controller is in no hierarchy.
    #[error("`linux.resources` needs the `{controller}` cgroup controller, which this host lacks")]
    NoController {
        /// Which.
        controller: &'static str,
    },
    /// A limit whose controller cannot be handed down to the container's group.
    #[error("cannot enable the `{controller}` controller in {}", .at.display())]
    NotEnabled {
        /// Which.
        controller: &'static str,
        /// The group whose children would have it.
        at: PathBuf,
        /// Why.
        source: Failure,
    },
    /// The group exists and has processes.
    #[error("cgroup {} is in use", .0.display())]
    InUse(PathBuf),
    /// No version 2 tree, which enforcement needs.
    #[error("no cgroup2 file system is mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified")]
    NoVersion2,
}

impl Error {
    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoVersion2 => Some("mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"),
            Self::NoController { .. } | Self::NotEnabled { .. } => {
                Some("remove the limit from config.json, or choose another `linux.cgroupsPath`")
            }
            Self::InUse(_) => Some("choose another `linux.cgroupsPath`"),
            Self::Call(_) => None,
        }
    }
}

/// The directories of one container, as remembered in its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupDirs {
    /// In the version 2 tree.
    pub v2: Option<PathBuf>,
    /// In the version 1 hierarchies.
    pub v1: Vec<PathBuf>,
    /// Roots of the hierarchies: parents are removed up to here, not further.
    pub roots: Vec<PathBuf>,
}

impl CgroupDirs {
    /// Those of a container at `path`.
    pub fn at(layout: &Layout, path: &CgroupPath) -> Self {
        let dir = |hierarchy: &Hierarchy| hierarchy.root.join(path.relative());
        let (v2, v1): (Vec<_>, Vec<_>) = layout.hierarchies.iter().partition(|one| one.v2);
        Self {
            v2: v2.first().map(|one| dir(one)),
            v1: v1.into_iter().map(dir).collect(),
            roots: layout
                .hierarchies
                .iter()
                .map(|one| one.root.clone())
                .collect(),
        }
    }

    /// Every directory.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        self.v2.iter().chain(&self.v1).map(PathBuf::as_path)
    }

    /// Puts a process into the version 1 groups.
    pub fn enroll_v1(&self, pid: Pid) -> Result<(), Failure> {
        let pid = pid.as_raw_nonzero().to_string();
        for dir in &self.v1 {
            write(&dir.join("cgroup.procs"), &pid)?;
        }
        Ok(())
    }

    /// Kills every process in them and removes them, with the groups that the container made below
    /// and the parents that are empty then.
    pub fn destroy(&self) -> Result<(), Failure> {
        kill_all(self)?;
        for dir in self.all() {
            remove_tree(dir)?;
            for parent in dir.ancestors().skip(1) {
                let root = self.roots.iter().any(|root| root == parent);
                if root || fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The cgroups of a container that is being started; removed with every process in them unless
/// kept.
#[derive(Debug)]
pub struct Cgroups {
    dirs: CgroupDirs,
    v2: Option<File>,
    keep: bool,
}

impl Cgroups {
    /// Makes the groups and sets the limits.
    pub fn create(
        layout: &Layout,
        path: &CgroupPath,
        resources: &Resources,
    ) -> Result<Self, Error> {
        let dirs = CgroupDirs::at(layout, path);
        for dir in dirs.all() {
            if !process::processes(dir).unwrap_or_default().is_empty() {
                return Err(Error::InUse(dir.to_owned()));
            }
        }
        let mut cgroups = Self {
            dirs,
            v2: None,
            keep: false,
        };
        for dir in cgroups.dirs.all() {
            make_dir(dir).called(|| format!("mkdir(\"{}\")", dir.display()))?;
        }
        limits::apply(layout, &cgroups.dirs, path, resources)?;
        if let Some(dir) = &cgroups.dirs.v2 {
            let open = || format!("open(\"{}\", O_DIRECTORY)", dir.display());
            cgroups.v2 = Some(File::open(dir).called(open)?);
        }
        Ok(cgroups)
    }

    /// The directories.
    pub fn dirs(&self) -> &CgroupDirs {
        &self.dirs
    }

    /// The version 2 group, into which the first process is born.
    pub fn v2(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// Puts a process into the version 1 groups.
    pub fn enroll_v1(&self, pid: Pid) -> Result<(), Failure> {
        self.dirs.enroll_v1(pid)
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

/// Makes a directory and its parents. A parent may vanish meanwhile: the last container to leave
/// removes it.
fn make_dir(dir: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::create_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 100 => tries += 1,
            result => return result,
        }
    }
}

/// Removes a group and those below it. The kernel may call a group busy for a moment after its last
/// process.
fn remove_tree(dir: &Path) -> Result<(), Failure> {
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_tree(&entry.path())?;
            }
        }
    }
    let mut tries = 0;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries < 200 => {
                tries += 1;
                sleep(Duration::from_millis(5));
            }
            result => return result.called(|| format!("rmdir(\"{}\")", dir.display())),
        }
    }
}

/// Writes a file of a cgroup in one call, as the kernel wants it.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).called(|| format!("write(\"{}\", \"{text}\")", path.display()))
}
