//! Locks that tell others that an image is in use, as QEMU takes them.
//!
//! QEMU (`block/file-posix.c`) holds a shared lock on byte 100 + n for each permission n that it
//! uses, and on byte 200 + n for each that it forbids to others; whoever finds the opposite byte
//! locked keeps away. The locks belong to the open file, are advisory, and end with it.

use std::fs;
use std::io;

use super::sys::{is_locked, lock_shared};
use crate::disk::{Error, ErrorKind, Result};

const USED: i64 = 100;
const FORBIDDEN: i64 = 200;

/// QEMU's permissions by number, of those that matter here.
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Who opens for reading forbids writing: what it reads would change below it.
const FORBIDS: [i64; 2] = [WRITE, RESIZE];

/// Locks an image for as long as it is open.
pub(super) fn lock(file: &fs::File, name: &str, read_only: bool) -> Result<()> {
    let uses: &[i64] = match read_only {
        true => &[CONSISTENT_READ],
        false => &[CONSISTENT_READ, WRITE, RESIZE],
    };
    let used = uses.iter().map(|permission| USED + permission);
    let forbidden = FORBIDS.iter().map(|permission| FORBIDDEN + permission);
    for byte in used.chain(forbidden) {
        match lock_shared(file, byte) {
            Ok(()) => {}
            Err(error) if has_no_locks(&error) => {
                tracing::warn!(image = name, %error, "the file system has no locks");
                return Ok(());
            }
            Err(error) => return Err(conflict_or(name, byte, error)),
        }
    }
    // First all locks, then the question: of two who come at once, at least one sees the other.
    let opposed = uses.iter().map(|permission| FORBIDDEN + permission);
    for byte in opposed.chain(FORBIDS.iter().map(|permission| USED + permission)) {
        match is_locked(file, byte) {
            Ok(false) => {}
            Ok(true) => return Err(conflict(name, byte)),
            Err(error) => return Err(conflict_or(name, byte, error)),
        }
    }
    Ok(())
}

fn conflict_or(name: &str, byte: i64, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => conflict(name, byte),
        _ => Error::io(format!("fcntl(F_OFD_SETLK, byte {byte}) of {name}"), error),
    }
}

fn conflict(name: &str, byte: i64) -> Error {
    let what = match byte {
        FORBIDDEN.. => "does not let others use it that way",
        _ => "writes to it",
    };
    let message = format!(
        "{name} is in use: another process (or disk of this one) {what}; \
         help: close it there, or open it without locks if you know better"
    );
    Error::new(ErrorKind::Io, message)
}

fn has_no_locks(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS)
    )
}
