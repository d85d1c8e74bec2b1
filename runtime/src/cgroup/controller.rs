//! Controllers, and the group in which a container has each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{read, write};
use super::{CgroupDirs, Error, Layout};
use crate::failure::Called;
use crate::spec::Resources;

/// A controller that limits something, in the order in which limits are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Cpuset,
    Cpu,
    Memory,
    Pids,
    Io,
    Hugetlb,
    NetCls,
    NetPrio,
    Rdma,
}

/// A group in which a controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Controller {
    pub(super) const ALL: [Self; 9] = [
        Self::Cpuset,
        Self::Cpu,
        Self::Memory,
        Self::Pids,
        Self::Io,
        Self::Hugetlb,
        Self::NetCls,
        Self::NetPrio,
        Self::Rdma,
    ];

    pub(super) fn v1_name(self) -> &'static str {
        match self {
            Self::Cpuset => "cpuset",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Io => "blkio",
            Self::Hugetlb => "hugetlb",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::Rdma => "rdma",
        }
    }

    /// `None` for those that version 2 has not.
    pub(super) fn v2_name(self) -> Option<&'static str> {
        match self {
            Self::Io => Some("io"),
            Self::NetCls | Self::NetPrio => None,
            other => Some(other.v1_name()),
        }
    }

    /// Whether a limit asks for it.
    pub(super) fn is_needed(self, limits: &Resources) -> bool {
        let (memory, cpu, network) = (&limits.memory, &limits.cpu, &limits.network);
        match self {
            Self::Cpuset => cpu.cpus.is_some() || cpu.mems.is_some(),
            Self::Cpu => {
                let signed = [cpu.quota_us, cpu.realtime_runtime_us];
                let others = [
                    cpu.shares,
                    cpu.burst_us,
                    cpu.period_us,
                    cpu.realtime_period_us,
                ];
                signed.iter().any(Option::is_some)
                    || others.iter().any(Option::is_some)
                    || cpu.idle.is_some()
            }
            Self::Memory => {
                let signed = [
                    memory.limit,
                    memory.reservation,
                    memory.swap,
                    memory.kernel_tcp,
                ];
                signed.iter().any(Option::is_some)
                    || memory.swappiness.is_some()
                    || memory.disable_oom_killer
            }
            Self::Pids => limits.pids_limit.is_some(),
            Self::Io => limits.block_io != Default::default(),
            Self::Hugetlb => !limits.hugepages.is_empty(),
            Self::NetCls => network.class_id.is_some(),
            Self::NetPrio => !network.priorities.is_empty(),
            Self::Rdma => !limits.rdma.is_empty(),
        }
    }
}

/// The groups of one container.
pub(super) struct Groups<'a> {
    pub(super) layout: &'a Layout,
    pub(super) dirs: &'a CgroupDirs,
}

impl<'a> Groups<'a> {
    /// The version 1 group with a controller.
    pub(super) fn v1(&self, controller: &str) -> Option<&'a Path> {
        let root = &self.layout.v1(controller)?.root;
        let mut v1 = self.dirs.v1.iter();
        v1.find(|dir| dir.starts_with(root)).map(PathBuf::as_path)
    }

    /// The version 2 group, if it has a controller.
    pub(super) fn v2(&self, controller: &str) -> Option<&'a Path> {
        let dir = self.dirs.v2.as_deref()?;
        let text = read(&dir.join("cgroup.controllers")).ok()??;
        text.split_whitespace()
            .any(|known| known == controller)
            .then_some(dir)
    }

    /// Where a controller is: a hierarchy of version 1 that has it is the only one that does.
    pub(super) fn find(&self, controller: Controller) -> Option<Group<'a>> {
        let v1 = self.v1(controller.v1_name()).map(Group::V1);
        v1.or_else(|| self.v2(controller.v2_name()?).map(Group::V2))
    }
}

/// Makes a group in the version 2 tree and hands every controller of the root down to it.
///
/// Each group on the way gets its controllers before it has children: the kernel would otherwise
/// have to move what is in them.
///
/// # Errors
/// A directory cannot be made, or a controller that is `needed` cannot be handed down.
pub(super) fn make_v2(root: &Path, dir: &Path, needed: &[Controller]) -> Result<(), Error> {
    let available = read(&root.join("cgroup.controllers"))?.unwrap_or_default();
    let below = dir.strip_prefix(root).unwrap_or(dir);
    let mut tries = 0;
    'again: loop {
        let mut at = root.to_owned();
        for part in below.components() {
            enable(&available, &at, needed)?;
            at.push(part);
            match fs::create_dir(&at) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // The last container to leave removed the parent.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 100 => {
                    tries += 1;
                    continue 'again;
                }
                result => result.called(|| format!("mkdir(\"{}\")", at.display()))?,
            }
        }
        return Ok(());
    }
}

/// Gives the children of `parent` the controllers that it has.
fn enable(available: &str, parent: &Path, needed: &[Controller]) -> Result<(), Error> {
    let file = parent.join("cgroup.subtree_control");
    let Some(enabled) = read(&file)? else {
        return Ok(());
    };
    let is_enabled = |name: &&str| enabled.split_whitespace().any(|known| known == *name);
    let missing: Vec<&str> = available
        .split_whitespace()
        .filter(|name| !is_enabled(name))
        .collect();
    let words: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if words.is_empty() || write(&file, &words.join(" ")).is_ok() {
        return Ok(());
    }
    // One that cannot be had (as `cpu` with real-time processes about) keeps the others from being
    // enabled, so each by itself.
    for (name, word) in missing.iter().zip(&words) {
        let Err(source) = write(&file, word) else {
            continue;
        };
        match needed.iter().find(|needed| needed.v2_name() == Some(name)) {
            Some(needed) => {
                return Err(Error::NotEnabled {
                    controller: needed.v1_name(),
                    at: parent.to_owned(),
                    source,
                });
            }
            None => tracing::debug!(controller = name, error = %source, "controller not enabled"),
        }
    }
    Ok(())
}
