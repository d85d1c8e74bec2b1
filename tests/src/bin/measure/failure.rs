//! What keeps something from being measured.

use std::error::Error as _;
use std::io;

/// A failure of the measurement, not of the command that is measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "usage: measure time SECONDS -- COMMAND…\n       \
         measure compare ROUNDS -- COMMAND… -- COMMAND…\n       \
         measure floor ROOT COMMAND…\n       \
         measure enclose [--hide DIR]… -- COMMAND…\n       \
         measure prepare-calls DIR\n       \
         measure calls LABEL BATCHES DIR PROGRAM"
    )]
    Usage,
    #[error("{call}")]
    Call {
        /// The call and its arguments.
        call: String,
        source: io::Error,
    },
    #[error("`{line}` failed: {how}")]
    Command {
        /// The command line.
        line: String,
        how: String,
    },
}

impl Failure {
    /// Makes of an error the failure of a call.
    pub(crate) fn call<E: Into<io::Error>>(
        call: impl FnOnce() -> String,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Call {
            call: call(),
            source: source.into(),
        }
    }
}

/// The failure and its causes in one line.
pub(crate) fn chain(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
