//! The namespaces of a running container, as a process that comes into it sees them.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::ThreadNameSpaceType;

use crate::failure::{Called, Failure};

/// Names in `/proc/PID/ns`, and the flag of each for `setns`.
const KINDS: [(&str, ThreadNameSpaceType); 7] = [
    ("user", ThreadNameSpaceType::USER),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("net", ThreadNameSpaceType::NETWORK),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
    ("time", ThreadNameSpaceType::TIME),
    ("mnt", ThreadNameSpaceType::MOUNT),
];

/// The namespaces of a process that are not those of this one, but for the pid namespace, which a
/// process can only be born into. Entering one's own user namespace is an error, and entering any
/// other of one's own a waste.
pub(super) fn others_of(pid: i32) -> Result<ThreadNameSpaceType, Failure> {
    let mut others = ThreadNameSpaceType::empty();
    for (name, kind) in KINDS {
        if differs(pid, name)? {
            others |= kind;
        }
    }
    Ok(others)
}

/// The number of a process in the pid namespace that it is in.
pub(super) fn innermost_pid(pid: i32) -> Result<i32, Failure> {
    let path = format!("/proc/{pid}/status");
    let call = || format!("read(\"{path}\": NSpid)");
    let status = fs::read_to_string(&path).called(call)?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let number = numbers.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok());
    number.ok_or_else(|| Failure::new(call(), Errno::NODATA))
}

/// Whether a process is in another pid namespace.
pub(super) fn other_pid_namespace(pid: i32) -> Result<bool, Failure> {
    differs(pid, "pid")
}

/// The root directory of a child of this process, which keeps its number until it is waited for.
pub(super) fn root_of(pid: i32) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).called(|| format!("open(\"{path}\", O_PATH)"))
}

fn differs(pid: i32, name: &str) -> Result<bool, Failure> {
    let of = |process: &str| {
        let path = format!("/proc/{process}/ns/{name}");
        let found = fs::metadata(&path).called(|| format!("stat(\"{path}\")"))?;
        Ok((found.dev(), found.ino()))
    };
    Ok(of(&pid.to_string())? != of("self")?)
}
