//! The runtime under test, and the files that both engines start from.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use reeve_tests::{Fixture, tools};

/// Name of the variable with the path of another runtime's program.
const VARIABLE: &str = "REEVE_TEST_RUNTIME";

/// Name of the image that every container is made from.
pub(crate) const IMAGE: &str = "localhost/box";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home:/bin/sh\n";
const GROUP: &str = "root:x:0:\nalice:x:1000:\nextra:x:55:\n";

/// Program of the runtime under test.
pub(crate) fn runtime() -> PathBuf {
    static RUNTIME: OnceLock<PathBuf> = OnceLock::new();
    let find = || match std::env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => tools::find("reeve").expect("the runtime under test"),
    };
    RUNTIME.get_or_init(find).clone()
}

/// A directory for the engines to keep their things in. It stays: the machine is thrown away.
pub(crate) fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<Fixture> = OnceLock::new();
    let make = || Fixture::named("engines").expect("a directory");
    DIRECTORY.get_or_init(make).path()
}

/// A root file system that has busybox for each of its applets and nothing else.
pub(crate) fn rootfs() -> &'static Path {
    static ROOTFS: OnceLock<PathBuf> = OnceLock::new();
    ROOTFS.get_or_init(|| make_rootfs().expect("make a root file system"))
}

fn make_rootfs() -> std::io::Result<PathBuf> {
    let root = directory().join("rootfs");
    let directories = [
        "bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var",
    ];
    for name in directories {
        fs::create_dir_all(root.join(name))?;
    }
    let busybox = tools::find("busybox").expect("busybox");
    let list = tools::output(Command::new(&busybox).arg("--list")).expect("list its applets");
    fs::copy(&busybox, root.join("bin/busybox"))?;
    for applet in list.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/group"), GROUP)?;
    Ok(root)
}

/// The root file system as a tar archive, which Podman makes an image of.
pub(crate) fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let path = directory().join("rootfs.tar");
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--file").arg(&path);
        tar.arg("--directory").arg(rootfs()).arg(".");
        tools::output(&mut tar).expect("tar");
        path
    })
}

/// Cgroups whose name has `id` in it.
pub(crate) fn cgroups_of(id: &str) -> Vec<PathBuf> {
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-type", "d", "-name", &format!("*{id}*")]);
    let found = tools::output(&mut find).expect("find");
    found.lines().map(PathBuf::from).collect()
}

/// Fails if a container left a cgroup or a mount.
#[track_caller]
pub(crate) fn nothing_left(id: &str) {
    let cgroups = cgroups_of(id);
    assert!(cgroups.is_empty(), "`{id}` left cgroups: {cgroups:#?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(id)).collect();
    assert!(left.is_empty(), "`{id}` left mounts: {left:#?}");
}

/// A name that no other container of this run has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", reeve_tests::fixture::unique())
}
