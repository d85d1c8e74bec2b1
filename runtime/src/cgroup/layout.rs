//! Which hierarchies there are and where.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroup file systems are mounted by convention.
const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The cgroup hierarchies that containers are put into, version 2 first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// At most one of version 2.
    pub hierarchies: Vec<Hierarchy>,
}

/// One hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Version 2.
    pub v2: bool,
    /// Its mount point.
    pub root: PathBuf,
    /// Its controllers, for version 1.
    pub controllers: Vec<String>,
    /// Its name, for one of version 1 that has one (`name=systemd`).
    pub name: Option<String>,
}

impl Layout {
    /// The host's.
    pub fn detect() -> Self {
        let is_v2 =
            rustix::fs::statfs(MOUNT_POINT).is_ok_and(|found| found.f_type == CGROUP2_MAGIC);
        if is_v2 {
            return Self {
                hierarchies: vec![Hierarchy::version_2(MOUNT_POINT.into())],
            };
        }
        // Any user's mount point may be called what is no text, and must not hide the rest.
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&mounts))
    }

    /// From the text of `/proc/self/mountinfo`.
    pub fn parse(mountinfo: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for found in mountinfo.lines().filter_map(parse_line) {
            // A hierarchy may be mounted in several places; the first is as good as any.
            if !hierarchies.iter().any(|known| known.is_same(&found)) {
                hierarchies.push(found);
            }
        }
        hierarchies.sort_by_key(|one| !one.v2);
        Self { hierarchies }
    }

    /// The version 2 tree.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|one| one.v2)
    }

    /// The version 1 hierarchy with this controller.
    pub fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        let mut v1 = self.hierarchies.iter().filter(|one| !one.v2);
        v1.find(|one| one.controllers.iter().any(|known| known == controller))
    }

    /// Whether everything is version 2.
    pub fn pure_v2(&self) -> bool {
        self.hierarchies.len() == 1 && self.hierarchies[0].v2
    }
}

impl Hierarchy {
    fn version_2(root: PathBuf) -> Self {
        Self {
            v2: true,
            root,
            controllers: Vec::new(),
            name: None,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let content = |one: &Self| (one.v2, one.controllers.clone(), one.name.clone());
        self.root == other.root || content(self) == content(other)
    }

    /// Name of its directory below `/sys/fs/cgroup` in a container; empty if it is mounted there
    /// itself.
    pub fn mounted_as(&self, layout: &Layout) -> String {
        if layout.pure_v2() {
            return String::new();
        }
        let name = self.root.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Options that mount it once more.
    pub fn mount_options(&self) -> Vec<(String, Option<String>)> {
        let controllers = self.controllers.iter().map(|name| (name.clone(), None));
        let name = self
            .name
            .iter()
            .map(|name| ("name".to_owned(), Some(name.clone())));
        let none =
            (self.name.is_some() && self.controllers.is_empty()).then(|| ("none".to_owned(), None));
        none.into_iter().chain(controllers).chain(name).collect()
    }
}

/// A line `id parent dev root mount-point options … - type source super-options`.
fn parse_line(line: &str) -> Option<Hierarchy> {
    let (mount, super_block) = line.split_once(" - ")?;
    let root = Path::new(mount.split(' ').nth(4)?);
    let mut fields = super_block.split(' ');
    let fs_type = fields.next()?;
    let options = fields.nth(1)?;
    if !root.starts_with(MOUNT_POINT) {
        return None;
    }
    match fs_type {
        "cgroup2" => Some(Hierarchy::version_2(root.to_owned())),
        "cgroup" => {
            // What is neither a flag of every super block nor an option of cgroup v1 is a
            // controller.
            let flags = [
                "rw",
                "ro",
                "xattr",
                "noprefix",
                "clone_children",
                "cpuset_v2_mode",
                "favordynmods",
                "nofavordynmods",
            ];
            let name = options
                .split(',')
                .find_map(|option| option.strip_prefix("name="));
            let controllers: Vec<String> = options
                .split(',')
                .filter(|option| !flags.contains(option) && !option.contains('='))
                .map(str::to_owned)
                .collect();
            (name.is_some() || !controllers.is_empty()).then(|| Hierarchy {
                v2: false,
                root: root.to_owned(),
                controllers,
                name: name.map(str::to_owned),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
35 24 0:31 / /elsewhere rw - cgroup cgroup rw,pids
36 30 0:28 / /sys/fs/cgroup/again rw,relatime - cgroup cgroup rw,memory
37 30 0:32 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
";

    #[test]
    fn a_hybrid_host_has_version_2_first_and_every_hierarchy_once() {
        let layout = Layout::parse(HYBRID);
        let roots: Vec<_> = layout.hierarchies.iter().map(|one| &one.root).collect();
        let base = Path::new(MOUNT_POINT);
        assert_eq!(
            roots,
            [
                &base.join("unified"),
                &base.join("cpu,cpuacct"),
                &base.join("memory"),
                &base.join("systemd"),
                &base.join("net_cls,net_prio"),
            ]
        );
        assert!(!layout.pure_v2());
        assert!(layout.v1("cpu").is_some());
        assert!(layout.v1("net_prio").is_some());
        assert!(layout.v1("pids").is_none());
        let systemd = &layout.hierarchies[3];
        assert_eq!(systemd.name.as_deref(), Some("systemd"));
        let options = systemd.mount_options();
        assert_eq!(options[0], ("none".to_owned(), None));
        assert_eq!(options[1], ("name".to_owned(), Some("systemd".to_owned())));
    }

    #[test]
    fn a_line_cut_short_is_passed_over() {
        assert_eq!(
            Layout::parse("30 24 0:26 /\n\n - cgroup\n"),
            Layout::default()
        );
    }
}
