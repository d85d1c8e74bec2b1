//! Mounting and unmounting, by both interfaces.

use libc::{EACCES, EPERM};
use reeve_tests::PolicyText;
use reeve_tests::fixture::in_container;

use crate::support::{Contained, Grounds};

#[test]
fn mount_granted() {
    let policy = PolicyText::new("mount")
        .mount("tmpfs", "nosuid, nodev")
        .mount("bind", "");
    let mut contained = Contained::start(policy);
    contained.allowed("sb_mount", "mkdir /own/inner");
    contained.allowed("sb_mount", "mount-tmpfs /mnt nosuid,nodev");
    contained.allowed("sb_mount", "mount-tmpfs /own/inner nosuid,nodev,noexec");
    contained.allowed("path_mknod", "create /mnt/file");
    contained.allowed("sb_mount", "mount-bind /own /tmp");
    contained.allowed("file_open", "list /tmp/inner");
    contained.end();
}

#[test]
fn mount_refused() {
    let grounds = Grounds::new();
    let host = in_container(grounds.plot("mount-point").join("directory"));
    let policy = PolicyText::new("mount")
        .file(grounds.fixture().path(), "read, write, create, delete")
        .mount("tmpfs", "nosuid, nodev");
    let mut contained = Contained::start(policy);
    // Without the flags, with some of them, of another type, and on a mount point of the host's.
    contained.refused("sb_mount", EPERM, "mount-tmpfs /mnt");
    contained.refused("sb_mount", EPERM, "mount-tmpfs /mnt nosuid");
    contained.refused("sb_mount", EPERM, "mount none /mnt ramfs nosuid,nodev");
    contained.refused("sb_mount", EPERM, "mount none /mnt proc nosuid,nodev");
    contained.refused("sb_mount", EPERM, "mount none /mnt bpf nosuid,nodev");
    contained.refused(
        "sb_mount",
        EPERM,
        format!("mount-tmpfs {host} nosuid,nodev"),
    );
    // No bind, however it is spelt.
    contained.refused("sb_mount", EPERM, "mount-bind /own /mnt");
    contained.refused("sb_mount", EPERM, format!("mount-bind {host} /mnt"));
    contained.refused("sb_mount", EPERM, format!("mount-bind /own {host}"));
    // Nor a change of what is mounted.
    contained.refused("sb_mount", EPERM, "remount /sys rw,bind");
    contained.refused("sb_mount", EPERM, "remount /host ro");
    contained.refused("sb_mount", EPERM, "mount none / none shared,rec");
    contained.refused("sb_mount", EPERM, "mount /sys /mnt none move");
    contained.end();
}

#[test]
fn move_mount_granted() {
    let policy = PolicyText::new("move").mount("tmpfs", "").mount("bind", "");
    let mut contained = Contained::start(policy);
    contained.allowed("move_mount", "fsopen-tmpfs /mnt");
    contained.allowed("path_mknod", "create /mnt/file");
    contained.allowed("move_mount", "move-mount /own /tmp");
    contained.end();
}

#[test]
fn move_mount_refused() {
    let grounds = Grounds::new();
    let host = in_container(grounds.plot("mount-point").join("directory"));
    let calls = "open_tree, move_mount, fsopen, fsconfig, fsmount";
    let policy = PolicyText::new("move")
        .mount("tmpfs", "")
        .capability("SYS_ADMIN", calls);
    let mut contained = Contained::start(policy);
    contained.refused("move_mount", EPERM, "move-mount /own /mnt");
    contained.refused("move_mount", EPERM, format!("move-mount {host} /mnt"));
    contained.refused("move_mount", EPERM, format!("fsopen-tmpfs {host}"));
    contained.end();
}

#[test]
fn fsopen_granted() {
    let mut contained = Contained::start(PolicyText::new("fsopen").mount("tmpfs", ""));
    contained.allowed("sb_kern_mount", "fsopen-tmpfs /mnt");
    contained.allowed("sb_kern_mount", "mount-tmpfs /tmp");
    contained.allowed("path_mkdir", "mkdir /mnt/directory");
    contained.end();
}

#[test]
fn fsopen_refused() {
    let calls = "fsopen, fsconfig, fsmount, move_mount";
    let policy = PolicyText::new("fsopen").capability("SYS_ADMIN", calls);
    let mut contained = Contained::start(policy);
    contained.refused("sb_kern_mount", EPERM, "fsopen-tmpfs /mnt");
    contained.end();
    // Flags cannot be asked for before the mount is attached, so a grant that wants some does not
    // open this way.
    let mut contained = Contained::start(PolicyText::new("fsopen").mount("tmpfs", "nosuid"));
    contained.refused("capable", EPERM, "fsopen-tmpfs /mnt");
    contained.end();
}

