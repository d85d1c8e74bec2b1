//! The cgroup hierarchies of this machine, and the group in which all containers are.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Where they are mounted by convention.
const MOUNT_POINT: &str = "/sys/fs/cgroup";

const PREFIX: &str = "reeve-bench-";

/// The kernel ends processes, and lets go of their groups, a little after it was asked to.
const EMPTYING: Duration = Duration::from_secs(5);

/// The mounted hierarchies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    v1: Vec<PathBuf>,
    v2: Vec<PathBuf>,
}

impl Layout {
    /// This machine's.
    pub(crate) fn read() -> Result<Self> {
        let path = "/proc/self/mountinfo";
        let text = fs::read_to_string(path).with_context(|| format!("read `{path}`"))?;
        Ok(Layout::parse(&text))
    }

    /// From the text of `/proc/self/mountinfo` (proc(5)).
    fn parse(mountinfo: &str) -> Self {
        let mut layout = Layout {
            v1: Vec::new(),
            v2: Vec::new(),
        };
        for line in mountinfo.lines() {
            let Some((mount, super_block)) = line.split_once(" - ") else {
                continue;
            };
            let point = PathBuf::from(mount.split(' ').nth(4).unwrap_or_default());
            if !point.starts_with(MOUNT_POINT) {
                continue;
            }
            match super_block.split(' ').next() {
                Some("cgroup") => layout.v1.push(point),
                Some("cgroup2") => layout.v2.push(point),
                _ => {}
            }
        }
        layout
    }

    /// What is taken out of the contestants' sight: beside hierarchies of version 1, that of
    /// version 2, because crun refuses a mixture.
    pub(crate) fn hidden(&self) -> &[PathBuf] {
        if self.v1.is_empty() { &[] } else { &self.v2 }
    }

    /// What the contestants see, in words.
    pub(crate) fn describe(&self) -> String {
        let count = self.v1.len();
        match (self.v1.is_empty(), self.v2.is_empty()) {
            (true, true) => "no cgroups".to_owned(),
            (true, false) => "cgroups of version 2".to_owned(),
            (false, true) => format!("cgroups of version 1, {count} hierarchies"),
            (false, false) => format!(
                "cgroups of version 1, {count} hierarchies (the machine's mixture of versions 1 \
                 and 2 without the latter, for all contestants alike)"
            ),
        }
    }

    /// Containers' groups that are still there.
    pub(crate) fn left(&self, group: &str) -> Vec<PathBuf> {
        let directories = |point: &PathBuf| children(&point.join(group));
        let mut left: Vec<PathBuf> = self.points().flat_map(directories).collect();
        left.sort();
        left
    }

    /// Removes a group with all below it, in every hierarchy, once its processes are gone.
    pub(crate) fn remove(&self, group: &str) -> Result<()> {
        for point in self.points() {
            remove_tree(&point.join(group), Instant::now() + EMPTYING)?;
        }
        Ok(())
    }

    /// Removes the groups of benchmarks that were killed.
    pub(crate) fn sweep(&self) -> Result<()> {
        for group in self.points().flat_map(|point| children(point)) {
            let name = group.file_name().unwrap_or_default().to_string_lossy();
            let Some(pid) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if !Path::new("/proc").join(pid).exists() {
                remove_tree(&group, Instant::now() + EMPTYING)?;
            }
        }
        Ok(())
    }

    fn points(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.iter().chain(&self.v2)
    }
}

/// Name of this process's group.
pub(crate) fn own_group() -> String {
    format!("{PREFIX}{}", std::process::id())
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

fn remove_tree(dir: &Path, deadline: Instant) -> Result<()> {
    for child in children(dir) {
        remove_tree(&child, deadline)?;
    }
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            result => return result.with_context(|| format!("rmdir `{}`", dir.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Layout;

    const V1: &str = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
    const V2: &str = "34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn only_a_mixture_has_something_to_hide() {
        let mixed = Layout::parse(&format!("{V1}{V2}"));
        assert_eq!(mixed.hidden(), [PathBuf::from("/sys/fs/cgroup/unified")]);
        assert!(mixed.describe().contains("mixture"));
        assert!(Layout::parse(V1).hidden().is_empty());
        assert!(Layout::parse(V2).hidden().is_empty());
        assert_eq!(Layout::parse(V2).describe(), "cgroups of version 2");
    }

    #[test]
    fn hierarchies_elsewhere_are_not_ours() {
        let elsewhere = "35 24 0:31 / /elsewhere rw - cgroup cgroup rw,pids\n34 24 0:1 / /\n";
        assert_eq!(Layout::parse(elsewhere).describe(), "no cgroups");
    }
}
