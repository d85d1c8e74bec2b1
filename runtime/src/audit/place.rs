//! From a device number and names to a path on the host.

use std::path::{Path, PathBuf};

use ebpf_common::abi::split_dev;
use ebpf_common::event::{COMPONENTS, Event};
use ebpf_common::magic;

use crate::mountinfo::{self, Mount};

/// The host's mounts.
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Those of the caller's mount namespace; none if they cannot be read.
    pub(super) fn of_host() -> Self {
        Self(mountinfo::mounts().unwrap_or_default())
    }

    /// Path on the host of a path inside a file system, through the mount that shows it with the
    /// shortest name.
    fn path(&self, device: (u32, u32), inside: &str) -> Option<String> {
        let through = |mount: &Mount| {
            let below = Path::new(inside).strip_prefix(&mount.root).ok()?;
            // `join("")` would leave a slash behind.
            let path: PathBuf = mount.point.components().chain(below.components()).collect();
            path.into_os_string().into_string().ok()
        };
        let shown = self
            .0
            .iter()
            .filter(|mount| mount.device == device)
            .filter_map(through);
        shown.min_by_key(String::len)
    }

    /// The object of an event, as well as it can be named.
    pub(super) fn name(&self, event: &Event) -> Option<Place> {
        if event.dev == 0 && event.depth == 0 {
            return None;
        }
        let inside = components(event);
        if event.depth as usize > COMPONENTS {
            return Some(Place::Vague(inside));
        }
        if let Some(path) = self.path(split_dev(event.dev), &inside) {
            return Some(Place::Host(path));
        }
        let base = match event.magic {
            magic::PROC => "/proc",
            magic::SYSFS => "/sys",
            magic::CGROUP | magic::CGROUP2 => "/sys/fs/cgroup",
            magic::BPF_FS => "/sys/fs/bpf",
            magic::DEVPTS => "/dev/pts",
            _ => return Some(Place::Vague(inside)),
        };
        Some(Place::Vague(format!(
            "{base}{}",
            inside.trim_end_matches('/')
        )))
    }
}

/// Where an object is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A path on the host, as a policy would name it.
    Host(String),
    /// Only for people: a path in a file system that the host does not show, or one cut short.
    Vague(String),
}

impl Place {
    /// As people read it.
    pub(super) fn text(&self) -> &str {
        let (Self::Host(text) | Self::Vague(text)) = self;
        text
    }

    /// The path that a policy would name.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Host(path) => Some(path),
            Self::Vague(_) => None,
        }
    }
}

/// The names of an event, from the root of the file system down; `…` where the path was longer than
/// an event holds.
fn components(event: &Event) -> String {
    let used = (event.depth as usize).min(COMPONENTS);
    let mut path = String::new();
    if event.depth as usize > COMPONENTS {
        path.push('…');
    }
    for name in event.components[..used].iter().rev() {
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        path.push('/');
        path.push_str(&String::from_utf8_lossy(&name[..end]));
    }
    if path.is_empty() {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    //! Paths from mounts.

    use super::*;

    const SAMPLE: &str = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 8:1 /srv/vms /mnt/a\\040b rw - ext4 /dev/sda1 rw
24 22 8:2 / /srv rw - ext4 /dev/sda2 rw
25 22 8:3 /part /only rw - ext4 /dev/sda3 rw
not a line
";

    #[test]
    fn the_shortest_name_wins_and_a_part_that_is_not_mounted_has_none() {
        let mounts = Mounts(mountinfo::parse(SAMPLE));
        assert_eq!(
            mounts.path((8, 1), "/etc/shadow").as_deref(),
            Some("/etc/shadow")
        );
        assert_eq!(
            mounts.path((8, 1), "/srv/vms/x").as_deref(),
            Some("/srv/vms/x")
        );
        assert_eq!(mounts.path((8, 2), "/").as_deref(), Some("/srv"));
        assert_eq!(mounts.path((8, 3), "/part/x").as_deref(), Some("/only/x"));
        assert_eq!(mounts.path((8, 3), "/other"), None);
        assert_eq!(mounts.path((9, 9), "/x"), None);
        assert_eq!(
            mounts.path((8, 1), "/srv/vmsx").as_deref(),
            Some("/srv/vmsx")
        );
    }
}
