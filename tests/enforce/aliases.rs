//! Other ways to the same object: a denied one is denied by every name it has.

use std::fs;

use libc::{EACCES, EPERM};
use reeve_tests::PolicyText;
use reeve_tests::fixture::in_container;

use crate::support::{Contained, Grounds};

#[test]
fn another_name_is_the_same_object() {
    let grounds = Grounds::new();
    let (closed, open) = (grounds.plot("closed"), grounds.plot("open"));
    std::os::unix::fs::symlink(closed.join("file"), open.join("absolute")).expect("symlink");
    std::os::unix::fs::symlink("../closed/file", open.join("relative")).expect("symlink");
    let policy = PolicyText::new("aliases")
        .file(&open, "read, write, create")
        .mount("bind", "")
        .mount("tmpfs", "");
    let mut contained = Contained::start(policy);
    let (to, from) = (in_container(&closed), in_container(&open));
    contained.allowed("path_symlink", format!("symlink {to}/file /own/alias"));
    contained.allowed("sb_mount", format!("mount-bind {to} /mnt"));
    contained.allowed("path_mknod", "create /own/file");
    contained.allowed("sb_mount", format!("mount-bind {to}/file /own/file"));
    for name in [
        format!("{from}/absolute"),
        format!("{from}/relative"),
        "/own/alias".to_owned(),
        "/mnt/file".to_owned(),
        "/own/file".to_owned(),
        format!("/proc/self/root{to}/file"),
        format!("/proc/self/cwd{to}/file"),
        format!("/proc/1/root{to}/file"),
        format!("{from}/../closed/file"),
        format!("/host/proc/self/root{to}/file"),
    ] {
        for mode in ["r", "w", "trunc", "append"] {
            let action = format!("open {mode} {name}");
            let outcome = contained.attempt(&action);
            assert!(
                !outcome.is_done(),
                "hook `file_open` let `{action}` through"
            );
        }
        let outcome = contained.attempt(format!("reopen w {name}"));
        assert!(
            !outcome.is_done(),
            "hook `file_open` let `reopen w {name}` through"
        );
    }
    contained.end();
    assert_eq!(
        fs::read_to_string(closed.join("file")).expect("read"),
        "content of file\n"
    );
}

/// A new mount namespace with mounts of its own.
#[test]
fn another_mount_namespace() {
    let grounds = Grounds::new();
    let closed = grounds.plot("closed");
    let mut contained = Contained::start(PolicyText::new("namespace"));
    let to = in_container(&closed);
    contained.refused(
        "file_open",
        EACCES,
        format!("unshare user,mount open w {to}/file"),
    );
    contained.refused(
        "sb_mount",
        EPERM,
        format!("unshare user,mount mount-bind {to} /mnt"),
    );
    contained.refused("sb_mount", EPERM, "unshare user,mount mount-tmpfs /mnt");
    contained.end();
}

/// By its handle, without any path.
#[test]
fn by_handle() {
    let grounds = Grounds::new();
    let (closed, open) = (grounds.plot("closed"), grounds.plot("open"));
    let policy = PolicyText::new("handle").file(&open, "read, write");
    let mut contained = Contained::start(policy.clone());
    let (to, from) = (in_container(&closed), in_container(&open));
    contained.refused("capable", EPERM, format!("by-handle w {to}/file {from}"));
    contained.end();
    // Even where the call itself is granted, the object decides.
    let mut contained = Contained::start(policy.capability("DAC_READ_SEARCH", "open_by_handle_at"));
    contained.refused("file_open", EACCES, format!("by-handle w {to}/file {from}"));
    contained.allowed("file_open", format!("by-handle w {from}/file {from}"));
    contained.end();
}

/// A device that holds the host's files is not a way to them.
#[test]
fn the_disk_below() {
    let mut contained = Contained::start(
        PolicyText::new("disk")
            .mount("tmpfs", "")
            .capability("SYS_ADMIN", "mount, fsopen, fsconfig"),
    );
    contained.refused("file_open", EACCES, "open r /host/dev/vda");
    contained.refused("sb_mount", EPERM, "mount /host/dev/vda /mnt ext4");
    contained.end();
}

/// Deeper than the walk goes is refused, even below a grant: what cannot be told is not allowed.
#[test]
fn too_deep() {
    let grounds = Grounds::new();
    let top = grounds.plot("deep");
    let below = |levels: usize| top.join(vec!["d"; levels].join("/"));
    fs::create_dir_all(below(80)).expect("make a deep directory");
    for levels in [20, 80] {
        fs::write(below(levels).join("file"), "deep\n").expect("write");
    }
    let mut contained = Contained::start(PolicyText::new("deep").file(&top, "read, write, create"));
    let at = |levels| in_container(below(levels).join("file"));
    contained.allowed("file_open", format!("open rw {}", at(20)));
    contained.refused("file_open", EACCES, format!("open r {}", at(80)));
    contained.refused("path_mknod", EACCES, format!("create {}new", at(80)));
    contained.end();
}

/// A root that is deep on the host is the container's own all the same.
#[test]
fn own_root_is_free() {
    let mut contained = Contained::start(PolicyText::new("root"));
    for action in [
        "create /own/file",
        "mkdir /own/directory",
        "rename /own/file /own/directory/file",
        "link /own/directory/file /own/again",
        "truncate /own/again 1",
        "chmod /own/again 0600",
        "chown /own/again 5 5",
        "symlink again /own/symlink",
        "mmap-shared-write /own/again",
        "unlink /own/again",
        "create /dev/shm-file",
        "create /tmp/file",
    ] {
        contained.allowed("file_open", action);
    }
    contained.end();
}
