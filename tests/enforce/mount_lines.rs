//! What a line of `mounts` may be narrowed to, by both interfaces, and actions on mounts.

use std::fs;

use libc::{EACCES, EPERM};
use reeve_tests::PolicyText;
use reeve_tests::fixture::in_container;

use crate::support::{Contained, Grounds};

#[test]
fn source_granted() {
    let policy = PolicyText::new("source")
        .mounts("{ type: tmpfs, source: [scratch, other], flags: [nosuid] }");
    let mut contained = Contained::start(policy);
    let hook = "fs_context_parse_param";
    contained.allowed(hook, "mount scratch /mnt tmpfs nosuid");
    contained.allowed(hook, "fsopen tmpfs other /tmp nosuid,nodev");
    contained.allowed("path_mknod", "create /mnt/file");
    contained.end();
}

#[test]
fn source_refused() {
    let policy =
        PolicyText::new("source").mounts("{ type: tmpfs, source: scratch, flags: [nosuid] }");
    let mut contained = Contained::start(policy);
    let hook = "fs_context_parse_param";
    contained.refused(hook, EPERM, "mount scratch2 /mnt tmpfs nosuid");
    contained.refused(hook, EPERM, "fsopen tmpfs scratc /mnt nosuid");
    // Of a type that no line names, before anything of it is made.
    contained.refused(hook, EPERM, "fsopen ramfs scratch /mnt nosuid");
    contained.end();
}

/// A detached mount has the flags of the line before anybody can reach into it.
#[test]
fn attributes_of_detached_mounts() {
    let policy = PolicyText::new("attributes").mount("tmpfs", "nosuid, noexec");
    let mut contained = Contained::start(policy);
    contained.refused("capable", EPERM, "fsopen tmpfs none - nosuid");
    contained.refused("capable", EPERM, "fsopen tmpfs none /mnt");
    contained.allowed("capable", "fsopen tmpfs none - nosuid,noexec");
    contained.allowed("move_mount", "fsopen tmpfs none /mnt nosuid,noexec,nodev");
    contained.refused("capable", EPERM, "mount-setattr /mnt rw");
    contained.end();
}

#[test]
fn targets() {
    let grounds = Grounds::new();
    let point = grounds.plot("point").join("directory");
    let other = grounds.plot("other").join("directory");
    let line = format!("{{ type: tmpfs, target: {} }}", point.display());
    let mut contained = Contained::start(PolicyText::new("target").mounts(line));
    let (point, other) = (in_container(&point), in_container(&other));
    contained.refused("sb_mount", EPERM, "mount-tmpfs /mnt");
    contained.refused("sb_mount", EPERM, format!("mount-tmpfs {other}"));
    contained.refused("move_mount", EPERM, format!("fsopen-tmpfs {other}"));
    contained.allowed("sb_mount", format!("mount-tmpfs {point}"));
    contained.allowed("path_mknod", format!("create {point}/file"));
    contained.allowed("sb_umount", format!("umount {point}"));
    contained.allowed("move_mount", format!("fsopen-tmpfs {point}"));
    contained.end();
}

/// Views of the kernel are the container's own to read.
#[test]
fn views_of_the_kernel() {
    let policy = PolicyText::new("views")
        .mount("proc", "")
        .mount("devpts", "")
        .mount("sysfs", "");
    let mut contained = Contained::start(policy);
    contained.allowed("sb_mount", "mount proc /mnt proc");
    contained.allowed("file_open", "read /mnt/self/status");
    contained.refused("file_open", EACCES, "open w /mnt/sys/kernel/core_pattern");
    contained.allowed("sb_umount", "umount /mnt");
    contained.allowed("sb_mount", "mount devpts /mnt devpts");
    contained.allowed("file_open", "open rw /mnt/ptmx");
    contained.allowed("sb_mount", "mount sysfs /tmp sysfs");
    contained.refused(
        "file_open",
        EACCES,
        "open w /tmp/kernel/mm/transparent_hugepage/enabled",
    );
    // What the runtime mounted stays the runtime's.
    contained.refused("sb_umount", EPERM, "umount /sys detach");
    contained.end();
}

/// An ext4 of this machine: its node, its number, and the flag with which it can be mounted again.
fn stored() -> (String, String, &'static str) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let found = mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let dash = words.iter().position(|word| *word == "-")?;
        let (number, options) = (words[2].to_owned(), *words.get(dash + 3)?);
        let flag = if options.starts_with("ro") {
            "ro"
        } else {
            "nosuid"
        };
        let whole = words[3] == "/" && words.get(dash + 1) == Some(&"ext4");
        whole.then_some((number, flag))
    });
    let (number, flag) = found.expect("an ext4 in this machine");
    let about = fs::read_to_string(format!("/sys/dev/block/{number}/uevent")).expect("uevent");
    let name = about.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    (format!("/dev/{}", name.expect("a node")), number, flag)
}

/// The files of a block device have the rights of the line, wherever they are seen.
#[test]
fn block_device() {
    let (node, number, flag) = stored();
    let grounds = Grounds::new();
    let closed = grounds.plot("closed");
    let policy = PolicyText::new("device")
        .mounts(format!("{{ type: ext4, source: \"{number}\" }}"))
        .file(&closed, "write");
    let mut contained = Contained::start(policy);
    let node = in_container(&node);
    contained.refused("file_open", EACCES, "list /host");
    contained.allowed("sb_kern_mount", format!("mount {node} /mnt ext4 {flag}"));
    contained.allowed("file_open", "list /mnt");
    contained.refused("path_mknod", EACCES, "create /mnt/new");
    contained.refused("path_mkdir", EACCES, "mkdir /mnt/new");
    // A nearer line decides alone.
    contained.refused(
        "file_open",
        EACCES,
        format!("open r {}/file", in_container(&closed)),
    );
    contained.refused("sb_umount", EPERM, "umount /mnt force");
    contained.allowed("sb_umount", "umount /mnt");
    contained.end();
}

