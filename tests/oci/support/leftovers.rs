//! What a container may leave on the machine, and its removal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reeve_tests::host;

use super::Bundle;
use super::command;

/// What there is of a container: state, cgroups, mounts, processes; a line each.
pub(crate) fn of(bundle: &Bundle) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(&bundle.root, &mut |path| {
        // Lock files that stay empty belong to no container.
        if path.is_file() || path.to_string_lossy().contains(&bundle.id) {
            found.insert(format!("state {}", path.display()));
        }
    });
    for cgroup in cgroups(&bundle.id) {
        found.insert(format!("cgroup {}", cgroup.display()));
    }
    for line in mounts(&bundle.id) {
        found.insert(format!("mount {line}"));
    }
    for pid in processes(&bundle.id) {
        found.insert(format!("process {pid}"));
    }
    for name in names(&bundle.directory) {
        found.insert(format!("file {name}"));
    }
    found
}

/// Fails the test if there is more of the container than before.
#[track_caller]
pub(crate) fn nothing_since(bundle: &Bundle, before: &BTreeSet<String>) {
    // A process that was killed is in /proc until the kernel has taken it down.
    let left = || -> Vec<String> { of(bundle).difference(before).cloned().collect() };
    let gone = host::wait_until("removal", std::time::Duration::from_secs(5), || {
        left().is_empty().then_some(())
    });
    assert!(gone.is_ok(), "left behind: {:#?}", left());
}

/// Names in the bundle and in its root, except for what the test itself writes.
fn names(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for place in [directory.to_owned(), directory.join("rootfs")] {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        names.extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    let own = |name: &String| {
        name.starts_with("stdout.") || name.starts_with("stderr.") || name == "config.json"
    };
    names.retain(|name| !own(name));
    names
}

/// Directories of control groups that are named after the container, in every hierarchy.
pub(crate) fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains(id) && is_cgroup(path) {
            found.push(path.to_owned());
        }
    });
    found
}

/// Whether a directory is in a hierarchy, rather than beside them.
fn is_cgroup(path: &Path) -> bool {
    // `include/uapi/linux/magic.h`
    const CGROUP: i64 = 0x27_e0eb;
    const CGROUP2: i64 = 0x6367_7270;
    let found = rustix::fs::statfs(path).map(|found| found.f_type);
    path.is_dir() && found.is_ok_and(|kind| [CGROUP, CGROUP2].contains(&kind))
}

fn mounts(id: &str) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains(id));
    lines.map(str::to_owned).collect()
}

/// Processes that were started for the container and live: by their environment or their cgroup.
pub(crate) fn processes(id: &str) -> Vec<u32> {
    let mut found: BTreeSet<u32> = cgroups(id)
        .iter()
        .flat_map(|cgroup| {
            let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            text.lines()
                .filter_map(|line| line.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    found.extend(host::processes_with_variable(&format!(
        "REEVE_TEST_CONTAINER={id}"
    )));
    found.into_iter().filter(|pid| alive(*pid)).collect()
}

/// Whether a process lives; one that only waits to be reaped does not.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
    !matches!(state, None | Some("Z" | "X"))
}

/// Removes everything of a container: with the runtime, then without it.
pub(crate) fn remove(bundle: &Bundle) {
    // Errors are what a failing test is about, or of no interest once it has passed.
    if bundle.root.join(&bundle.id).exists() {
        let mut delete = bundle.command("delete", &["--force"], &[]);
        if let Ok(mut child) = delete
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
        {
            let ended = || child.try_wait().ok().flatten();
            if host::wait_until("delete", command::LIMIT, ended).is_err() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
    let cgroups = cgroups(&bundle.id);
    for cgroup in &cgroups {
        // A frozen process does not die in version 1.
        let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
        let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
    }
    if !cgroups.is_empty() {
        processes(&bundle.id).into_iter().for_each(host::kill);
    }
    let removed = || {
        let left = cgroups
            .iter()
            .rev()
            .filter(|cgroup| fs::remove_dir(cgroup).is_err());
        (!left.into_iter().any(|cgroup| cgroup.exists())).then_some(())
    };
    let _ = host::wait_until("empty cgroups", std::time::Duration::from_secs(5), removed);
    for line in mounts(&bundle.id).iter().rev() {
        if let Some(point) = line.split(' ').nth(4) {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
    }
    let _ = fs::remove_dir_all(&bundle.directory);
}

fn walk(directory: &Path, seen: &mut impl FnMut(&Path)) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), seen);
        }
        seen(&entry.path());
    }
}
