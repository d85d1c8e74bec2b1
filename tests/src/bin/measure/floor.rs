//! The least that a container costs: one `clone3` with five namespaces, the mounts, devices and
//! covers of `runc spec` by the oldest and shortest calls, `pivot_root`, `execve`, wait.
//!
//! It trusts the root file system, checks nothing, and makes no cgroup, no capabilities, no limits
//! and no state. The distance to it is what a runtime's work costs.

use std::ffi::{CStr, OsStr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat, stat, symlink};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use crate::failure::Failure;
use crate::sys;

const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

const NONE: MountFlags = MountFlags::empty();
const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);
const NOT_RUN: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// Type, place and options of each file system, in order. All but the container's cgroups.
const MOUNTS: [(&str, &str, MountFlags, Option<&CStr>); 6] = [
    ("proc", "proc", NONE, None),
    (
        "tmpfs",
        "dev",
        MountFlags::NOSUID.union(MountFlags::STRICTATIME),
        Some(c"mode=755,size=65536k"),
    ),
    (
        "devpts",
        "dev/pts",
        NOT_RUN,
        Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ),
    ("tmpfs", "dev/shm", SAFE, Some(c"mode=1777,size=65536k")),
    ("mqueue", "dev/mqueue", SAFE, None),
    ("sysfs", "sys", SAFE.union(MountFlags::RDONLY), None),
];

/// Minor and major number of each device in `dev`.
const DEVICES: [(&str, u32, u32); 6] = [
    ("dev/null", 1, 3),
    ("dev/zero", 1, 5),
    ("dev/full", 1, 7),
    ("dev/random", 1, 8),
    ("dev/urandom", 1, 9),
    ("dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];

const MASKED: [&str; 10] = [
    "proc/acpi",
    "proc/asound",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "sys/firmware",
    "proc/scsi",
];

const READONLY: [&str; 5] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];

/// Runs a command in a container with this root; its status.
pub(crate) fn run(root: &Path, command: &[&OsStr]) -> Result<ExitCode, Failure> {
    let cloned = sys::clone3(NAMESPACES);
    match cloned.map_err(Failure::call(|| "clone3(five namespaces)".to_owned()))? {
        Some(child) => {
            let used = sys::wait4(child);
            let used = used.map_err(Failure::call(|| format!("wait4({child:?})")))?;
            let code = used.status.code().and_then(|code| u8::try_from(code).ok());
            Ok(ExitCode::from(code.unwrap_or(u8::MAX)))
        }
        None => first_process(root, command),
    }
}

fn first_process(root: &Path, command: &[&OsStr]) -> Result<ExitCode, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Usage);
    };
    file_systems(root)?;
    devices()?;
    covers()?;
    enter()?;
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::call(|| format!("execve({program:?})"))(error))
}

/// Mounts everything, and enters the root, to which all later paths are relative.
fn file_systems(root: &Path) -> Result<(), Failure> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(Failure::call(|| {
        "mount(\"/\", MS_PRIVATE|MS_REC)".to_owned()
    }))?;
    mount_bind(root, root).map_err(Failure::call(|| format!("mount({root:?}, MS_BIND)")))?;
    chdir(root).map_err(Failure::call(|| format!("chdir({root:?})")))?;
    for (kind, target, flags, options) in MOUNTS {
        if target.starts_with("dev/") {
            rustix::fs::mkdir(target, Mode::from_raw_mode(0o755))
                .map_err(Failure::call(|| format!("mkdir(\"{target}\")")))?;
        }
        mount(kind, target, kind, flags, options)
            .map_err(Failure::call(|| format!("mount({kind}, \"{target}\")")))?;
    }
    Ok(())
}

fn devices() -> Result<(), Failure> {
    for (path, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(
            CWD,
            path,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )
        .map_err(Failure::call(|| format!("mknod(\"{path}\")")))?;
    }
    for (target, path) in LINKS {
        symlink(target, path).map_err(Failure::call(|| format!("symlink(\"{path}\")")))?;
    }
    Ok(())
}

fn covers() -> Result<(), Failure> {
    for path in MASKED {
        let Ok(found) = stat(path) else { continue };
        let covered = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, None),
            _ => mount_bind("dev/null", path),
        };
        covered.map_err(Failure::call(|| format!("mount(over \"{path}\")")))?;
    }
    for path in READONLY {
        match mount_bind(path, path) {
            Err(Errno::NOENT) => continue,
            bound => bound.map_err(Failure::call(|| format!("mount(\"{path}\", MS_BIND)")))?,
        }
        make_readonly(path)?;
    }
    Ok(())
}

fn make_readonly(path: &str) -> Result<(), Failure> {
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    mount_remount(path, flags, "").map_err(Failure::call(|| {
        format!("mount(\"{path}\", MS_REMOUNT|MS_RDONLY)")
    }))
}

fn enter() -> Result<(), Failure> {
    pivot_root(".", ".").map_err(Failure::call(|| "pivot_root(\".\", \".\")".to_owned()))?;
    unmount(".", UnmountFlags::DETACH)
        .map_err(Failure::call(|| "umount2(\".\", MNT_DETACH)".to_owned()))?;
    chdir("/").map_err(Failure::call(|| "chdir(\"/\")".to_owned()))?;
    make_readonly("/")?;
    rustix::system::sethostname(b"floor")
        .map_err(Failure::call(|| "sethostname(\"floor\")".to_owned()))
}
