//! Why cgroups could not be had.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::spec::DeviceRule;

use super::systemd;

/// Why cgroups could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of a hierarchy.
    #[error(transparent)]
    Call(#[from] Failure),
    /// A limit whose controller is in no hierarchy.
    #[error("`linux.resources` needs the `{controller}` cgroup controller, which this host lacks")]
    NoController {
        /// Which.
        controller: &'static str,
    },
    /// A controller of a group below the container's, as `exec --cgroup` names it.
    #[error("no cgroup hierarchy of version 1 has the controller `{0}`")]
    NoSuchController(String),
    /// A limit whose controller cannot be handed down to the container's group.
    #[error("cannot enable the `{controller}` controller in {}", .at.display())]
    NotEnabled {
        /// Which.
        controller: &'static str,
        /// The group whose children would have it.
        at: PathBuf,
        /// Why.
        source: Failure,
    },
    /// A limit that the kernel refuses.
    #[error("`linux.resources.{key}` cannot be set")]
    Setting {
        /// The key.
        key: &'static str,
        /// Why.
        source: Failure,
    },
    /// A file of `unified` whose controller is not in the version 2 tree.
    #[error("`linux.resources.unified[{file}]`: `{controller}` is not in the cgroup v2 tree")]
    NotUnified {
        /// The file.
        file: String,
        /// What it is of.
        controller: String,
    },
    /// A limit that version 2 has not.
    #[error("`linux.resources.{0}` is of cgroup v1 only, and this host has v2")]
    OnlyVersion1(&'static str),
    /// A limit of memory and swap of which the part for memory is not known.
    #[error("`linux.resources.memory.swap` needs a `memory.limit` that is not above it")]
    SwapAlone,
    /// `checkBeforeUpdate`, and more is used than would be allowed.
    #[error("`linux.resources.memory.limit` is {limit}, and {usage} bytes are in use")]
    BelowUsage {
        /// In bytes.
        limit: u64,
        /// In bytes.
        usage: u64,
    },
    /// Rules that version 1 cannot express.
    #[error("`linux.resources.devices`: cgroup v1 cannot except `{0}` from a rule before it")]
    DeviceRule(DeviceRule),
    /// The group exists and has processes.
    #[error("cgroup {} is in use", .0.display())]
    InUse(PathBuf),
    /// No version 2 tree, which enforcement needs.
    #[error("no cgroup2 file system is mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified")]
    NoVersion2,
    /// No group that could be frozen.
    #[error("the container has no cgroup that can be frozen")]
    NoFreezer,
    /// systemd, which makes the groups.
    #[error("systemd does not make the container's cgroup")]
    Systemd(#[from] systemd::Error),
}

impl Error {
    pub(super) fn setting(key: &'static str, source: Failure) -> Self {
        Self::Setting { key, source }
    }

    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoVersion2 => Some("mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"),
            Self::NoController { .. } | Self::NotEnabled { .. } | Self::NotUnified { .. } => {
                Some("remove the limit from config.json, or choose another `linux.cgroupsPath`")
            }
            Self::OnlyVersion1(_) => Some("remove the limit from config.json"),
            Self::InUse(_) => Some("choose another `linux.cgroupsPath`"),
            Self::DeviceRule(_) => Some("name the devices in the rules before it one by one"),
            Self::NoSuchController(_) => Some("write DIR alone for a group in every hierarchy"),
            Self::Systemd(error) => error.help(),
            Self::Call(_)
            | Self::Setting { .. }
            | Self::SwapAlone
            | Self::BelowUsage { .. }
            | Self::NoFreezer => None,
        }
    }
}
