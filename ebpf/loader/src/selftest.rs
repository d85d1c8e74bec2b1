//! Whether a refusal really happens.
//!
//! Programs load, attach and look well on a kernel without `bpf` among its security modules, and on
//! older ones after `ftrace_enabled` was set to 0, and yet never run. So a child is labelled with a
//! policy that has no tables, which must refuse everything, and tries to open `/`.

use std::io::Write;
use std::os::fd::AsFd;

use ebpf_common::PolicyId;
use ebpf_common::abi::{Subject, state};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::maps::Maps;
use crate::{Error, sys};

/// A number that is never given out: its tables are always empty.
const NOBODY: PolicyId = PolicyId(u32::MAX);

/// Labels a child and sees it refused.
pub(crate) fn run(maps: &Maps) -> Result<(), Error> {
    let (gate, mut opener) = std::io::pipe().map_err(|error| Error::system("pipe()", error))?;
    let child = sys::fork_opener(gate.as_fd(), opener.as_fd())
        .map_err(|error| Error::system("fork()", error))?;
    drop(gate);
    let labelled = label(maps, child);
    if labelled.is_ok() {
        // A child that is gone already shows below.
        let _ = opener.write_all(b"x");
    }
    drop(opener);
    let status = sys::wait_for(child).map_err(|error| Error::system("waitpid()", error))?;
    labelled?;
    match status {
        Some(libc::EACCES) => Ok(()),
        Some(0) => Err(Error::NotEnforced {
            found: "a process without any grant could open \"/\"".to_owned(),
        }),
        other => Err(Error::NotEnforced {
            found: format!("the child ended with {other:?}"),
        }),
    }
}

fn label(maps: &Maps, child: i32) -> Result<(), Error> {
    let Some(pid) = Pid::from_raw(child) else {
        return Err(Error::system("fork()", std::io::ErrorKind::InvalidData));
    };
    let pidfd = pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| Error::system(format!("pidfd_open({child})"), error))?;
    maps.label(
        pidfd.as_fd(),
        Subject {
            policy: NOBODY,
            state: state::ENFORCED,
        },
    )
}