#[test]
fn umount_granted() {
    let mut contained = Contained::start(PolicyText::new("umount").mount("tmpfs", ""));
    contained.allowed("sb_mount", "mount-tmpfs /mnt");
    contained.allowed("sb_umount", "umount /mnt");
    contained.allowed("sb_mount", "mount-tmpfs /mnt");
    contained.allowed("sb_umount", "umount /mnt detach");
    contained.end();
}

#[test]
fn umount_refused() {
    let policy = PolicyText::new("umount")
        .mount("tmpfs", "")
        .capability("SYS_ADMIN", "umount2");
    let mut contained = Contained::start(policy);
    for target in [
        "/host",
        "/proc",
        "/sys",
        "/dev",
        "/dev/pts",
        "/host/tmp",
        "/host/sys/fs/cgroup",
    ] {
        contained.refused("sb_umount", EPERM, format!("umount {target} detach"));
    }
    contained.end();
}

/// What only a capability guards: changing attributes of mounts, and the root.
#[test]
fn root_and_attributes_refused() {
    let policy = PolicyText::new("attributes")
        .mount("tmpfs", "")
        .mount("bind", "");
    let mut contained = Contained::start(policy);
    contained.refused("capable", EPERM, "mount-setattr /sys rw");
    contained.refused("capable", EPERM, "mount-setattr /host ro");
    contained.refused("capable", EPERM, "chroot /host");
    contained.refused("capable", EPERM, "pivot-root /own /own");
    contained.end();
}

/// A tmpfs of the container's own is free, until it is gone.
#[test]
fn own_tmpfs() {
    let mut contained = Contained::start(PolicyText::new("own").mount("tmpfs", ""));
    for _ in 0..3 {
        contained.allowed("sb_mount", "mount-tmpfs /mnt");
        for action in [
            "create /mnt/file",
            "write /mnt/file text",
            "chmod /mnt/file 0600",
        ] {
            contained.allowed("sb_free_security", action);
        }
        contained.allowed("sb_free_security", "rename /mnt/file /mnt/other");
        contained.allowed("sb_free_security", "mknod /mnt/fifo fifo");
        contained.allowed("sb_free_security", "umount /mnt");
    }
    // The host's own tmpfs is not the container's.
    contained.refused("path_mknod", EACCES, "create /host/tmp/file");
    contained.end();
}

/// Device numbers of tmpfs are given out again: one that the container had does not open another's.
#[test]
fn reused_device_number() {
    let grounds = Grounds::new();
    let point = grounds.plot("point").join("directory");
    let mut contained = Contained::start(PolicyText::new("reuse").mount("tmpfs", ""));
    contained.allowed("sb_mount", "mount-tmpfs /mnt");
    let had = contained.allowed("sb_mount", "stat /mnt");
    contained.allowed("sb_umount", "umount /mnt");
    let at = in_container(&point);
    let entry = contained.running().entry_pid().expect("the entry process");
    // From outside, into the container's mount namespace, until the number comes round.
    let mounted = (0..20).any(|_| {
        enter(entry, &["mount", "-t", "tmpfs", "host", &at]);
        enter(entry, &["touch", &format!("{at}/file")]);
        let now = contained.attempt(format!("stat {at}"));
        now.detail().split_whitespace().next() == had.split_whitespace().next()
    });
    assert!(
        mounted,
        "the device number {had} was not given out again in twenty mounts"
    );
    let hook = "sb_free_security";
    let outcome = contained.attempt(format!("create {at}/new"));
    assert_eq!(
        outcome.errno(),
        Some(EACCES),
        "hook `{hook}` kept a device number: {outcome}"
    );
    contained.refused("file_open", EACCES, format!("open r {at}/file"));
    contained.end();
}

/// Runs busybox in the mount namespace of a process.
fn enter(pid: u32, words: &[&str]) {
    let target = pid.to_string();
    let status = std::process::Command::new("nsenter")
        .args(["-t", &target, "-m", "--", "/bin/busybox"])
        .args(words)
        .status()
        .expect("nsenter");
    assert!(status.success(), "nsenter {words:?}: {status}");
}
