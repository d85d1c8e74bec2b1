//! What can go wrong with a disk.

use std::io;
use std::sync::Arc;

/// What kind of failure it was; a front end makes an errno of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The storage below failed.
    Io,
    /// The range ends beyond the disk.
    OutOfRange,
    /// There is nothing of that name.
    NotFound,
    /// The disk is not open for writing.
    ReadOnly,
    /// The storage below is full.
    NoSpace,
    /// The disk cannot do that, or not as fast as was asked.
    Unsupported,
    /// The image's own metadata is wrong.
    Corrupt,
    /// The disk is being closed.
    Shutdown,
    /// The disk changed behind the tracker's back: only a full backup is right.
    FullNeeded,
}

/// A failure: its kind for callers, a message that names the operation for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<io::Error>>,
}

/// What an operation on a disk comes to.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with nothing below it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// What a system call said; `call` names it with its arguments, as strace prints them.
    pub fn io(call: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => ErrorKind::NoSpace,
            Some(libc::EROFS) => ErrorKind::ReadOnly,
            Some(libc::EOPNOTSUPP) => ErrorKind::Unsupported,
            _ => ErrorKind::Io,
        };
        let message = format!("{}: {source}", call.into());
        Self {
            kind,
            message,
            source: Some(Arc::new(source)),
        }
    }

    /// The image's metadata is wrong.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same failure with what was being done in front.
    pub fn context(mut self, doing: impl std::fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// The same failure as one of another kind.
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The errno that a client sees (Linux numbers, which NBD uses too).
    pub fn errno(&self) -> i32 {
        match self.kind {
            ErrorKind::Io | ErrorKind::Corrupt | ErrorKind::FullNeeded => libc::EIO,
            ErrorKind::OutOfRange => libc::EINVAL,
            ErrorKind::NotFound => libc::ENOENT,
            ErrorKind::ReadOnly => libc::EPERM,
            ErrorKind::NoSpace => libc::ENOSPC,
            ErrorKind::Unsupported => libc::EOPNOTSUPP,
            ErrorKind::Shutdown => libc::ESHUTDOWN,
        }
    }
}
