//! The init's errors: the call, what it was about, then the cause.

/// A step of the boot or of the supervision that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {cause}")]
pub(crate) struct Error {
    call: String,
    cause: String,
}

impl Error {
    /// An error of `call` for a reason that is not an errno.
    pub(crate) fn new(call: impl Into<String>, cause: impl ToString) -> Self {
        Error {
            call: call.into(),
            cause: cause.to_string(),
        }
    }
}

/// Names the call that a result came from.
pub(crate) trait Context<T> {
    /// Turns the error into an [`Error`] of `call`.
    fn call(self, call: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: ToString> Context<T> for Result<T, E> {
    fn call(self, call: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|cause| Error::new(call(), cause))
    }
}
