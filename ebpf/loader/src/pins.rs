//! Where the programs, links and maps live, and the lock around making and removing them.
//!
//! Everything is pinned below `loading` first and the directory is renamed when it is whole, so
//! that a reader sees all or nothing. A loader that was killed leaves `loading`, which the next one
//! removes, and with it whatever was attached.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ebpf_common::ABI_VERSION;
use ebpf_common::magic;
use rustix::fs::{FlockOperation, flock, stat, statfs};

use crate::Error;

/// Mount point of the BPF file system.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// The directories below [`BPFFS`].
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    base: PathBuf,
}

impl Pins {
    /// The usual place.
    ///
    /// # Errors
    /// [`Error::NoBpffs`] if no BPF file system is mounted there.
    pub(crate) fn at_bpffs() -> Result<Self, Error> {
        let path = PathBuf::from(BPFFS);
        match statfs(&path) {
            Ok(found) if found.f_type as u32 == magic::BPF_FS => Ok(Self {
                base: path.join("reeve"),
            }),
            _ => Err(Error::NoBpffs { path }),
        }
    }

    /// What is loaded and whole.
    pub(crate) fn ready(&self) -> PathBuf {
        self.base.join(format!("v{ABI_VERSION}"))
    }

    /// Which set is loaded, if one is: the inode number of its directory, which no other set has.
    pub(crate) fn loaded_set(&self) -> Option<u64> {
        stat(self.ready()).ok().map(|found| found.st_ino)
    }

    /// What is being loaded.
    pub(crate) fn loading(&self) -> PathBuf {
        self.base.join("loading")
    }

    /// Makes the empty directories for a load, removing what a killed one left.
    pub(crate) fn begin(&self) -> Result<PathBuf, Error> {
        remove_tree(&self.leaving())?;
        remove_tree(&self.loading())?;
        let loading = self.loading();
        for part in ["maps", "programs", "links"] {
            let path = loading.join(part);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|error| Error::system(format!("mkdir({:?})", path.display()), error))?;
        }
        Ok(loading)
    }

    /// The load is whole.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let (from, to) = (self.loading(), self.ready());
        fs::rename(&from, &to).map_err(|error| {
            Error::system(
                format!("rename({:?}, {:?})", from.display(), to.display()),
                error,
            )
        })
    }

    /// Whether every pinned program is attached by a pinned link.
    ///
    /// # Errors
    /// [`Error::Incomplete`] names a hook that nothing is attached to any more.
    pub(crate) fn require_links(&self) -> Result<(), Error> {
        let path = self.ready();
        let links = names(&path.join("links"))?;
        let mut programs = names(&path.join("programs"))?.into_iter();
        match programs.find(|name| !links.contains(name)) {
            Some(name) => {
                let missing = format!("links/{}", name.to_string_lossy());
                Err(Error::Incomplete { path, missing })
            }
            None => Ok(()),
        }
    }

    /// What is being taken apart.
    fn leaving(&self) -> PathBuf {
        self.base.join("leaving")
    }

    /// Removes everything, which detaches it. What is whole is first put out of sight in one step:
    /// killed in the middle, this leaves nothing that looks loaded.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        remove_tree(&self.leaving())?;
        match fs::rename(self.ready(), self.leaving()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|error| {
                Error::system(format!("rename({:?})", self.ready().display()), error)
            })?,
        }
        remove_tree(&self.leaving())?;
        remove_tree(&self.loading())?;
        match fs::remove_dir(&self.base) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Another version's pins.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other
                .map_err(|error| Error::system(format!("rmdir({:?})", self.base.display()), error)),
        }
    }
}

/// What is in a directory.
fn names(directory: &Path) -> Result<HashSet<OsString>, Error> {
    let failed = |error| Error::system(format!("open({:?})", directory.display()), error);
    let entries = fs::read_dir(directory).map_err(failed)?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name()).map_err(failed))
        .collect()
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| Error::system(format!("rm -r {:?}", path.display()), error)),
    }
}

/// Held while anything is loaded, numbered or removed; it ends with the file.
///
/// The programs are one set for the whole host, and so is the lock: it is on the directory of the
/// file system itself, whatever state directory the caller uses.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing it unlocks")] File);

impl Pins {
    /// Waits for the lock.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let file = File::open(BPFFS)
            .map_err(|error| Error::system(format!("open({BPFFS:?}, O_RDONLY)"), error))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| Error::system(format!("flock({BPFFS:?}, LOCK_EX)"), error))?;
        Ok(Lock(file))
    }
}
