//! What the kernel side refused: from the ring buffer to a log that people and machines read.
//!
//! An event in the ring buffer is read once and speaks in numbers, so whoever reads it takes the
//! audit lock, puts the names to the numbers while the container still exists, and appends a line
//! of JSON to `audit.jsonl` in the state directory. `reeve audit` prints from there. Nothing of it
//! is readable in a container: the state directory is part of the fixed core.

mod counted;
mod log;
mod place;
mod read;
mod record;
mod registry;
mod what;

pub use counted::{Counted, close, living};
pub use log::{LOG_BYTES_MAX, drain};
pub use read::{Part, Position, end, read, read_file};
pub(crate) use record::printable;
#[cfg(test)]
pub(crate) use record::sample;
pub use record::{Record, RuleText};
pub use registry::{all, generations, owner, register, unregister, unregister_one};

use std::io;
use std::path::PathBuf;

/// What can go wrong with the audit log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{call}({path:?}) failed", path = path.display())]
    File {
        /// The call.
        call: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ring buffer could not be opened.
    #[error("the ring buffer of refusals could not be read")]
    Events(#[from] ebpf_loader::Error),
    /// A record could not be written as JSON.
    #[error("a record could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl Error {
    fn file(call: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { call, path, source }
    }
}
