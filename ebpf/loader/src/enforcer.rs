//! What the runtime calls: load or reuse, install a policy, put a process under it, take it away.

use std::os::fd::BorrowedFd;

use ebpf_common::PolicyId;
use ebpf_common::abi::{Counters, GlobalState, PolicyHeader, Subject, state};
use rustix::fs::{Mode, OFlags, fstat, fstatfs, openat};

use crate::maps::Maps;
use crate::pins::{Lock, Pins};
use crate::{Error, host, install, load, selftest, sys};

/// Depth of the cgroup hierarchy below which containers' groups are not found by the kernel side.
const CGROUP_LEVELS: u32 = 16;

/// Proof that a process is under a policy: made by [`Enforcer::attach`] alone, and asked for by
/// whatever lets the process run.
#[derive(Debug)]
#[must_use = "the process may only be let go with it"]
pub struct PolicyAttached(());

/// The loaded programs and their maps.
pub struct Enforcer {
    pub(crate) maps: Maps,
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

    /// Where everything is pinned.
    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
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
        let last_policy = state.last_policy.saturating_add(1);
        let id = PolicyId::nth(last_policy).ok_or(Error::NoPolicyNumber)?;
        self.maps.set_state(GlobalState {
            last_policy,
            ..state
        })?;
        let written = install::begin(&self.maps, id, tables)
            .and_then(|()| install::write(&self.maps, id, tables));
        if let Err(error) = written {
            install::erase(&self.maps, id, tables)?;
            install::end(&self.maps, id, tables)?;
            return Err(error);
        }
        Ok(id)
    }

    /// Makes a v2 cgroup the second witness: a task found in it or below is under the policy,
    /// whatever its label. Only before a process is attached.
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
        let known = self.counters(policy)?.unwrap_or_default();
        let counters = Counters {
            cgroup: id,
            ..known
        };
        self.maps.set("COUNTERS", &policy.container(), &counters)?;
        self.maps.set("CGROUPS", &id, &policy.container())?;
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
            policy: policy.container(),
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

    /// Keeps others from loading, installing, replacing and removing.
    ///
    /// # Errors
    /// A failed call.
    pub fn lock(&self) -> Result<Lock, Error> {
        self.pins.lock()
    }

    /// Which of a container's policies is in force; `None` if its tables are not there.
    ///
    /// # Errors
    /// A failed call.
    pub fn in_force(&self, policy: PolicyId) -> Result<Option<PolicyId>, Error> {
        let container = policy.container();
        let found = self.maps.get("IN_FORCE", &container)?.unwrap_or(container);
        let header: Option<PolicyHeader> = self.maps.get("POLICIES", &found)?;
        Ok(header.map(|_| found))
    }

    /// Writes the tables of a further generation, which is not in force by that. Only under the
    /// lock.
    ///
    /// # Errors
    /// A full map, or a failed call; nothing of it stays then.
    pub fn stage(&self, policy: PolicyId, tables: &policy::Tables) -> Result<(), Error> {
        let written = install::write(&self.maps, policy, tables);
        if written.is_err() {
            install::erase(&self.maps, policy, tables)?;
        }
        written
    }

    /// Puts a generation in force in the place of another, in one step. Only under the lock.
    ///
    /// # Errors
    /// A failed call.
    pub fn switch(&self, policy: PolicyId) -> Result<(), Error> {
        self.maps.set("IN_FORCE", &policy.container(), &policy)
    }

    /// Returns when every decision that is under way has been made.
    ///
    /// # Errors
    /// A failed call.
    pub fn wait_for_decisions(&self) -> Result<(), Error> {
        sys::wait_for_programs()
            .map_err(|error| Error::system("bpf(BPF_MAP_UPDATE_ELEM, map of maps)", error))
    }

    /// Takes the tables of one generation away. Only under the lock.
    ///
    /// # Errors
    /// A failed call.
    pub fn erase(&self, policy: PolicyId, tables: &policy::Tables) -> Result<(), Error> {
        install::erase(&self.maps, policy, tables)
    }

    /// Takes away what belongs to a container, after the tables of all its policies. A task that
    /// still has its label is refused everything from then on. Only under the lock.
    ///
    /// # Errors
    /// A failed call.
    pub fn remove(&self, policy: PolicyId, tables: &policy::Tables) -> Result<(), Error> {
        install::end(&self.maps, policy, tables)
    }

    /// What is counted of a container.
    ///
    /// # Errors
    /// A failed call.
    pub fn counters(&self, policy: PolicyId) -> Result<Option<Counters>, Error> {
        self.maps.get("COUNTERS", &policy.container())
    }

    /// Unpins everything if no policy is loaded and no task has a label; answers whether it did.
    ///
    /// # Errors
    /// A failed call.
    pub fn unload_if_unused(&self) -> Result<bool, Error> {
        let _lock = self.pins.lock()?;
        if self.maps.has_any::<PolicyId>("POLICIES")? || self.is_any_labelled()? {
            return Ok(false);
        }
        self.pins.remove()?;
        Ok(true)
    }
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
