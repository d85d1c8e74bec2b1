//! Temporary directories, removed with their owner, or at a later start if it was killed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

const PREFIX: &str = "reeve-xtask-";

/// A new directory; `purpose` is a part of its name.
///
/// Not in the build directory: paths of sockets in it must stay short.
pub(crate) fn dir(purpose: &str) -> Result<TempDir> {
    sweep(&std::env::temp_dir());
    let prefix = format!("{PREFIX}{}-{purpose}-", std::process::id());
    let dir = tempfile::Builder::new().prefix(&prefix).tempdir();
    dir.context("make a temporary directory")
}

/// Removes directories of processes that are gone.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let pid = rest.split('-').next().unwrap_or_default();
        let is_number = pid.parse::<u32>().is_ok();
        if is_number && !Path::new("/proc").join(pid).exists() {
            // Another user's, or another process removes it at this moment: not ours to report.
            let _left = fs::remove_dir_all(entry.path());
        }
    }
}
