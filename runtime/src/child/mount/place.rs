//! Where a mount goes: opened once, made if it is missing.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{OFlags, fstatfs};
use rustix::io::Errno;

use super::super::rooted::{Entry, Root};
use crate::failure::{Called, Failure};
use crate::spec::{Mount, MountKind};

/// `PROC_SUPER_MAGIC`.
const PROC_MAGIC: i64 = 0x9fa0;

/// Files of procfs that may be replaced by a bind mount: what LXCFS and its like provide. Nothing
/// that a process of the runtime would read or write is among them.
const REPLACEABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/net/dev",
];

/// The directory that a mount goes on.
pub(super) fn directory(root: &Root, mount: &Mount) -> Result<OwnedFd, Failure> {
    target(root, mount, Entry::Directory).map(|(fd, _)| fd)
}

/// What a mount goes on, and whether it was there before.
///
/// A link of the image's making is followed inside the root, but neither to the kernel's own trees,
/// which would then land where nobody looks for them, nor into procfs.
pub(super) fn target(root: &Root, mount: &Mount, entry: Entry) -> Result<(OwnedFd, bool), Failure> {
    let path = &mount.target;
    let flags = match entry {
        Entry::Directory => OFlags::PATH | OFlags::DIRECTORY,
        Entry::File => OFlags::PATH,
    };
    if mount.target_nofollow {
        let (fd, existed) = root.make_nofollow(path, entry)?;
        refuse_proc(mount, true, &fd)?;
        return Ok((fd, existed));
    }
    let (fd, existed, linked) = match root.open_plain(path, flags) {
        Ok(fd) => (fd, true, false),
        // No link was met, so that following them would lead to the same end.
        Err(failure) if failure.is(Errno::NOENT) => (root.make_missing(path, entry)?, false, false),
        Err(failure) if failure.is(Errno::LOOP) && !is_kernels_tree(mount) => {
            let (fd, existed) = root.make(path, entry)?;
            (fd, existed, true)
        }
        Err(failure) => return Err(failure),
    };
    refuse_proc(mount, linked || path.starts_with("/proc"), &fd)?;
    Ok((fd, existed))
}

fn is_kernels_tree(mount: &Mount) -> bool {
    let MountKind::New { fs_type, .. } = &mount.kind else {
        return false;
    };
    matches!(fs_type.as_str(), "proc" | "sysfs")
}

/// Refuses a mount inside of procfs, except for some files: a process of the container, or the
/// runtime when it enters the container, would take the cover for the kernel's word. `suspect` says
/// that the target may lie there.
fn refuse_proc(mount: &Mount, suspect: bool, target: &OwnedFd) -> Result<(), Failure> {
    if !suspect || mount.target == Path::new("/proc") {
        return Ok(());
    }
    let path = mount.target.display();
    let found = fstatfs(target).called(|| format!("fstatfs(root, \"{path}\")"))?;
    let is_bind = matches!(mount.kind, MountKind::Bind { .. });
    let allowed = is_bind
        && REPLACEABLE
            .iter()
            .any(|known| mount.target == Path::new(known));
    if found.f_type != PROC_MAGIC || allowed {
        Ok(())
    } else {
        let call = format!("mount on \"{path}\", inside of procfs");
        Err(Failure::new(call, Errno::PERM))
    }
}

/// Refuses anything but a procfs on `/proc`.
pub(super) fn refuse_fake_proc(mount: &Mount, tree: &OwnedFd) -> Result<(), Failure> {
    if mount.target != Path::new("/proc") {
        return Ok(());
    }
    let found = fstatfs(tree).called(|| "fstatfs(mount for \"/proc\")")?;
    if found.f_type == PROC_MAGIC {
        Ok(())
    } else {
        Err(Failure::new(
            "mount on \"/proc\", not a procfs",
            Errno::PERM,
        ))
    }
}
