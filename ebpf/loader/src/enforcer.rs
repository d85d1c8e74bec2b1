//! What the runtime calls: load or reuse, install a policy, put a process under it, take it away.

use std::os::fd::{AsFd, BorrowedFd};

use ebpf_common::PolicyId;
use ebpf_common::abi::{GlobalState, Subject, state};
use rustix::fs::{Mode, OFlags, fstat, fstatfs, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

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
            self.maps.remove_policy(id)?;
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
        self.maps.set("CGROUPS", &id, &policy)?;
        if level == 0 || level >= CGROUP_LEVELS {
            tracing::warn!(level, "the cgroup lies too deep to be a second witness");
            return Ok(());
        }
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
    pub fn remove(&self, policy: PolicyId) -> Result<(), Error> {
        self.maps.remove_policy(policy)
    }

    /// Unpins everything if no policy is loaded and no task has a label; answers whether it did.
    ///
    /// # Errors
    /// A failed call.
    pub fn unload_if_unused(&self) -> Result<bool, Error> {
        let _lock = self.pins.lock()?;
        if !self.maps.keys::<PolicyId>("POLICIES")?.is_empty() || self.labelled_task()?.is_some() {
            return Ok(false);
        }
        self.pins.remove()?;
        Ok(true)
    }

    /// Some process with a label, if there is one.
    fn labelled_task(&self) -> Result<Option<i32>, Error> {
        let entries =
            std::fs::read_dir("/proc").map_err(|error| Error::system("open(\"/proc\")", error))?;
        let numbers = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter_map(Pid::from_raw);
        for pid in numbers {
            // A process may end meanwhile.
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            if matches!(self.maps.label_of(pidfd.as_fd()), Ok(Some(_))) {
                return Ok(Some(pid.as_raw_nonzero().get()));
            }
        }
        Ok(None)
    }
}

/// What is pinned, loaded first if nothing is, and seen to refuse; with its
/// [`Pins::loaded_set`]. Only under the lock.
fn open_or_load(pins: &Pins) -> Result<(Maps, u64), Error> {
    let before = pins.loaded_set();
    if before.is_none() {
        load::load_and_pin(pins, std::env::var_os("REEVE_EBPF_DEBUG").is_some())?;
    }
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
