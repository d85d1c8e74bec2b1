//! What this machine has, as far as tests depend on it.

use std::fs;
use std::path::Path;

use crate::host;

/// How the cgroup hierarchies are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// A hierarchy for each controller, with or without a version 2 tree beside them.
    Version1,
    /// One tree.
    Version2,
}

impl Cgroups {
    /// Of this machine.
    pub fn of_host() -> Self {
        match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            true => Self::Version2,
            false => Self::Version1,
        }
    }

    /// Whether a controller can be used: `memory`, `cpu`, `io`, … (`blkio` for `io` in version 1).
    pub fn has(self, controller: &str) -> bool {
        match self {
            Self::Version1 => {
                let controller = if controller == "io" {
                    "blkio"
                } else {
                    controller
                };
                Path::new("/sys/fs/cgroup").join(controller).is_dir()
            }
            Self::Version2 => fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control")
                .unwrap_or_default()
                .split_whitespace()
                .any(|known| known == controller),
        }
    }
}

/// Something that not every machine has. A test that needs one that is missing is left out, with
/// this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Cgroup version 1.
    CgroupV1,
    /// Cgroup version 2.
    CgroupV2,
    /// A controller by its version 2 name.
    Controller(&'static str),
    /// A kernel of at least this version.
    Kernel(u32, u32),
    /// The `resctrl` file system.
    Resctrl,
    /// A file or directory.
    File(&'static str),
    /// A network device can be made: the `ip` program, and a kernel with `veth`.
    Veth,
    /// A loadable or built-in file system type.
    FileSystem(&'static str),
    /// More than one processor.
    Processors(usize),
    /// The capability of this number, for this process.
    Capability(u32),
}

impl Need {
    /// Why the test cannot be done here; `None` if it can.
    pub fn unmet(self) -> Option<String> {
        let missing = |there: bool, what: String| (!there).then_some(what);
        match self {
            Self::CgroupV1 => missing(
                Cgroups::of_host() == Cgroups::Version1,
                "cgroup version 2 only".to_owned(),
            ),
            Self::CgroupV2 => missing(
                Cgroups::of_host() == Cgroups::Version2,
                "no cgroup version 2 tree with the controllers".to_owned(),
            ),
            Self::Controller(name) => missing(
                Cgroups::of_host().has(name),
                format!("no cgroup controller `{name}`"),
            ),
            Self::Kernel(major, minor) => missing(
                host::version(&host::kernel_release().unwrap_or_default()) >= (major, minor),
                format!("a kernel before {major}.{minor}"),
            ),
            Self::Resctrl => missing(
                Path::new("/sys/fs/resctrl/schemata").exists(),
                "no resctrl file system".to_owned(),
            ),
            Self::File(path) => missing(Path::new(path).exists(), format!("no `{path}`")),
            Self::Veth => missing(can_make_veth(), "no network devices can be made".to_owned()),
            Self::FileSystem(name) => missing(
                has_file_system(name),
                format!("the kernel has no file system `{name}`"),
            ),
            Self::Processors(count) => missing(
                std::thread::available_parallelism().is_ok_and(|found| found.get() >= count),
                format!("fewer than {count} processors"),
            ),
            Self::Capability(number) => missing(
                has_capability(number),
                format!("this process has no capability {number}"),
            ),
        }
    }
}

fn has_file_system(name: &str) -> bool {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known
        .lines()
        .any(|line| line.split_whitespace().last() == Some(name))
}

/// Whether the effective set of this process has the capability.
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set & 1 << number != 0)
}

/// Tries it in a network namespace of its own, so that nothing is left.
fn can_make_veth() -> bool {
    let mut command = std::process::Command::new("unshare");
    command.args(["--net", "ip", "link", "add", "a", "type", "veth"]);
    command.output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_judged() {
        assert_eq!(Need::Kernel(2, 6).unmet(), None);
        assert!(Need::Kernel(99, 0).unmet().is_some());
        assert_eq!(Need::File("/proc").unmet(), None);
        assert!(Need::FileSystem("no-such-fs").unmet().is_some());
        assert_eq!(Need::FileSystem("proc").unmet(), None);
        assert_ne!(
            Need::CgroupV1.unmet().is_some(),
            Need::CgroupV2.unmet().is_some()
        );
    }
}
