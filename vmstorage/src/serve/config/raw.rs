//! What stands in a configuration file, before it is checked.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::filter::throttle::{Limits, Rate, Rates};

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Path of the control socket.
    pub control: Option<PathBuf>,
    /// Directory for the old content that checkpoints keep.
    pub scratch: Option<PathBuf>,
    /// Permissions of NBD's unix sockets, octal digits.
    pub socket_mode: Option<String>,
    /// Certificates for addresses that use TLS.
    pub tls: Option<RawTls>,
    /// The disks.
    pub disks: Vec<RawDisk>,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of clients; clients without a certificate of theirs are refused.
    pub client_authorities: Option<PathBuf>,
    /// Clients that do not use TLS are refused; the default.
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

/// One disk.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDisk {
    /// Its name for clients and commands.
    pub name: String,
    /// For people.
    pub description: String,
    /// Path or URI.
    pub source: String,
    /// `raw`, `qcow2` or `vhdx`.
    pub format: Option<String>,
    /// Refuse writes.
    pub read_only: bool,
    /// Go around the page cache.
    pub direct: bool,
    /// `auto`, `uring` or `threads`.
    pub engine: Option<String>,
    /// Addresses: `unix:PATH`, `tcp:HOST:PORT`, `vhost-user:PATH`.
    pub listen: Vec<String>,
    /// Clients of an address at the same time.
    pub max_clients: Option<u32>,
    /// Follow which blocks change.
    pub track: Option<RawTrack>,
    /// How checkpoints are kept.
    pub checkpoints: RawCheckpoints,
    /// Limits.
    pub throttle: Option<RawThrottle>,
}

/// Change tracking.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTrack {
    /// The file of the map; beside the disk, `NAME.reeve-map`, if there is none.
    pub map: Option<PathBuf>,
    /// Size of a block, of a new map.
    pub block: Option<Size>,
}

/// How checkpoints keep old content.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCheckpoints {
    /// What is copied at once.
    pub granule: Option<Size>,
    /// The most that may be kept.
    pub limit: Option<Size>,
    /// How long a write waits for a copy.
    pub timeout_ms: Option<u64>,
    /// `checkpoint` or `write`.
    pub on_error: Option<String>,
}

/// Limits, each of them optional; all that are set hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawThrottle {
    /// Operations a second, reads and writes together.
    pub iops: Option<u64>,
    /// Reads a second.
    pub read_iops: Option<u64>,
    /// Writes a second.
    pub write_iops: Option<u64>,
    /// Bytes a second, reads and writes together.
    pub bytes_per_second: Option<u64>,
    /// Bytes read a second.
    pub read_bytes_per_second: Option<u64>,
    /// Bytes written a second.
    pub write_bytes_per_second: Option<u64>,
}

impl RawThrottle {
    /// The limits as the filter takes them.
    pub fn limits(self) -> Limits {
        let rates = |total: Option<u64>, read: Option<u64>, write: Option<u64>| Rates {
            total: total.map(Rate::new),
            read: read.map(Rate::new),
            write: write.map(Rate::new),
        };
        Limits {
            requests: rates(self.iops, self.read_iops, self.write_iops),
            bytes: rates(
                self.bytes_per_second,
                self.read_bytes_per_second,
                self.write_bytes_per_second,
            ),
            request_bytes: 0,
        }
    }
}

/// Bytes: a number, or text such as `64K`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// Text with a unit.
    Text(String),
}
