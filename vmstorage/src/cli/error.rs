//! What a command fails with, and the exit status that scripts see.

use std::process::ExitCode;

use crate::disk;
use crate::serve::control::Kind;
use crate::serve::{ClientError, ServeError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of a disk or an image.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// Of the block service.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Of a request to a running service.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Arguments that do not fit each other.
    #[error("{0}")]
    Usage(String),
    /// What was to be printed is not all there.
    #[error("write to standard output: {0}")]
    Output(String),
    /// The answer is no: images differ, or are damaged. It was printed already.
    #[error("")]
    Negative,
}

impl Error {
    /// 1 for an answer that is no, 2 for usage, 3 when only a full backup is right, 4 for the rest.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Negative => 1,
            Self::Usage(_) | Self::Serve(ServeError::Config(_)) => 2,
            Self::Disk(error) if error.kind() == disk::ErrorKind::FullNeeded => 3,
            Self::Client(ClientError::Refused(failure)) => match failure.kind {
                Kind::FullBackupNeeded => 3,
                _ => 4,
            },
            Self::Disk(_) | Self::Serve(_) | Self::Client(_) | Self::Output(_) => 4,
        }
    }

    /// Prints it, and answers its exit status.
    pub(super) fn report(&self) -> ExitCode {
        let message = self.to_string();
        if !message.is_empty() {
            let message = super::printable(&message, |letter| letter == '\n');
            eprintln!("vmstorage: {message}");
        }
        ExitCode::from(self.exit_status())
    }
}
