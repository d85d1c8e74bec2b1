//! Makes the guest look like an ordinary Linux host, and ends it.

use std::ffi::CStr;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use guest_init::layout;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::system::RebootCommand;

use crate::boot;
use crate::error::{Context as _, Error};

/// One file system that every host has.
struct Mount {
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    options: Option<&'static CStr>,
}

const fn at(target: &'static str, kind: &'static str, flags: MountFlags) -> Mount {
    Mount {
        target,
        kind,
        flags,
        options: None,
    }
}

const fn tmp(target: &'static str, options: &'static CStr) -> Mount {
    let flags = MountFlags::NOSUID.union(MountFlags::NODEV);
    Mount {
        target,
        kind: "tmpfs",
        flags,
        options: Some(options),
    }
}

const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// In the order they are mounted.
const MOUNTS: &[Mount] = &[
    at("/proc", "proc", SAFE),
    at("/sys", "sysfs", SAFE),
    at("/dev", "devtmpfs", MountFlags::NOSUID),
    Mount {
        target: "/dev/pts",
        kind: "devpts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        options: Some(c"mode=620,ptmxmode=666,gid=5"),
    },
    tmp("/dev/shm", c"mode=1777"),
    at("/dev/mqueue", "mqueue", SAFE),
    tmp("/run", c"mode=755"),
    tmp("/tmp", c"mode=1777"),
    at("/sys/fs/cgroup", "cgroup2", SAFE),
    at("/sys/fs/bpf", "bpf", SAFE),
    at("/sys/kernel/security", "securityfs", SAFE),
    at("/sys/kernel/tracing", "tracefs", SAFE),
    at("/sys/kernel/debug", "debugfs", SAFE),
];

/// Mounts, names and switches on what a booted host has.
pub(crate) fn prepare() -> Result<(), Error> {
    for entry in MOUNTS {
        // Below sysfs the directories are the kernel's; one that is missing is reported by `mount`.
        if !entry.target.starts_with("/sys/") {
            fs::create_dir_all(entry.target).call(|| format!("mkdir `{}`", entry.target))?;
        }
        mount(
            entry.kind,
            entry.target,
            entry.kind,
            entry.flags,
            entry.options,
        )
        .call(|| format!("mount {} at `{}`", entry.kind, entry.target))?;
    }
    // As systemd does it: what is mounted on the host is seen in mount namespaces made before.
    mount_change(
        "/",
        MountPropagationFlags::SHARED | MountPropagationFlags::REC,
    )
    .call(|| "mount --make-rshared `/`".to_owned())?;
    mount_payload()?;
    rustix::system::sethostname(b"reeve-guest").call(|| "sethostname".to_owned())?;
    delegate_controllers()?;
    let up = Command::new("/sbin/ip")
        .args(["link", "set", "lo", "up"])
        .status();
    match up.call(|| "run `ip link set lo up`".to_owned())? {
        status if status.success() => Ok(()),
        status => Err(Error::new("ip link set lo up", status)),
    }
}

/// Mounts the files under test read-only.
fn mount_payload() -> Result<(), Error> {
    boot::wait_for(layout::PAYLOAD_DISK)?;
    fs::create_dir_all(layout::PAYLOAD_DIR).call(|| format!("mkdir `{}`", layout::PAYLOAD_DIR))?;
    mount(
        layout::PAYLOAD_DISK,
        layout::PAYLOAD_DIR,
        "ext4",
        MountFlags::RDONLY,
        None,
    )
    .call(|| {
        format!(
            "mount `{}` at `{}`",
            layout::PAYLOAD_DISK,
            layout::PAYLOAD_DIR
        )
    })
}

/// Enables every controller for the children of the root cgroup, as systemd does.
fn delegate_controllers() -> Result<(), Error> {
    let available = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
        .call(|| "read `cgroup.controllers`".to_owned())?;
    let enable: String = available
        .split_whitespace()
        .map(|name| format!("+{name} "))
        .collect();
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", &enable)
        .call(|| format!("write `{enable}` to `cgroup.subtree_control`"))
}

/// Flushes the disks and switches the machine off.
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    // Refused only without CAP_SYS_BOOT, which process 1 has; then wait for the runner's limit.
    let _refused = rustix::system::reboot(RebootCommand::PowerOff);
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}
