//! What the init is to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One command, run as a child of the init; the machine powers off when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Where the command reads and writes.
    pub kind: Kind,
    /// The program, looked up in the `PATH` of `env`, and its arguments; never empty.
    pub argv: Vec<String>,
    /// The whole environment; nothing is added to it.
    pub env: BTreeMap<String, String>,
    /// Working directory; must exist in the guest.
    pub cwd: String,
    /// Wall-clock seconds after which everything in the guest is killed; 0 for no limit.
    pub limit_seconds: u64,
}

/// How the command is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Standard input is `/dev/null`; output goes through a pipe to the output port.
    Batch,
    /// The console port is the controlling terminal.
    Shell,
}
