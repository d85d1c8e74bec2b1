//! `tmpcopyup`: a new tmpfs starts with what the directory below has in it.
//!
//! The directory belongs to the image, so no link in it is ever followed, and a file is read only
//! if it is a regular one. Mounts below it are not entered.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, mkdirat, mknodat,
    openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::failure::{Called, Failure};

/// Largest list of attribute names, and largest value of one, that the kernel gives
/// (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 64 * 1024;

/// A directory that is being copied.
struct Level {
    from: OwnedFd,
    entries: Dir,
    to: OwnedFd,
    status: Stat,
}

/// Copies what is in the directory `from`, an `O_PATH` descriptor, to the root of the tree `to`,
/// with modes, owners, times and extended attributes.
pub(super) fn copy(from: impl AsFd, to: &OwnedFd) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = openat(from, ".", flags, Mode::empty()).called(|| "openat(below, \".\")")?;
    let to = openat(to, ".", flags, Mode::empty()).called(|| "openat(tmpfs, \".\")")?;
    let device = fstat(&from).called(|| "fstat(below)")?.st_dev;
    // As deep as the image likes: on the heap, and bounded by the limit of open files.
    let mut levels = vec![Level::new(from, to)?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.read() else {
            if let Some(level) = levels.pop() {
                level.finish()?;
            }
            continue;
        };
        let entry = entry.called(|| "getdents64(below)")?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let inner = level.copy_entry(name, device)?;
        levels.extend(inner);
    }
    Ok(())
}

impl Level {
    fn new(from: OwnedFd, to: OwnedFd) -> Result<Self, Failure> {
        let status = fstat(&from).called(|| "fstat(below)")?;
        let entries = Dir::read_from(&from).called(|| "open(below, \".\")")?;
        Ok(Self {
            from,
            entries,
            to,
            status,
        })
    }

    /// Copies one entry; a directory is returned to be copied next.
    fn copy_entry(&self, name: &CStr, device: u64) -> Result<Option<Self>, Failure> {
        let call = |call: &str| format!("{call}({name:?}) for tmpcopyup");
        let (from, to) = (&self.from, &self.to);
        let status = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).called(|| call("fstatat"))?;
        let kind = FileType::from_raw_mode(status.st_mode);
        let mode = Mode::from_raw_mode(status.st_mode);
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU).called(|| call("mkdirat"))?;
                let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY;
                let to = openat(to, name, flags, Mode::empty()).called(|| call("openat"))?;
                let from = openat(from, name, flags, Mode::empty()).called(|| call("openat"))?;
                let inner = Self::new(from, to)?;
                if inner.status.st_dev == device {
                    return Ok(Some(inner));
                }
                // A mount point: the directory stays empty.
                return inner.finish().map(|()| None);
            }
            FileType::RegularFile => {
                // Not to hang should it have become a pipe since.
                let read = flags | OFlags::RDONLY | OFlags::NONBLOCK;
                let from = openat(from, name, read, Mode::empty()).called(|| call("openat"))?;
                let status = fstat(&from).called(|| call("fstat"))?;
                if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
                    return Err(Failure::new(call("openat"), Errno::AGAIN));
                }
                let write = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let to = openat(to, name, write, Mode::RUSR).called(|| call("openat"))?;
                let (mut from, mut to) = (File::from(from), File::from(to));
                io::copy(&mut from, &mut to).called(|| call("copy_file_range"))?;
                return dress(&from, &to, &status).map(|()| None);
            }
            FileType::Symlink => {
                let says = readlinkat(from, name, Vec::new()).called(|| call("readlinkat"))?;
                symlinkat(says, to, name).called(|| call("symlinkat"))?;
            }
            _ => match mknodat(to, name, kind, mode, status.st_rdev) {
                // No device nodes in a user namespace.
                Err(Errno::PERM) => return Ok(None),
                result => result.called(|| call("mknodat"))?,
            },
        }
        let (uid, gid) = owner(&status);
        chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).called(|| call("fchownat"))?;
        utimensat(to, name, &times(&status), AtFlags::SYMLINK_NOFOLLOW)
            .called(|| call("utimensat"))
            .map(|()| None)
    }

    fn finish(self) -> Result<(), Failure> {
        dress(&self.from, &self.to, &self.status)
    }
}

/// Gives a file or directory the owner, mode, attributes and times of another.
fn dress(from: impl AsFd, to: impl AsFd, status: &Stat) -> Result<(), Failure> {
    let (uid, gid) = owner(status);
    match fchown(&to, uid, gid) {
        // An id that is not mapped here: it stays the container's root's.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(Failure::new("fchown() for tmpcopyup", errno)),
    }
    // After the owner, whose change takes away set-user-id bits and capabilities.
    fchmod(&to, Mode::from_raw_mode(status.st_mode)).called(|| "fchmod() for tmpcopyup")?;
    copy_xattrs(&from, &to)?;
    futimens(&to, &times(status)).called(|| "futimens() for tmpcopyup")
}

fn owner(status: &Stat) -> (Option<Uid>, Option<Gid>) {
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    (Some(uid), Some(gid))
}

fn times(status: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.try_into().unwrap_or(0),
    };
    Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    }
}

/// Copies the attributes that the tmpfs takes; that it does not know one is not worth a failure.
fn copy_xattrs(from: impl AsFd, to: impl AsFd) -> Result<(), Failure> {
    let mut names = vec![0; 0];
    match flistxattr(&from, &mut names[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(_) | Err(Errno::RANGE) => {}
        Err(errno) => return Err(Failure::new("flistxattr() for tmpcopyup", errno)),
    }
    names.resize(XATTR_MAX, 0);
    let length = flistxattr(&from, &mut names[..]).called(|| "flistxattr() for tmpcopyup")?;
    let mut value = vec![0; XATTR_MAX];
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let length = match fgetxattr(&from, name, &mut value[..]) {
            Ok(length) => length,
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(Failure::new(format!("fgetxattr({name:?})"), errno)),
        };
        match fsetxattr(&to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
            Err(errno) => return Err(Failure::new(format!("fsetxattr({name:?})"), errno)),
        }
    }
    Ok(())
}
