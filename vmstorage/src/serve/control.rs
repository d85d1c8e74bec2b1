//! The control socket's language: JSON lines, one request and then one answer.
//!
//! A request is an object with a `command` and its arguments, an answer either `{"ok": …}` or
//! `{"error": {"kind": …, "message": …}}`:
//!
//! ```text
//! > {"command":"checkpoint-create","name":"monday"}
//! < {"ok":{"checkpoints":[{"disk":"root","name":"monday","size_bytes":21474836480,…}]}}
//! ```
//!
//! A connection may send many requests; they are done in order. Different connections are served
//! beside each other.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::RawThrottle;
use crate::track::catalog;

/// The longest request in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything about the service and its disks.
    Status {},
    /// An image of each disk at one instant that they share; of tracked disks also the point.
    CheckpointCreate {
        /// Its name.
        name: String,
        /// Names of the disks; all that can be written if there are none.
        #[serde(default)]
        disks: Vec<String>,
        /// How long changes may be held, all disks together, in milliseconds.
        #[serde(default = "hold_ms")]
        hold_ms: u64,
    },
    /// Offers a checkpoint over NBD as `DISK@NAME`, at the addresses of its disk.
    CheckpointExport {
        /// Its name.
        name: String,
        /// Names of the disks; all that have it if there are none.
        #[serde(default)]
        disks: Vec<String>,
    },
    /// Ends a checkpoint and gives its space back.
    CheckpointDelete {
        /// Its name.
        name: String,
        /// Names of the disks; all that have it if there are none.
        #[serde(default)]
        disks: Vec<String>,
    },
    /// Makes a checkpoint a reference point: its identifiers are stored, its data is let go.
    CheckpointConvert {
        /// Its name.
        name: String,
        /// Name of the reference point; that of the checkpoint if there is none.
        refpoint: Option<String>,
        /// Names of the disks; all that have it if there are none.
        #[serde(default)]
        disks: Vec<String>,
    },
    /// Something about the reference points of a disk whose changes are tracked.
    Refpoint {
        /// The disk.
        disk: String,
        /// What; as `vmstorage refpoint` asks.
        request: catalog::Request,
    },
    /// Changes the size of a disk.
    Resize {
        /// The disk.
        disk: String,
        /// The size in bytes.
        size_bytes: u64,
        /// Let it shrink.
        #[serde(default)]
        shrink: bool,
    },
    /// Changes the limits of a disk; what is not named has none.
    Throttle {
        /// The disk.
        disk: String,
        /// The limits.
        limits: RawThrottle,
    },
    /// Reads the configuration again.
    Reload {},
    /// Stops the service as `SIGTERM` does.
    Quit {},
}

fn hold_ms() -> u64 {
    5000
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Ok(Value),
    /// It was not.
    Error(Failure),
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub kind: Kind,
    /// For people.
    pub message: String,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request cannot be understood.
    BadRequest,
    /// There is no such disk, checkpoint or reference point.
    NotFound,
    /// There is one already.
    Exists,
    /// The disk cannot do that.
    Unsupported,
    /// Changes were not tracked all the time: only a full backup is right.
    FullBackupNeeded,
    /// It took too long, and was undone.
    Timeout,
    /// The configuration cannot be used; what was served before still is.
    BadConfig,
    /// A disk or file failed.
    Failed,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl From<crate::disk::Error> for Failure {
    fn from(error: crate::disk::Error) -> Self {
        use crate::disk::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::FullNeeded => Kind::FullBackupNeeded,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::Unsupported | ErrorKind::ReadOnly | ErrorKind::OutOfRange => {
                Kind::Unsupported
            }
            _ => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Result<Value, Failure>> for Answer {
    fn from(done: Result<Value, Failure>) -> Self {
        match done {
            Ok(value) => Self::Ok(value),
            Err(failure) => Self::Error(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let request: Request =
            serde_json::from_str(r#"{"command":"checkpoint-create","name":"a"}"#).unwrap();
        let expected = Request::CheckpointCreate {
            name: "a".into(),
            disks: Vec::new(),
            hold_ms: 5000,
        };
        assert_eq!(request, expected);
        for text in [
            r#"{"command":"fly"}"#,
            r#"{"command":"status","x":1}"#,
            "[]",
            "1",
        ] {
            serde_json::from_str::<Request>(text).expect_err(text);
        }
        for text in [
            r#"{"command":"throttle","disk":"d","limits":{"iops":5}}"#,
            r#"{"command":"refpoint","disk":"d","request":{"refpoint":"list"}}"#,
        ] {
            serde_json::from_str::<Request>(text).expect(text);
        }
    }

    #[test]
    fn answers_are_written() {
        let failure = Failure::new(Kind::FullBackupNeeded, "m");
        let text = serde_json::to_string(&Answer::Error(failure)).unwrap();
        assert_eq!(
            text,
            r#"{"error":{"kind":"full-backup-needed","message":"m"}}"#
        );
    }
}
