//! Signals through a pidfd.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;

use super::check;

/// Sends a signal, real-time ones too; 0 sends nothing and only finds out whether it could.
///
/// rustix's call takes no signal that the C library keeps for itself, and none that it has no name
/// for.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: the descriptor is live, the information is null, which stands for that of `kill`, and
    // the kernel checks the number.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result).map(|_| ())
}
