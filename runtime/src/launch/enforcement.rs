//! The policy of a container that is being started: compiled, loaded, attached, and taken away
//! again.

use std::fmt;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ebpf_common::PolicyId;
use ebpf_loader::{Enforcer, PolicyAttached};
use policy::{Compiled, Policy, Tables};

use super::Error;
use super::own::own_objects;
use crate::audit;
use crate::failure::Called;
use crate::plan::LaunchPlan;
use crate::resolve;
use crate::state::{DEFAULT_ROOT, PolicyState, make_root};

/// A policy and the file that it was read from.
pub struct GivenPolicy {
    /// The file.
    pub path: PathBuf,
    /// What it says, checked.
    pub policy: Policy,
}

impl fmt::Debug for GivenPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GivenPolicy").field(&self.path).finish()
    }
}

/// A policy that is about to be in force, or is. Dropped, it is removed, and with the last one the
/// programs.
pub struct Enforcement {
    installed: Option<PolicyId>,
    root: PathBuf,
    path: PathBuf,
    compiled: Compiled,
    // The last field: dropped after the policy is withdrawn.
    enforcer: Loaded,
    keep: bool,
}

impl fmt::Debug for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Enforcement").field(&self.installed).finish()
    }
}

/// Whether the network namespace that the container joins is another than the host's: that of the
/// host's first process, and that of the runtime.
fn joins_other_network(plan: &LaunchPlan) -> Result<bool, Error> {
    let Some(path) = &plan.network else {
        return Ok(false);
    };
    let identity = |path: &Path| {
        let found = fs::metadata(path).called(|| format!("stat(\"{}\")", path.display()))?;
        Ok::<_, Error>((found.dev(), found.ino()))
    };
    let joined = identity(path)?;
    let own = identity(Path::new("/proc/self/ns/net"))?;
    Ok(joined != own && joined != identity(Path::new("/proc/1/ns/net"))?)
}

impl Enforcement {
    /// Makes sure that the kernel enforces, and compiles the policy against the host as it is now.
    pub(super) fn prepare(
        root: &Path,
        plan: &LaunchPlan,
        given: GivenPolicy,
    ) -> Result<Self, Error> {
        let enforcer = Enforcer::ensure()?;
        // From here on, going back means to unload what nobody else uses.
        let enforcer = Loaded(enforcer);
        make_root(root)?;
        refuse_root_around(root, &plan.rootfs)?;
        let private = Private {
            pid: plan.private_pid,
            ipc: plan.private_ipc,
            net: plan.private_net || joins_other_network(plan)?,
        };
        let compiled = compile(root, &plan.rootfs, private, &given.policy)?;
        Ok(Self {
            installed: None,
            root: root.to_owned(),
            path: given.path,
            compiled,
            enforcer,
            keep: false,
        })
    }

    /// Leaves the policy in force, for a container that goes on without this process.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }

    /// Loads the tables and answers what is to be remembered of them.
    pub(super) fn install(&mut self) -> Result<PolicyState, Error> {
        let id = self.enforcer.0.install(&self.compiled.tables)?;
        self.installed = Some(id);
        Ok(PolicyState {
            id: id.0,
            path: self.path.clone(),
            compiled: self.compiled.clone(),
        })
    }

    /// Lets `reeve audit` put names to what the kernel will refuse.
    pub(super) fn register(&self, plan: &LaunchPlan) -> Result<(), Error> {
        let id = self.installed.ok_or(Error::PolicyMissing)?;
        audit::register(&self.root, id, plan.id.as_str(), &self.compiled)?;
        Ok(())
    }

    /// Puts the waiting process under the policy.
    pub(super) fn attach(
        &self,
        group: BorrowedFd<'_>,
        pidfd: BorrowedFd<'_>,
    ) -> Result<PolicyAttached, Error> {
        let id = self.installed.ok_or(Error::PolicyMissing)?;
        self.enforcer.0.adopt_cgroup(id, group)?;
        Ok(self.enforcer.0.attach(id, pidfd)?)
    }
}

/// Which namespaces are the container's own.
#[derive(Clone, Copy)]
pub(super) struct Private {
    pub(super) pid: bool,
    pub(super) ipc: bool,
    pub(super) net: bool,
}

/// Compiles a policy against the host as it is now, for a container with this root file system.
pub(super) fn compile(
    root: &Path,
    rootfs: &Path,
    private: Private,
    policy: &Policy,
) -> Result<Compiled, Error> {
    let mut facts = resolve::facts(policy)?;
    own_objects(rootfs, &mut facts)?;
    for state in [&*root.to_string_lossy(), DEFAULT_ROOT] {
        let known = resolve::core_object(state)?;
        let more = known.filter(|object| !facts.core.contains(object));
        facts.core.extend(more);
    }
    facts.private_pid = private.pid;
    facts.private_ipc = private.ipc;
    facts.private_net = private.net;
    let compiled = policy::compile(policy, &facts).map_err(Error::Policy)?;
    if !compiled.warnings.is_empty() {
        tracing::warn!("{}", compiled.warnings);
    }
    Ok(compiled)
}

/// A root file system that holds Reeve's own state would make that state the container's own.
fn refuse_root_around(state: &Path, rootfs: &Path) -> Result<(), Error> {
    let call = |path: &Path| format!("realpath(\"{}\")", path.display());
    let state = fs::canonicalize(state).called(|| call(state))?;
    let rootfs = fs::canonicalize(rootfs).called(|| call(rootfs))?;
    match state.starts_with(&rootfs) {
        true => Err(Error::RootHoldsState { rootfs, state }),
        false => Ok(()),
    }
}

impl Drop for Enforcement {
    fn drop(&mut self) {
        if let Some(id) = self.installed.filter(|_| !self.keep) {
            withdraw(&self.root, &self.enforcer.0, id, &self.compiled.tables);
        }
    }
}

/// The loaded programs, unloaded when dropped unless another container uses them.
struct Loaded(Enforcer);

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Err(error) = self.0.unload_if_unused() {
            tracing::warn!(%error, "Reeve's programs stay loaded");
        }
    }
}

/// Takes a policy away after its last process: what it refused is read while its names are known.
pub(crate) fn withdraw(root: &Path, enforcer: &Enforcer, id: PolicyId, tables: &Tables) {
    // A process that is left keeps its policy, and with it the programs stay.
    if let Err(error) = enforcer.kill_labelled(id) {
        tracing::error!(%error, policy = id.0, "the policy stays in force");
        return;
    }
    if let Err(error) = audit::close(root, enforcer, id) {
        tracing::warn!(%error, "refusals were not written to the audit log");
    }
    if let Err(error) = erase_all(root, enforcer, id, tables) {
        tracing::warn!(%error, policy = id.0, "tables of the policy are left over");
    }
    if let Err(error) = audit::unregister(root, id) {
        tracing::warn!(%error, policy = id.0, "the policy is still in the audit's register");
    }
}

/// Removes the tables of every policy that the container has had and that may be left, the given
/// ones also where the register does not know them yet.
fn erase_all(
    root: &Path,
    enforcer: &Enforcer,
    id: PolicyId,
    tables: &Tables,
) -> Result<(), ebpf_loader::Error> {
    let _lock = enforcer.lock()?;
    enforcer.erase(id, tables)?;
    for (number, compiled) in audit::generations(root, id) {
        enforcer.erase(number, &compiled.tables)?;
    }
    enforcer.remove(id, tables)
}
