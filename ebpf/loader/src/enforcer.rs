//! What the runtime calls: load or reuse, install a policy, put a process under it, take it away.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ebpf_common::PolicyId;
use ebpf_common::abi::{GlobalState, Subject, state};
use rustix::fs::{Mode, OFlags, fstat, fstatfs, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::maps::Maps;
use crate::pins::Pins;
use crate::{Error, host, load, selftest};

/// Depth of the cgroup hierarchy below which containers' groups are not found by the kernel side.
const CGROUP_LEVELS: u32 = 16;

/// Proof that a process is under a policy: made by [`Enforcer::attach`] alone, and asked for by
/// whatever lets the process run.
#[derive(Debug)]
#[must_use = "the process may only be let go with it"]
pub struct PolicyAttached(());

/// The loaded programs and their maps.
pub struct Enforcer {
    maps: Maps,
    pins: Pins,
    /// Inode number of the pin directory that the maps were opened from.
    set: u64,
}

impl Enforcer {
    /// Opens what is loaded, or loads it; then sees a refusal happen.
    ///
    /// # Errors
    /// Whatever keeps this kernel from enforcing; nothing stays loaded then. [`Error::help`] has
    /// the remedy.
    pub fn ensure() -> Result<Self, Error> {
        host::require_bpf_lsm()?;
        let pins = Pins::at_bpffs()?;
        let _lock = pins.lock()?;
        let (maps, set) = open_or_load(&pins)?;
        Ok(Self { maps, pins, set })
    }

    /// Opens what is loaded, if anything is.
    ///
    /// # Errors
    /// [`Error::Incomplete`] for pins that are not whole, [`Error::NoBpffs`].
    pub fn open() -> Result<Option<Self>, Error> {
        let pins = Pins::at_bpffs()?;
        let Some(set) = pins.loaded_set() else {
            return Ok(None);
        };
        let maps = Maps::open(&pins.ready())?;
        Ok(Some(Self { maps, pins, set }))
    }

    /// Gives a policy a number and writes its tables. The header comes last, so that a policy is
    /// whole or not there.
    ///
    /// The last other container may have unloaded everything since [`Enforcer::ensure`], so what is
    /// pinned is opened, or loaded, again under the lock; once the header is written nobody
    /// unloads.
    ///
    /// # Errors
    /// As [`Enforcer::ensure`], a full map, or a failed call; nothing of the policy stays then.
    pub fn install(&mut self, tables: &policy::Tables) -> Result<PolicyId, Error> {
        let _lock = self.pins.lock()?;
        if self.pins.loaded_set() != Some(self.set) {
            (self.maps, self.set) = open_or_load(&self.pins)?;
        }
        let state = self.maps.state()?;
        let id = PolicyId(state.last_policy + 1);
        if id.0 == u32::MAX {
            return Err(Error::NoPolicyNumber);
        }
        self.maps.set_state(GlobalState {
            last_policy: id.0,
            ..state
        })?;
        if let Err(error) = crate::install::write(&self.maps, id, tables) {
            crate::install::erase(&self.maps, id, tables)?;
            return Err(error);
        }
        Ok(id)
    }

    /// Makes a v2 cgroup the second witness: a task found in it or below is under the policy,
    /// whatever its label.
    ///
    /// # Errors
    /// A failed call.
    pub fn adopt_cgroup(&self, policy: PolicyId, group: BorrowedFd<'_>) -> Result<(), Error> {
        let id = fstat(group)
            .map_err(|error| Error::system("fstat(cgroup)", error))?
            .st_ino;
        let level = depth(group)?;
        if level == 0 || level >= CGROUP_LEVELS {
            return Err(Error::CgroupDepth {
                level,
                most: CGROUP_LEVELS - 1,
            });
        }
        self.maps.set("CGROUPS", &id, &policy)?;
        let _lock = self.pins.lock()?;
        let state = self.maps.state()?;
        let cgroup_levels = state.cgroup_levels | 1 << level;
        self.maps.set_state(GlobalState {
            cgroup_levels,
            ..state
        })
    }

    /// Puts the process behind `pidfd` under a policy: pending until its first successful exec,
    /// then in force for good. The process must not run any code but the runtime's before.
    ///
    /// # Errors
    /// A failed call, or a label that cannot be read back.
    pub fn attach(&self, policy: PolicyId, pidfd: BorrowedFd<'_>) -> Result<PolicyAttached, Error> {
        let subject = Subject {
            policy,
            state: state::PENDING,
        };
        self.maps.label(pidfd, subject)?;
        match self.maps.label_of(pidfd)? {
            Some(found) if found == subject => Ok(PolicyAttached(())),
            other => Err(Error::NotEnforced {
                found: format!("the label reads {other:?}"),
            }),
        }
    }

    /// The proof once more, for a process that was attached by another `reeve` and has not executed
    /// since: the programs are linked and its label is still there.
    ///
    /// # Errors
    /// [`Error::NotEnforced`] for any other label, missing links, a failed call.
    pub fn confirm(
        &self,
        policy: PolicyId,
        pidfd: BorrowedFd<'_>,
    ) -> Result<PolicyAttached, Error> {
        self.pins.require_links()?;
        let found = self.maps.label_of(pidfd)?;
        let attached =
            found.is_some_and(|found| found.policy == policy && found.state == state::PENDING);
        match attached {
            true => Ok(PolicyAttached(())),
            false => Err(Error::NotEnforced {
                found: format!("the label reads {found:?}"),
            }),
        }
    }

    /// Puts the process behind `pidfd` under the policy that `beside`, the first process of its
    /// container, is under: an old number may be another container's policy by now.
    ///
    /// # Errors
    /// [`Error::NotEnforced`] if `beside` is not under it, and as [`Enforcer::attach`].
    pub fn attach_beside(
        &self,
        policy: PolicyId,
        beside: BorrowedFd<'_>,
        pidfd: BorrowedFd<'_>,
    ) -> Result<PolicyAttached, Error> {
        self.pins.require_links()?;
        match self.policy_of(beside)? {
            Some(found) if found == policy => self.attach(policy, pidfd),
            found => Err(Error::NotEnforced {
                found: format!("the container's label reads {found:?}"),
            }),
        }
    }

    /// Whether the process behind `pidfd` is under a policy, and which.
    ///
    /// # Errors
    /// A failed call.
    pub fn policy_of(&self, pidfd: BorrowedFd<'_>) -> Result<Option<PolicyId>, Error> {
        Ok(self.maps.label_of(pidfd)?.map(|subject| subject.policy))
    }

    /// Events that found the ring buffer full since the programs were loaded.
    ///
    /// # Errors
    /// A failed call.
    pub fn lost_events(&self) -> Result<u64, Error> {
        Ok(self.maps.get("LOST", &0u32)?.unwrap_or(0))
    }

    /// Takes a policy's tables away. A task that still has its label is refused everything from
    /// then on.
    ///
    /// # Errors
    /// A failed call.
    pub fn remove(&self, policy: PolicyId, tables: &policy::Tables) -> Result<(), Error> {
        crate::install::erase(&self.maps, policy, tables)
    }

    /// Unpins everything if no policy is loaded and no task has a label; answers whether it did.
    ///
    /// # Errors
    /// A failed call.
    pub fn unload_if_unused(&self) -> Result<bool, Error> {
        let _lock = self.pins.lock()?;
        if !self.maps.keys::<PolicyId>("POLICIES")?.is_empty() || self.labelled()? {
            return Ok(false);
        }
        self.pins.remove()?;
        Ok(true)
    }

    /// Ends every process that has the label of `policy`, wherever it hides from the container's
    /// cgroups, and returns when none is left.
    ///
    /// # Errors
    /// [`Error::StillLabelled`] if that cannot be brought about or cannot be told; the policy must
    /// stay then.
    pub fn kill_labelled(&self, policy: PolicyId) -> Result<(), Error> {
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
    fn labelled(&self) -> Result<bool, Error> {
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
                // EINVAL, and since 6.16 ENOENT: its number is only that of a group, session or
                // thread any more.
                Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => {
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

/// What is pinned, loaded first if nothing is, and seen to refuse; with its
/// [`Pins::loaded_set`]. Only under the lock.
fn open_or_load(pins: &Pins) -> Result<(Maps, u64), Error> {
    let before = pins.loaded_set();
    if before.is_none() {
        load::load_and_pin(pins, std::env::var_os("REEVE_EBPF_DEBUG").is_some())?;
    }
    pins.require_links()?;
    let maps = Maps::open(&pins.ready())?;
    match (selftest::run(&maps), pins.loaded_set()) {
        (Ok(()), Some(set)) => Ok((maps, set)),
        (tested, _) => {
            if before.is_none() {
                pins.remove()?;
            }
            Err(tested.err().unwrap_or(Error::Incomplete {
                path: pins.ready(),
                missing: "maps".to_owned(),
            }))
        }
    }
}

/// Depth of a directory below the root of its cgroup hierarchy.
fn depth(group: BorrowedFd<'_>) -> Result<u32, Error> {
    let failed = |error| Error::system("openat(cgroup, \"..\")", error);
    let kind = fstatfs(group)
        .map_err(|error| Error::system("fstatfs(cgroup)", error))?
        .f_type;
    let mut here = group
        .try_clone_to_owned()
        .map_err(|error| Error::system("dup(cgroup)", error))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut level = 0;
    while level < CGROUP_LEVELS {
        let above = openat(&here, "..", flags, Mode::empty()).map_err(failed)?;
        let (inside, outside) = (
            fstat(&here).map_err(failed)?,
            fstat(&above).map_err(failed)?,
        );
        let still = fstatfs(&above).map_err(failed)?.f_type == kind;
        if !still || inside.st_dev != outside.st_dev || inside.st_ino == outside.st_ino {
            break;
        }
        here = above;
        level += 1;
    }
    Ok(level)
}
