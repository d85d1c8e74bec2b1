//! The `cpuset` controller of version 1: a group has neither processors nor memory nodes until it
//! is told, and takes no process before.

use std::path::Path;

use super::Error;
use super::files::{read, write};

/// Copies processors and memory nodes down from `root` to `dir`, into each group on the way that
/// has none.
pub(super) fn inherit(root: &Path, dir: &Path) -> Result<(), Error> {
    let mut groups: Vec<_> = dir
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .collect();
    groups.reverse();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut inherited = String::new();
        for group in &groups {
            let path = group.join(file);
            let own = read(&path)?.unwrap_or_default().trim().to_owned();
            if own.is_empty() && !inherited.is_empty() {
                write(&path, &inherited)?;
            } else {
                inherited = own;
            }
        }
    }
    Ok(())
}
