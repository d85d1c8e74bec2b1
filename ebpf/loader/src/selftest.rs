//! Whether a refusal really happens.
//!
//! Programs load, attach and look well on a kernel without `bpf` among its security modules, and on
//! older ones after `ftrace_enabled` was set to 0, and yet never run. So this very task is labelled
//! for a moment with a policy that has no tables, which must refuse everything, and tries to open
//! `/`. In that moment its label governs nothing but opening files ([`state::TRIAL`]), so that it
//! can be taken off again.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use ebpf_common::PolicyId;
use ebpf_common::abi::{Subject, state};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use crate::Error;
use crate::maps::Maps;

/// Before 6.2 a look-up in task storage may find nothing under contention.
const TRIES: u32 = 3;

/// Labels this process's first thread, which must be the caller, and sees it refused.
pub(crate) fn run(maps: &Maps) -> Result<(), Error> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(|error| Error::system("pidfd_open(getpid())", error))?;
    let mut tried = try_once(maps, own.as_fd());
    for _ in 1..TRIES {
        if !matches!(tried, Err(Error::NotEnforced { .. })) {
            break;
        }
        tried = try_once(maps, own.as_fd());
    }
    tried
}

fn try_once(maps: &Maps, own: BorrowedFd<'_>) -> Result<(), Error> {
    maps.label(
        own,
        Subject {
            policy: PolicyId::NOBODY,
            state: state::TRIAL,
        },
    )?;
    let opened = File::open("/");
    maps.unlabel(own)?;
    let found = match opened {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ACCESS) => return Ok(()),
        Err(error) => format!("open(\"/\") of a process without any grant: {error}"),
        Ok(_) => "a process without any grant could open \"/\"".to_owned(),
    };
    Err(Error::NotEnforced { found })
}
