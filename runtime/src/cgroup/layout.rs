//! Which hierarchies there are and where.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroup file systems are mounted by convention.
const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Version 1 controllers that a container is put under. The others (`cpuset`, `blkio`, …) need
/// set-up of their own or limit nothing that can be asked for yet.
const USED_V1: [&str; 5] = ["memory", "pids", "cpu", "freezer", "devices"];

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
}

impl Layout {
    /// The host's.
    pub fn detect() -> Self {
        let is_v2 =
            rustix::fs::statfs(MOUNT_POINT).is_ok_and(|found| found.f_type == CGROUP2_MAGIC);
        if is_v2 {
            return Self {
                hierarchies: vec![Hierarchy {
                    v2: true,
                    root: MOUNT_POINT.into(),
                    controllers: Vec::new(),
                }],
            };
        }
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// From the text of `/proc/self/mountinfo`.
    pub fn parse(mountinfo: &str) -> Self {
        let mut hierarchies: Vec<_> = mountinfo.lines().filter_map(parse_line).collect();
        hierarchies.sort_by_key(|one| !one.v2);
        hierarchies.dedup_by(|one, other| one.v2 && other.v2 || one.root == other.root);
        Self { hierarchies }
    }

    /// The version 2 tree.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|one| one.v2)
    }

    /// The version 1 hierarchy with this controller.
    pub fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        let v1 = self.hierarchies.iter().filter(|one| !one.v2);
        v1.into_iter()
            .find(|one| one.controllers.iter().any(|known| known == controller))
    }

    /// Whether everything is version 2.
    pub fn pure_v2(&self) -> bool {
        self.hierarchies.len() == 1 && self.hierarchies[0].v2
    }
}

impl Hierarchy {
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
        let controllers = self.controllers.iter();
        controllers.map(|name| (name.clone(), None)).collect()
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
        "cgroup2" => Some(Hierarchy {
            v2: true,
            root: root.to_owned(),
            controllers: Vec::new(),
        }),
        "cgroup" => {
            // What is neither a flag of every super block nor an option of cgroup v1 is a
            // controller.
            let flags = ["rw", "ro", "xattr", "noprefix", "clone_children"];
            let controllers: Vec<String> = options
                .split(',')
                .filter(|option| !flags.contains(option) && !option.contains('='))
                .map(str::to_owned)
                .collect();
            let used = controllers
                .iter()
                .any(|name| USED_V1.contains(&name.as_str()));
            used.then(|| Hierarchy {
                v2: false,
                root: root.to_owned(),
                controllers,
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
";

    #[test]
    fn a_hybrid_host_has_version_2_first_and_the_controllers_that_are_used() {
        let layout = Layout::parse(HYBRID);
        let roots: Vec<_> = layout.hierarchies.iter().map(|one| &one.root).collect();
        let base = Path::new(MOUNT_POINT);
        assert_eq!(
            roots,
            [
                &base.join("unified"),
                &base.join("cpu,cpuacct"),
                &base.join("memory")
            ]
        );
        assert!(!layout.pure_v2());
        assert!(layout.v1("cpu").is_some());
        assert!(layout.v1("pids").is_none());
    }

    #[test]
    fn a_line_cut_short_is_passed_over() {
        assert_eq!(
            Layout::parse("30 24 0:26 /\n\n - cgroup\n"),
            Layout::default()
        );
    }
}
