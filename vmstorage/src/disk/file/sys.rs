//! Locks of an open file description, which no safe crate offers.
#![allow(unsafe_code, reason = "fcntl with a pointer")]

use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Takes a shared lock on one byte, without waiting.
pub(super) fn lock_shared(file: &fs::File, byte: i64) -> io::Result<()> {
    call(file, libc::F_OFD_SETLK, libc::F_RDLCK, byte..byte + 1).map(drop)
}

/// Gives up the locks on some bytes.
pub(super) fn unlock(file: &fs::File, bytes: Range<i64>) -> io::Result<()> {
    call(file, libc::F_OFD_SETLK, libc::F_UNLCK, bytes).map(drop)
}

/// Whether another open file holds a lock on one byte.
pub(super) fn is_locked(file: &fs::File, byte: i64) -> io::Result<bool> {
    let found = call(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte..byte + 1)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

fn call(file: &fs::File, command: i32, kind: i32, bytes: Range<i64>) -> io::Result<libc::flock> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: bytes.start,
        l_len: bytes.end - bytes.start,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the command reads and writes one `flock`, which lives.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock),
    }
}
