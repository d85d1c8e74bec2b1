//! The root file system: as a mount of its own, and as the root.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstat, statfs};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::super::rooted::Root;
use super::tree::{attach, clone_path, new_mount, set_attrs, set_propagation};
use crate::failure::{Called, Failure};
use crate::mountinfo;
use crate::spec::{MountAttrs, Propagation, PropagationKind, attr};

/// `PROC_SUPER_MAGIC`.
const PROC_MAGIC: i64 = 0x9fa0;

/// `SYSFS_MAGIC`.
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// Keeps what is mounted in this namespace from the host. What is to be shared with it must stay so
/// here, or a bind of it could not be; then the root alone, on which the container's root will lie,
/// becomes private.
pub(in crate::child) fn stop_propagation(propagation: Propagation) -> Result<(), Failure> {
    let (flags, text) = match propagation.kind {
        PropagationKind::Private | PropagationKind::Unbindable => (
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
            "MS_PRIVATE|MS_REC",
        ),
        PropagationKind::Slave => (
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
            "MS_SLAVE|MS_REC",
        ),
        PropagationKind::Shared => (MountPropagationFlags::PRIVATE, "MS_PRIVATE"),
    };
    mount_change("/", flags).called(|| format!("mount(\"/\", {text})"))
}

/// Gives the new root, and with a recursive word the mounts below it, their propagation.
pub(in crate::child) fn propagate(propagation: Propagation) -> Result<(), Failure> {
    let (mut flags, text) = match propagation.kind {
        PropagationKind::Private => (MountPropagationFlags::PRIVATE, "MS_PRIVATE"),
        PropagationKind::Slave => (MountPropagationFlags::DOWNSTREAM, "MS_SLAVE"),
        PropagationKind::Shared => (MountPropagationFlags::SHARED, "MS_SHARED"),
        PropagationKind::Unbindable => (MountPropagationFlags::UNBINDABLE, "MS_UNBINDABLE"),
    };
    if propagation.recursive {
        flags |= MountPropagationFlags::REC;
    }
    mount_change("/", flags).called(|| format!("mount(\"/\", {text})"))
}

/// Makes the root file system a mount of its own. It must still be the directory that the policy
/// was compiled for.
///
/// With `at_path` it comes to lie over its directory, where hooks look for it. Otherwise, or where
/// that may not be reached or is shared with the host, it lies over the root of this namespace,
/// where no look-up from that root ever goes; but a recursive copy of that root has it on top.
/// `outside` is a copy of the tree that a process of the host made, for a user who cannot reach the
/// directory.
pub(in crate::child) fn rootfs(
    path: &Path,
    identity: (u64, u64),
    outside: Option<OwnedFd>,
    shared: bool,
    at_path: bool,
) -> Result<Root, Failure> {
    let tree = match (clone_path(path, true, true), outside) {
        (Err(failure), Some(tree)) if failure.is(Errno::ACCESS) => tree,
        (tree, _) => tree?,
    };
    let call = || {
        let path = path.display();
        format!("fstat(\"{path}\"), another directory than before")
    };
    let found = fstat(&tree).called(call)?;
    if (found.st_dev, found.st_ino) != identity {
        return Err(Failure::new(call(), Errno::STALE));
    }
    // `pivot_root` refuses a root that mounts propagate from. With `shared`, what lies in it is the
    // host's too, and nothing that is mounted there may reach the host.
    set_propagation(&tree, libc::MS_PRIVATE, shared)?;
    let directory = match at_path && !shared {
        true => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::open(path, flags, Mode::empty()) {
                Err(Errno::ACCESS) => None,
                opened => Some(opened.called(|| format!("open(\"{}\")", path.display()))?),
            }
        }
        false => None,
    };
    match directory {
        Some(directory) => attach(&tree, &directory)?,
        None => move_mount(&tree, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .called(|| "move_mount(root, \"/\")")?,
    }
    Ok(Root::new(tree))
}

pub(in crate::child) fn readonly_root(root: &Root) -> Result<(), Failure> {
    set_attrs(root, MountAttrs::set(attr::RDONLY), false)
}

/// Swaps the root. The old one comes to lie over the new one and is taken off from there, so that
/// no directory of the container is needed for it.
pub(in crate::child) fn pivot(root: &Root) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).called(|| "open(\"/\", O_PATH)")?;
    fchdir(root.as_fd()).called(|| "fchdir(root)")?;
    pivot_root(".", ".").called(|| "pivot_root(\".\", \".\")")?;
    fchdir(&old).called(|| "fchdir(old root)")?;
    // Unmounting must not travel to the host.
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(".", flags).called(|| "mount(old root, MS_PRIVATE|MS_REC)")?;
    unmount(".", UnmountFlags::DETACH).called(|| "umount2(old root, MNT_DETACH)")?;
    chdir("/").called(|| "chdir(\"/\")")
}

/// The root without `pivot_root`, for a host whose own root is a ramfs (`--no-pivot`). The host's
/// mounts stay below the new root, out of sight but there; so those that would give power to who
/// got at them, or that allow a user namespace to mount one of its own, go first.
#[allow(dead_code, reason = "for `--no-pivot`")]
pub(in crate::child) fn move_root(root: &Root) -> Result<(), Failure> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags).called(|| "mount(\"/\", MS_PRIVATE|MS_REC)")?;
    // From the last to the first: what lies above is mounted later.
    for mount in mountinfo::mounts()?.iter().rev() {
        hide(&mount.point)?;
    }
    fchdir(root.as_fd()).called(|| "fchdir(root)")?;
    chroot(".").called(|| "chroot(\".\")")?;
    chdir("/").called(|| "chdir(\"/\")")
}

/// Takes a procfs or sysfs of the host away, or covers it where that is not allowed. The paths are
/// those of the old root: the new one is not on the way of any look-up.
fn hide(point: &Path) -> Result<(), Failure> {
    let is_kernels = || match statfs(point) {
        Ok(found) => matches!(found.f_type, PROC_MAGIC | SYSFS_MAGIC),
        Err(_) => false,
    };
    while is_kernels() {
        match unmount(point, UnmountFlags::DETACH) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::PERM) => {
                let place =
                    fs::File::open(point).called(|| format!("open(\"{}\")", point.display()))?;
                let attrs = MountAttrs::set(attr::RDONLY | attr::NOSUID | attr::NODEV);
                attach(new_mount("tmpfs", Some("tmpfs"), &[], attrs)?, &place)?;
            }
            Err(errno) => {
                let call = format!("umount2(\"{}\", MNT_DETACH)", point.display());
                return Err(Failure::new(call, errno));
            }
        }
    }
    Ok(())
}
