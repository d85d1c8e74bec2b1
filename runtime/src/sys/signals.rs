//! Signal masks, dispositions and signalfd.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;

use super::check;

/// Blocks every signal that can be blocked, so that none is lost before [`signalfd_all`] is read.
pub(crate) fn block_all_signals() -> Result<(), Errno> {
    set_mask(&full_set())
}

/// A descriptor that yields every blocked signal.
pub(crate) fn signalfd_all() -> Result<OwnedFd, Errno> {
    let set = full_set();
    // SAFETY: −1 asks for a new descriptor and `set` is an initialised signal set.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    let fd = check(libc::c_long::from(fd))?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// The number of the next pending signal, or `None` if there is none.
pub(crate) fn read_signal(fd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(fd, &mut info[..]) {
        Ok(length) if length == info.len() => {
            // `ssi_signo` is the first field, a u32.
            let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            Ok(i32::try_from(number).ok())
        }
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Gives every signal its default action and unblocks all: ignored and blocked signals survive
/// `execve`.
pub(crate) fn reset_signals() -> Result<(), Errno> {
    for signal in 1..=libc::SIGRTMAX() {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            continue;
        }
        // The C library keeps the first real-time signals for itself and answers EINVAL for them:
        // nothing to reset. SAFETY: `SIG_DFL` installs no handler; any other argument error is
        // reported, not undefined.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is to memory of a signal set's size and alignment, which the call
    // initialises.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above, which cannot fail for a valid pointer.
    set_mask(&unsafe { set.assume_init() })
}

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is to memory of a signal set's size and alignment, which the call
    // initialises.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above, which cannot fail for a valid pointer.
    unsafe { set.assume_init() }
}

fn set_mask(set: &libc::sigset_t) -> Result<(), Errno> {
    // SAFETY: `set` is an initialised signal set and no old mask is asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, ptr::null_mut()) };
    check(libc::c_long::from(result)).map(|_| ())
}
