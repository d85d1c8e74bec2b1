//! `seccomp`.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::check;
use crate::seccomp::Instruction;

const _: () = assert!(
    size_of::<Instruction>() == size_of::<libc::sock_filter>()
        && std::mem::offset_of!(Instruction, k) == std::mem::offset_of!(libc::sock_filter, k)
);

/// Installs a filter for the calling thread. With `listener`, for which `flags` must ask, a
/// descriptor for it comes back (close-on-exec).
pub(crate) fn install_filter(
    program: &[Instruction],
    flags: libc::c_ulong,
    listener: bool,
) -> Result<Option<OwnedFd>, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        // The kernel copies it and writes nothing.
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `program` is a live `struct sock_fprog`, whose pointer leads to as many instructions
    // as it says, each with the layout of `struct sock_filter` (asserted above); they outlive the
    // call, which only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match check(result)? {
        0 if !listener => Ok(None),
        // With TSYNC alone, a positive result is a thread that could not follow.
        _ if !listener => Err(Errno::SRCH),
        fd => {
            // SAFETY: the call succeeded with SECCOMP_FILTER_FLAG_NEW_LISTENER, so this is a new
            // descriptor that nobody else owns.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }))
        }
    }
}
