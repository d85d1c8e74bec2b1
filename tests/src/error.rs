//! What can go wrong in the harness itself, as opposed to what a test finds.

use std::io;
use std::path::{Path, PathBuf};

/// A harness failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call on a file or process of the test's own failed.
    #[error("{call}(`{}`)", path.display())]
    Io {
        /// The operation.
        call: &'static str,
        /// What it was about.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that the tests need is not there.
    #[error("`{0}` is neither next to the test nor in PATH")]
    NoTool(&'static str),
    /// The container ended, or said something else, where an action's line was expected.
    #[error(
        "the container did not answer `{action}` (said {said:?}, {status}); \
         its messages:\n{messages}"
    )]
    NoAnswer {
        /// What it was asked to try.
        action: String,
        /// Line that it printed instead.
        said: String,
        /// How `reeve run` ended, if it did.
        status: String,
        /// Its standard error.
        messages: String,
    },
    /// A command failed.
    #[error("`{command}` failed ({status}):\n{messages}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// Its standard error.
        messages: String,
    },
    /// A line of `reeve audit --json` is not JSON.
    #[error("`reeve audit --json` printed {line:?}")]
    Json {
        /// The line.
        line: String,
        /// Why it cannot be read.
        source: serde_json::Error,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
    },
}

/// Adds the operation to an I/O error.
pub(crate) trait Context<T> {
    fn call(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn call(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            call,
            path: path.as_ref().to_owned(),
            source,
        })
    }
}
