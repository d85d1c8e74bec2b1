//! A failed system call, printed as strace prints it: the call, its arguments, the errno.

use std::fmt;
use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A system call that failed. It crosses the socket from the container's first process to `reeve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Failure {
    /// The call and its arguments, such as `openat2(root=/x, "etc", O_PATH)`.
    pub call: String,
    /// Errno, positive.
    pub errno: i32,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.errno).to_string();
        let text = text
            .split(" (os error")
            .next()
            .unwrap_or_default()
            .to_lowercase();
        match errno_name(self.errno) {
            Some(name) => write!(f, "{} = {name} ({text})", self.call),
            None => write!(f, "{} = errno {} ({text})", self.call, self.errno),
        }
    }
}

impl Failure {
    /// A failure of `call` with `errno`.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self {
            call: call.into(),
            errno: errno.raw_os_error(),
        }
    }

    /// Whether this is the given errno.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno.raw_os_error()
    }
}

/// Adds the call's name to an error.
pub trait Called<T> {
    /// The value, or a [`Failure`] of the call that `describe` names.
    fn called<S: Into<String>>(self, describe: impl FnOnce() -> S) -> Result<T, Failure>;
}

impl<T> Called<T> for Result<T, Errno> {
    fn called<S: Into<String>>(self, describe: impl FnOnce() -> S) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(describe(), errno))
    }
}

impl<T> Called<T> for io::Result<T> {
    fn called<S: Into<String>>(self, describe: impl FnOnce() -> S) -> Result<T, Failure> {
        self.map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Failure::new(describe(), errno)
        })
    }
}

/// The symbolic name of an errno that file, mount, process and credential calls give.
fn errno_name(errno: i32) -> Option<&'static str> {
    const NAMES: &[(Errno, &str)] = &[
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::SRCH, "ESRCH"),
        (Errno::INTR, "EINTR"),
        (Errno::IO, "EIO"),
        (Errno::NXIO, "ENXIO"),
        (Errno::TOOBIG, "E2BIG"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::BADF, "EBADF"),
        (Errno::CHILD, "ECHILD"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::FAULT, "EFAULT"),
        (Errno::NOTBLK, "ENOTBLK"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::XDEV, "EXDEV"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::INVAL, "EINVAL"),
        (Errno::NFILE, "ENFILE"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NOTTY, "ENOTTY"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::FBIG, "EFBIG"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::ROFS, "EROFS"),
        (Errno::MLINK, "EMLINK"),
        (Errno::PIPE, "EPIPE"),
        (Errno::RANGE, "ERANGE"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::NOTEMPTY, "ENOTEMPTY"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NODATA, "ENODATA"),
        (Errno::OVERFLOW, "EOVERFLOW"),
        (Errno::LIBBAD, "ELIBBAD"),
        (Errno::USERS, "EUSERS"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::CONNRESET, "ECONNRESET"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
        (Errno::DQUOT, "EDQUOT"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| known.raw_os_error() == errno)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_strace() {
        let failure = Failure::new("openat2(root=/x, \"etc\", O_PATH)", Errno::NOENT);
        assert_eq!(
            failure.to_string(),
            "openat2(root=/x, \"etc\", O_PATH) = ENOENT (no such file or directory)"
        );
    }

    #[test]
    fn an_unknown_errno_keeps_its_number() {
        let failure = Failure {
            call: "x()".to_owned(),
            errno: 523,
        };
        assert!(failure.to_string().starts_with("x() = errno 523"));
    }
}
