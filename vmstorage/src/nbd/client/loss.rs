//! Why a connection ended.

use crate::disk::{Error, ErrorKind};
use crate::nbd::proto::Malformed;

/// Why a connection cannot be used any more, or was never made.
#[derive(Debug, Clone)]
pub(super) enum Loss {
    /// It broke: what was asked for may be asked again on another one.
    Lost(String),
    /// The server does not keep to the protocol: asking again would end the same way.
    Violated(String),
    /// The server refused; it may think better of it.
    Refused(String),
    /// The export is not the one that it was.
    Changed(String),
    /// This side is done.
    Closed,
}

impl Loss {
    pub(super) fn violated(what: impl Into<String>) -> Self {
        Self::Violated(what.into())
    }

    pub(super) fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }

    /// What happened, for messages.
    pub(super) fn what(&self) -> &str {
        match self {
            Self::Lost(what) | Self::Violated(what) | Self::Refused(what) | Self::Changed(what) => {
                what
            }
            Self::Closed => "closed",
        }
    }

    /// As those see it who wait for a reply.
    pub(super) fn into_error(self, target: &str) -> Error {
        let what = match self {
            Self::Lost(what) => format!("connection lost: {what}"),
            Self::Violated(what) => format!("the server violates the protocol: {what}"),
            Self::Refused(what) | Self::Changed(what) => what,
            Self::Closed => return Error::new(ErrorKind::Shutdown, format!("{target}: closed")),
        };
        Error::new(ErrorKind::Io, format!("{target}: {what}"))
    }
}

impl From<Malformed> for Loss {
    fn from(malformed: Malformed) -> Self {
        Self::Violated(malformed.0)
    }
}
