//! Masked and read-only paths.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, makedev};
use rustix::io::Errno;

use super::super::rooted::Root;
use super::Mounts;
use super::tree::{attach, clone_tree, new_mount, set_attrs};
use crate::failure::{Called, Failure};
use crate::spec::{MountAttrs, attr};

/// What masked paths are covered with; each is made once.
#[derive(Debug, Default)]
pub(super) struct Covers {
    /// The null device of the host, for files.
    null: Option<OwnedFd>,
    /// An empty tmpfs that is mounted already, for directories.
    empty: Option<OwnedFd>,
}

impl Mounts {
    /// Hides a path: `/dev/null` over a file, an empty read-only tmpfs over a directory. Nothing if
    /// it does not exist.
    pub(in crate::child) fn mask(&mut self, root: &Root, path: &Path) -> Result<(), Failure> {
        let Some(target) = existing(root, path)? else {
            return Ok(());
        };
        let found = fstat(&target).called(|| format!("fstat(\"{}\")", path.display()))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            let null = match self.covers.null.take() {
                Some(null) => null,
                None => null_device()?,
            };
            let null = self.covers.null.insert(null);
            return attach(clone_tree(null, false)?, &target);
        }
        match &self.covers.empty {
            Some(empty) => attach(clone_tree(empty, false)?, &target),
            None => {
                let attrs = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
                let empty = new_mount("tmpfs", Some("tmpfs"), &[], MountAttrs::set(attrs))?;
                attach(&empty, &target)?;
                self.covers.empty = Some(empty);
                Ok(())
            }
        }
    }
}

/// Makes a path and what is below it read-only. Nothing if it does not exist.
pub(in crate::child) fn readonly(root: &Root, path: &Path) -> Result<(), Failure> {
    let Some(target) = existing(root, path)? else {
        return Ok(());
    };
    let tree = clone_tree(&target, true)?;
    set_attrs(&tree, MountAttrs::set(attr::RDONLY), true)?;
    attach(&tree, &target)
}

/// A path to be covered; `None` if it does not exist. Any other failure would leave it uncovered,
/// so it counts: also a link that leads round in circles or a magic one.
fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>, Failure> {
    match root.open(path, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(failure) if failure.is(Errno::NOENT) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The host's `/dev/null`; the container's could be anything.
fn null_device() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())
        .called(|| "open(\"/dev/null\", O_PATH|O_NOFOLLOW)")?;
    let found = fstat(&null).called(|| "fstat(\"/dev/null\")")?;
    let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
    if is_device && found.st_rdev == makedev(1, 3) {
        Ok(null)
    } else {
        let call = "fstat(\"/dev/null\"), not the null device";
        Err(Failure::new(call, Errno::NODEV))
    }
}
