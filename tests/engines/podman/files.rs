//! What a container sees of files: its root, volumes, devices.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{podman, run};
use crate::machine;

/// A root that cannot be written, and what can be all the same.
#[test]
fn read_only_root() {
    let script = "touch /new 2>&1; touch /tmp/new /run/new /dev/shm/new && echo rest; \
        grep -c ' / overlay ro' /proc/mounts";
    run(&["--read-only"], script)
        .ok()
        .prints(&["touch: /new: Read-only file system", "rest", "1"]);
}

/// File systems in memory: one that starts with what the image has at its place, one that is empty
/// and has the mode that was asked for.
#[test]
fn tmpfs() {
    let options = [
        "--tmpfs=/etc:size=1m,noexec",
        "--shm-size=2m",
        "--mount=type=tmpfs,destination=/plain,notmpcopyup,tmpfs-mode=750",
    ];
    let script = "stat -c '%a %A' /plain; ls /etc/passwd; ls -A /plain | wc -l; \
        dd if=/dev/zero of=/etc/big bs=1M count=2 2>&1 | grep -o 'No space left'; \
        df -m /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2";
    run(&options, script).ok().prints(&[
        "750 drwxr-x---",
        "/etc/passwd",
        "0",
        "No space left",
        "2",
    ]);
}

/// Directories and files of the host, and volumes by name.
#[test]
fn volumes() {
    let host = machine::directory().join("volume");
    fs::create_dir_all(&host).expect("mkdir");
    fs::set_permissions(&host, fs::Permissions::from_mode(0o777)).expect("chmod");
    fs::write(host.join("given"), "from the host\n").expect("write");
    let host = host.display();
    let options = [
        format!("--volume={host}:/writable"),
        format!("--volume={host}:/closed:ro,noexec"),
        format!("--volume={host}/given:/etc/one-file:ro"),
        "--volume=named:/named:nodev".to_owned(),
    ];
    let options = options.each_ref().map(String::as_str);
    let script = "cat /writable/given /etc/one-file; echo back >/writable/taken; \
        touch /closed/new 2>&1; touch /etc/one-file 2>&1; \
        grep -cE ' /closed .*ro,.*noexec' /proc/mounts; echo kept >/named/file";
    run(&options, script).ok().prints(&[
        "from the host",
        "from the host",
        "touch: /closed/new: Read-only file system",
        "touch: /etc/one-file: Read-only file system",
        "1",
    ]);
    let taken = fs::read_to_string(machine::directory().join("volume/taken"));
    assert_eq!(taken.expect("what the container wrote"), "back\n");
    run(&["--volume=named:/again"], "cat /again/file")
        .ok()
        .prints(&["kept"]);
    podman(&["volume", "rm", "named"]).ok();
}

/// A mount of the host's that is made later is seen where that was asked for.
#[test]
fn propagation() {
    let host = machine::directory().join("shared");
    fs::create_dir_all(host.join("later")).expect("mkdir");
    let volume = format!("--volume={}:/shared:rslave", host.display());
    let private = format!("--volume={}:/private", host.display());
    let box_ = super::Container::waiting(&[&volume, &private]);
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "none"]).arg(host.join("later"));
    crate::said::run(&mount).ok();
    let script = "grep -c /shared/later /proc/mounts; grep -c /private/later /proc/mounts";
    let said = box_.exec(&[], &["sh", "-c", script]);
    let mut umount = std::process::Command::new("umount");
    crate::said::run(umount.arg(host.join("later"))).ok();
    said.prints(&["1", "0"]);
}

/// A device of the host under another name, for reading only.
#[test]
fn devices() {
    let options = ["--device=/dev/vda:/dev/disk:r", "--device=/dev/kmsg"];
    let script = "dd if=/dev/disk of=/dev/null bs=512 count=1 2>&1 | grep -c '1+0 records out'; \
        dd if=/dev/zero of=/dev/disk bs=512 count=1 2>&1; \
        [ -c /dev/kmsg ] && echo kmsg; echo x >/dev/null; head -c 4 /dev/zero | wc -c; \
        ls -l /dev/full | cut -c1-10; \
        for link in fd stdin ptmx; do readlink /dev/$link; done";
    run(&options, script).ok().prints(&[
        "1",
        "dd: can't open '/dev/disk': Operation not permitted",
        "kmsg",
        "4",
        "crw-rw-rw-",
        "/proc/self/fd",
        "/proc/self/fd/0",
        "pts/ptmx",
    ]);
}
