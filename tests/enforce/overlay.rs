//! A root that is an overlay, as container engines make it: what is done to it also happens to the
//! layers behind, by the kernel itself, and is the container's own all the same.

use std::fs;
use std::path::Path;
use std::process::Command;

use libc::{EACCES, EPERM};
use reeve_tests::PolicyText;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;

use crate::support::{Contained, Grounds, prepared};

/// A mount on the host that ends with its test.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Moves `root` into `layers` as the lower layer of an overlay, and mounts that in its place.
    fn overlay(root: &'a Path, layers: &Path) -> Self {
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| layers.join(name));
        fs::rename(root, &lower).expect("rename");
        fs::create_dir(root).expect("mkdir");
        fs::create_dir(&upper).expect("mkdir");
        fs::create_dir(&work).expect("mkdir");
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let mut mount = Command::new("mount");
        let status = mount
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(root)
            .status();
        assert!(status.expect("mount").success(), "mount an overlay");
        Self(root)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn an_overlay_root_is_free() {
    let grounds = Grounds::new();
    let layers = grounds.fixture().directory("layers").expect("mkdir");
    let policy = PolicyText::new("overlay");
    let container = prepared(Config::default(), policy);
    let root = container.root();
    for name in ["lower", "changed", "gone", "kept"] {
        fs::write(root.join("own").join(name), "lower\n").expect("write");
    }
    fs::create_dir_all(root.join("own/tree/inner")).expect("mkdir");
    let mounted = Mounted::overlay(&root, &layers);
    let mut contained = Contained::of(container);
    for action in [
        "create /own/new",
        "write /own/new text",
        "mkdir /own/directory",
        "symlink new /own/symlink",
        "mknod /own/fifo fifo",
        "rename /own/new /own/directory/new",
        "link /own/directory/new /own/again",
        // Copied up from the lower layer, each for another reason.
        "write /own/lower changed",
        "chmod /own/changed 0600",
        "chown /own/changed 5 5",
        "setxattr /own/changed user.reeve x",
        "truncate /own/kept 1",
        "rename /own/kept /own/moved",
        "unlink /own/gone",
        "rmdir /own/tree/inner",
        "mmap-shared-write /own/lower",
        "exec /probe pid",
        "exec /bin/busybox true",
    ] {
        contained.allowed("file_open", action);
    }
    contained.refused("sb_mount", EPERM, "mount-tmpfs /mnt");
    contained.refused("capable", EPERM, "sethostname overlay");
    contained.end();
    drop(mounted);
    let lower = fs::read_to_string(layers.join("lower/own/gone")).expect("read");
    assert_eq!(lower, "lower\n", "the lower layer has changed");
}

/// The layers themselves are the host's: seen beside the overlay they are not to be changed.
#[test]
fn the_layers_are_the_hosts() {
    let grounds = Grounds::new();
    let layers = grounds.fixture().directory("layers").expect("mkdir");
    let container = prepared(Config::default(), PolicyText::new("layers"));
    let root = container.root();
    let _mounted = Mounted::overlay(&root, &layers);
    let mut contained = Contained::of(container);
    contained.allowed("path_mknod", "create /own/new");
    let upper = in_container(layers.join("upper"));
    contained.refused("file_open", EACCES, format!("open w {upper}/own/new"));
    contained.refused("path_mknod", EACCES, format!("create {upper}/own/other"));
    contained.refused("path_unlink", EACCES, format!("unlink {upper}/own/new"));
    contained.end();
}