#[test]
fn other_block_devices() {
    let (node, _, flag) = stored();
    let node = in_container(&node);
    let line = "{ type: ext4, source: \"7:200\", files: [read] }";
    let mut contained = Contained::start(PolicyText::new("device").mounts(line));
    let hook = "sb_kern_mount";
    contained.refused(hook, EPERM, format!("mount {node} /mnt ext4 {flag}"));
    contained.refused("file_open", EACCES, "list /host");
    contained.end();
}

#[test]
fn actions_granted() {
    let policy = PolicyText::new("actions")
        .mount("tmpfs", "nosuid")
        .mounts("{ allow: [remount, move, propagation, chroot, open_tree, mount_setattr] }");
    let mut contained = Contained::start(policy);
    contained.allowed("sb_mount", "mount-tmpfs /mnt nosuid");
    contained.allowed("sb_mount", "remount /mnt nosuid,ro");
    contained.allowed("sb_mount", "mount none /mnt none private");
    contained.allowed("move_mount", "move-attached /mnt /tmp");
    contained.allowed("capable", "mount-setattr /tmp rw");
    contained.allowed("capable", "in-chroot /tmp pid");
    contained.end();
}

#[test]
fn actions_refused() {
    let policy = PolicyText::new("actions")
        .mount("tmpfs", "nosuid")
        .mount("bind", "")
        .mounts("{ allow: [remount, move, propagation] }");
    let mut contained = Contained::start(policy);
    contained.allowed("sb_mount", "mount-tmpfs /mnt nosuid");
    // The flags of the line stay, and only its own mounts are its to change.
    contained.refused("sb_mount", EPERM, "remount /mnt ro");
    contained.refused("sb_mount", EPERM, "remount /mnt bind,ro");
    for target in ["/sys", "/host", "/proc", "/dev"] {
        contained.refused("sb_mount", EPERM, format!("remount {target} bind,nosuid"));
        contained.refused(
            "sb_mount",
            EPERM,
            format!("mount none {target} none shared"),
        );
        contained.refused("move_mount", EPERM, format!("move-attached {target} /tmp"));
    }
    contained.refused("sb_mount", EPERM, "mount /mnt /tmp none move");
    contained.refused("capable", EPERM, "chroot /mnt");
    contained.refused("capable", EPERM, "mount-setattr /mnt rw");
    contained.end();
}

/// A context that has made a super block reconfigures it, with flags that no hook sees.
#[test]
fn reconfigure_granted() {
    let policy = PolicyText::new("reconfigure")
        .mount("tmpfs", "nosuid")
        .mounts("{ allow: [remount] }");
    let mut contained = Contained::start(policy);
    contained.allowed("sb_remount", "fsopen tmpfs none ! nosuid");
    contained.allowed("sb_mount", "mount-tmpfs /mnt nosuid");
    contained.allowed("sb_remount", "remount /mnt nosuid,ro");
    contained.end();
}

#[test]
fn reconfigure_refused() {
    let mut contained = Contained::start(PolicyText::new("reconfigure").mount("tmpfs", ""));
    contained.refused("sb_remount", EPERM, "fsopen tmpfs none !");
    contained.end();
}

/// A mount that shows elsewhere: what is mounted below a shared mount appears on its peers.
#[test]
fn shared_mount_points() {
    let policy = PolicyText::new("shared")
        .mount("tmpfs", "")
        .mounts("{ allow: [propagation] }");
    let mut contained = Contained::start(policy);
    contained.allowed("sb_mount", "mount-tmpfs /mnt");
    contained.allowed("path_mkdir", "mkdir /mnt/below");
    contained.allowed("sb_mount", "mount none /mnt none shared");
    contained.refused("sb_mount", EPERM, "mount-tmpfs /mnt/below");
    contained.refused("move_mount", EPERM, "fsopen-tmpfs /mnt/below");
    contained.allowed("sb_mount", "mount none /mnt none private");
    contained.allowed("sb_mount", "mount-tmpfs /mnt/below");
    contained.allowed("sb_mount", "mount none /mnt none shared");
    contained.refused("sb_umount", EPERM, "umount /mnt/below");
    contained.end();
}

/// A mount of the runtime's, taken away because a line names its root.
#[test]
fn named_mounts() {
    let grounds = Grounds::new();
    let plot = grounds.plot("mounted");
    let line = format!("{{ allow: [umount, remount], target: {} }}", plot.display());
    let policy = PolicyText::new("named").mount("bind", "").mounts(line);
    let mut contained = Contained::start(policy);
    let plot = in_container(&plot);
    contained.allowed("sb_mount", format!("mount-bind {plot} /mnt"));
    contained.allowed("sb_mount", "remount /mnt bind,ro");
    contained.refused("sb_umount", EPERM, "umount /mnt force");
    contained.allowed("sb_umount", "umount /mnt");
    contained.allowed("sb_mount", format!("mount-bind {plot}/directory /mnt"));
    contained.refused("sb_umount", EPERM, "umount /mnt");
    contained.end();
}
