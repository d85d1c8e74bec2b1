//! Protection of the `reeve` program itself.
//!
//! The first process of a container executes `reeve` until its `execve`, so a container whose entry
//! point is `/proc/self/exe` gets hold of this very file, and with it a way to overwrite it on the
//! host (CVE-2019-5736). So `reeve` runs from a read-only mount that only it can see: no copy is
//! made, and a remount is impossible, since the mount is in no namespace.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::failure::{Called, Failure};
use crate::spec::attr;
use crate::sys;

/// Executes this program once more, from a read-only mount, unless it lies on one already. Without
/// the privileges for it nothing happens: they are missing for a container as well.
pub fn seal() -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let program = rustix::fs::open("/proc/self/exe", flags, Mode::empty())
        .called(|| "open(\"/proc/self/exe\", O_PATH)")?;
    let found = fstatvfs(&program).called(|| "fstatvfs(\"/proc/self/exe\")")?;
    if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        // Executed by descriptor, a program is named after the descriptor's number.
        return rustix::thread::set_name(c"reeve").called(|| "prctl(PR_SET_NAME, \"reeve\")");
    }
    let sealed = match read_only(&program) {
        Ok(sealed) => sealed,
        Err(error) => {
            tracing::debug!(%error, "this program cannot be sealed");
            return Ok(());
        }
    };
    let argv = std::env::args_os().map(|arg| CString::new(arg.as_bytes()));
    let envp = std::env::vars_os().map(|(name, value)| {
        let mut entry = name.as_bytes().to_vec();
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        CString::new(entry)
    });
    // What the kernel handed over holds no NUL.
    let argv: Vec<_> = argv.flatten().collect();
    let envp: Vec<_> = envp.flatten().collect();
    let errno = sys::exec_file(sealed.as_fd(), &argv, &envp);
    Err(Failure::new("execveat(sealed /proc/self/exe)", errno))
}

fn read_only(program: &OwnedFd) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree =
        open_tree(program, "", flags).called(|| "open_tree(/proc/self/exe, OPEN_TREE_CLONE)")?;
    let attr = sys::MountAttr {
        attr_set: attr::RDONLY,
        ..sys::MountAttr::default()
    };
    sys::mount_setattr(tree.as_fd(), &attr, false)
        .called(|| "mount_setattr(/proc/self/exe, MOUNT_ATTR_RDONLY)")?;
    Ok(tree)
}
