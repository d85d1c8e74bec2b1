//! Looking through all processes for those with a label.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ebpf_common::PolicyId;
use ebpf_common::abi::{Counters, Subject};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Enforcer, Error};

/// How often processes are looked through before the answer is taken for unknown.
const SCANS: u32 = 100;
/// Time for killed processes to end.
const SCAN_PAUSE: Duration = Duration::from_millis(20);

/// What a look through all processes says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scan {
    /// None has a label.
    Clean,
    /// One ended meanwhile: not known.
    Moving,
    /// One has.
    Found,
}

impl Enforcer {
    /// Ends every process that has the label of `policy`, wherever it hides from the container's
    /// cgroups, and returns when none is left. Where the kernel side counts none there is nothing
    /// to look for: the count is never too low.
    ///
    /// # Errors
    /// [`Error::StillLabelled`] if that cannot be brought about or cannot be told; the policy must
    /// stay then.
    pub fn kill_labelled(&self, policy: PolicyId) -> Result<(), Error> {
        let none = |counters: Counters| counters.tasks == 0;
        if self.counters(policy)?.is_some_and(none) {
            return Ok(());
        }
        for _ in 0..SCANS {
            let kill = |pidfd: BorrowedFd<'_>, subject: Subject| {
                if subject.policy == policy {
                    // One that has ended meanwhile is as good.
                    let _ = pidfd_send_signal(pidfd, Signal::KILL);
                }
                subject.policy == policy
            };
            if self.scan(kill)? == Scan::Clean {
                return Ok(());
            }
            std::thread::sleep(SCAN_PAUSE);
        }
        Err(Error::StillLabelled)
    }

    /// Whether some process has a label, or that cannot be told.
    pub(crate) fn is_any_labelled(&self) -> Result<bool, Error> {
        for _ in 0..SCANS {
            match self.scan(|_, _| true)? {
                Scan::Clean => return Ok(false),
                Scan::Found => return Ok(true),
                Scan::Moving => {}
            }
        }
        Ok(true)
    }

    /// Shows every labelled process to `counts`. A process that ends while it is looked at may have
    /// forked unseen, so that the scan says nothing.
    fn scan(&self, mut counts: impl FnMut(BorrowedFd<'_>, Subject) -> bool) -> Result<Scan, Error> {
        let entries =
            std::fs::read_dir("/proc").map_err(|error| Error::system("open(\"/proc\")", error))?;
        let mut found = Scan::Clean;
        for entry in entries {
            let entry = entry.map_err(|error| Error::system("getdents(\"/proc\")", error))?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::from_raw) else {
                continue;
            };
            let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(pidfd) => pidfd,
                Err(Errno::SRCH) => {
                    found = found.max(Scan::Moving);
                    continue;
                }
                Err(error) => return Err(Error::system(format!("pidfd_open({pid:?})"), error)),
            };
            match self.maps.label_of(pidfd.as_fd()) {
                Ok(Some(subject)) if counts(pidfd.as_fd(), subject) => found = Scan::Found,
                Ok(_) => {}
                Err(error) if error.is(Errno::SRCH) => found = found.max(Scan::Moving),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}
