//! Locks that tell others that an image is in use, as QEMU takes them.
//!
//! QEMU (`block/file-posix.c`) holds a shared lock on byte 100 + n for each permission n that it
//! uses, and on byte 200 + n for each that it forbids to others; whoever finds the opposite byte
//! locked keeps away. The locks belong to the open file, are advisory, and end with it.

use std::fs;
use std::io;

use super::sys::{is_locked, lock_shared, unlock};
use crate::disk::{Error, ErrorKind, Result};
use crate::held::wait_while_held;

const USED: i64 = 100;
const FORBIDDEN: i64 = 200;
/// How many permissions there can be.
const PERMISSIONS: i64 = 64;

/// QEMU's permissions by number, of those that matter here.
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Who opens for reading forbids writing: what it reads would change below it.
const FORBIDS: [i64; 2] = [WRITE, RESIZE];

/// Locks an image for as long as it is open. It blocks while a process that was killed has it.
pub(super) fn lock(file: &fs::File, name: &str, read_only: bool) -> Result<()> {
    let attempt = || {
        let done = try_lock(file, name, read_only);
        if done.is_err() {
            // Who has the image, or wants it too, is not to find the locks of one that waits.
            let _ = unlock(file, USED..FORBIDDEN + PERMISSIONS);
        }
        done
    };
    let locked = wait_while_held(attempt, |refused| matches!(refused, Refused::Held(_)));
    locked.map_err(|refused| match refused {
        Refused::Held(byte) => conflict(name, byte),
        Refused::Other(error) => error,
    })
}

enum Refused {
    /// Somebody else's lock on this byte is in the way.
    Held(i64),
    Other(Error),
}

fn try_lock(file: &fs::File, name: &str, read_only: bool) -> std::result::Result<(), Refused> {
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
            Err(error) => return Err(refused(name, byte, error)),
        }
    }
    // First all locks, then the question: of two who come at once, at least one sees the other.
    let opposed = uses.iter().map(|permission| FORBIDDEN + permission);
    for byte in opposed.chain(FORBIDS.iter().map(|permission| USED + permission)) {
        match is_locked(file, byte) {
            Ok(false) => {}
            Ok(true) => return Err(Refused::Held(byte)),
            Err(error) => return Err(refused(name, byte, error)),
        }
    }
    Ok(())
}

fn refused(name: &str, byte: i64, error: io::Error) -> Refused {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Refused::Held(byte),
        _ => {
            let call = format!("fcntl(F_OFD_SETLK, byte {byte}) of {name}");
            Refused::Other(Error::io(call, error))
        }
    }
}

fn conflict(name: &str, byte: i64) -> Error {
    let what = match byte {
        FORBIDDEN.. => "does not let others use it that way",
        _ => "writes to it",
    };
    let message = format!(
        "{name} is in use: another process (or disk of this one) {what}; \
         help: end what uses it, or ask it: a served disk is read by its address"
    );
    Error::new(ErrorKind::Io, message)
}

fn has_no_locks(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS)
    )
}
