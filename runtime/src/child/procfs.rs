//! A procfs of this process's own: whatever it writes below `/proc` goes through it, since anything
//! could be mounted over a procfs that others see (CVE-2025-52881).

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::mount::private_procfs;
use crate::failure::{Called, Failure};

/// `PROC_SUPER_MAGIC`.
const MAGIC: i64 = 0x9fa0;

/// `PROC_ROOT_INO`.
const ROOT_INODE: u64 = 1;

/// The root of a procfs that is mounted nowhere.
#[derive(Debug)]
pub(super) struct Procfs(OwnedFd);

impl Procfs {
    /// Opens one.
    ///
    /// A user namespace may not mount a procfs that shows more than the one that it sees. It gets
    /// that one instead; whatever lies over a part of it is not entered.
    pub(super) fn open() -> Result<Self, Failure> {
        let root = match private_procfs() {
            Err(failure) if failure.is(Errno::PERM) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::open("/proc", flags, Mode::empty())
                    .called(|| "open(\"/proc\", O_PATH|O_NOFOLLOW)")?
            }
            root => root?,
        };
        let found = fstatfs(&root).called(|| "fstatfs(proc)")?;
        let inode = fstat(&root).called(|| "fstat(proc)")?.st_ino;
        if found.f_type != MAGIC || inode != ROOT_INODE {
            let call = "fstatfs(proc), not the root of a procfs";
            return Err(Failure::new(call, Errno::NODEV));
        }
        Ok(Self(root))
    }

    /// Writes a file, by its path below `/proc`, in one call.
    pub(super) fn write(&self, path: &Path, text: &[u8]) -> Result<(), Failure> {
        let call = |call: &str| format!("{call}(proc, \"{}\")", path.display());
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file =
            openat2(&self.0, path, flags, Mode::empty(), resolve).called(|| call("openat2"))?;
        rustix::io::write(&file, text)
            .called(|| call("write"))
            .map(|_| ())
    }

    /// Opens for reading what `file`, opened as a path, is: no name is looked up once more.
    pub(super) fn reopen(&self, file: &OwnedFd) -> Result<OwnedFd, Failure> {
        let path = self.own(&format!("fd/{}", file.as_raw_fd()))?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(&self.0, &path, flags, Mode::empty())
            .called(|| format!("openat(proc, \"{}\")", path.display()))
    }

    /// Writes a file of this thread's own directory, by its path below that.
    pub(super) fn write_own(&self, path: &str, text: &[u8]) -> Result<(), Failure> {
        self.write(&self.own(path)?, text)
    }

    fn own(&self, path: &str) -> Result<PathBuf, Failure> {
        // Another number than `getpid` gives where the procfs is that of another PID namespace.
        let number = readlinkat(&self.0, "thread-self", Vec::new())
            .called(|| "readlinkat(proc, \"thread-self\")")?;
        let directory = number.to_string_lossy();
        Ok(Path::new(directory.as_ref()).join(path))
    }

    /// Sets a kernel parameter, by its path below `/proc/sys`.
    pub(super) fn sysctl(&self, path: &Path, value: &str) -> Result<(), Failure> {
        self.write(&Path::new("sys").join(path), value.as_bytes())
    }
}
