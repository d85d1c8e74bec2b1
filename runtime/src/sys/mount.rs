//! `mount_setattr`.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

/// `struct mount_attr` (`include/uapi/linux/mount.h`).
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct MountAttr {
    /// `MOUNT_ATTR_*` bits to set.
    pub(crate) attr_set: u64,
    /// `MOUNT_ATTR_*` bits to clear first.
    pub(crate) attr_clr: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub(crate) propagation: u64,
    /// User namespace of an id-mapped mount; 0 here.
    pub(crate) userns_fd: u64,
}

/// Changes the mount that `mount` refers to, and with `recursive` those below it.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    attr: &MountAttr,
    recursive: bool,
) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the descriptor is live, the path is a static empty string, and `attr` is a live
    // `struct mount_attr` whose size is passed along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    check(result).map(|_| ())
}
