//! The start of a container as data: what will be made, and the steps of its first process in
//! order.
//!
//! A plan is a pure function of the configuration and of a few facts about the host, so that it can
//! be printed (`reeve run --dry-run`), compared with a golden file and reviewed, all without root.
//! It is carried out by [`crate::launch`] (outside) and `crate::child` (inside).

mod exec;
mod filesystem;
mod print;
mod process;
mod step;

pub use exec::{ExecPlan, Overrides};
pub use step::{CgroupMount, Link, Step};

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::cgroup::Layout;
use crate::spec::{
    CgroupPath, ContainerId, Error, Hooks, IdMapping, Listener, NamespaceKind, Namespaces,
    NetDevice, PropagationKind, Rdt, Resources, Spec, TimeOffset,
};

/// Everything that follows from a configuration.
#[derive(Debug, Clone, Serialize)]
pub struct LaunchPlan {
    /// The container.
    pub id: ContainerId,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system on the host.
    pub rootfs: PathBuf,
    /// Which policy confines it.
    pub confinement: PlannedConfinement,
    /// How the first process comes into its namespaces.
    pub birth: Birth,
    /// Whether no process of the host is in the container's pid namespace.
    pub private_pid: bool,
    /// Whether no process of the host is in the container's IPC namespace.
    pub private_ipc: bool,
    /// Whether its network namespace is made for it.
    pub private_net: bool,
    /// Whether its user namespace is not the runtime's.
    pub private_user: bool,
    /// The network namespace that it joins, if it joins one.
    pub network: Option<PathBuf>,
    /// Moved by the parent before the process is released.
    pub net_devices: Vec<NetDevice>,
    /// Where its cgroups lie.
    pub cgroup: CgroupPath,
    /// Its share of caches and memory bandwidth, given by the parent.
    pub rdt: Option<Rdt>,
    /// Their limits.
    pub resources: Resources,
    /// Written by the parent before the process is released.
    pub oom_score_adj: Option<i32>,
    /// Whether the process has a terminal of its own, and its size in columns and rows if the
    /// configuration says.
    pub terminal: Option<Terminal>,
    /// What the runtime runs at moments of the container's life.
    pub hooks: Hooks,
    /// Annotations of the configuration.
    pub annotations: BTreeMap<String, String>,
    /// Version of the specification that the configuration follows.
    pub oci_version: String,
    /// The agent that the listener of its filter is sent to.
    pub seccomp_listener: Option<Listener>,
    /// What the first process does, in order, before it executes.
    pub steps: Vec<Step>,
    /// What it executes in the end.
    pub exec: Exec,
}

/// How a first process comes into its namespaces.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Birth {
    /// Namespaces made with the process.
    pub new_namespaces: Vec<NamespaceKind>,
    /// Namespaces of others that it is put into, by their files on the host.
    pub joined: Vec<(NamespaceKind, PathBuf)>,
    /// User ids of a new user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of a new user namespace.
    pub gid_mappings: Vec<IdMapping>,
    /// Clocks of a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
}

impl Birth {
    fn of(namespaces: &Namespaces) -> Self {
        let joined = namespaces.joined();
        Self {
            new_namespaces: namespaces.made().collect(),
            joined: joined.map(|(kind, path)| (kind, path.to_owned())).collect(),
            uid_mappings: namespaces.uid_mappings.clone(),
            gid_mappings: namespaces.gid_mappings.clone(),
            time_offsets: namespaces.time_offsets.clone(),
        }
    }

    /// Whether a process in between is needed. A user namespace takes away the privileges over
    /// whatever else belongs to the host, so that what is joined must be joined before a new one is
    /// made, and what is made must be made after another's was joined.
    pub fn needs_intermediate(&self) -> bool {
        let joins = |kind: NamespaceKind| self.joined.iter().any(|(joined, _)| *joined == kind);
        let new_user = self.new_namespaces.contains(&NamespaceKind::User);
        joins(NamespaceKind::User) || new_user && !self.joined.is_empty()
    }

    /// `CLONE_NEW*` for the first process. Two kinds are missing: the root of a cgroup namespace
    /// would be the cgroup of the caller, so the process makes it itself once it is in its own; a
    /// time namespace takes its offsets before anybody is in it.
    pub fn clone_flags(&self) -> u64 {
        let apart = [NamespaceKind::Cgroup, NamespaceKind::Time];
        let kinds = self.new_namespaces.iter();
        kinds
            .filter(|kind| !apart.contains(kind))
            .fold(0, |flags, kind| flags | kind.clone_flag())
    }
}

/// A terminal for the entry process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Terminal {
    /// Columns and rows; `None` takes those of the caller's terminal.
    pub size: Option<(u16, u16)>,
}

/// Whether a policy was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedConfinement {
    /// The policy of this name.
    Policy(String),
    /// `--policy` was not given.
    None,
}

/// Arguments and environment of the entry process.
#[derive(Debug, Clone, Serialize)]
pub struct Exec {
    /// At least one.
    #[serde(serialize_with = "as_text")]
    pub args: Vec<CString>,
    /// `NAME=value`.
    #[serde(serialize_with = "as_text")]
    pub env: Vec<CString>,
}

/// What a plan depends on besides the configuration.
#[derive(Debug, Clone)]
pub struct Host {
    /// How the cgroup file systems are laid out.
    pub cgroups: Layout,
    /// Name of the policy, if one was given.
    pub policy: Option<String>,
    /// What was asked for on the command line.
    pub options: Options,
}

/// What a plan depends on of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The entry process waits for `reeve start`.
    pub await_start: bool,
    /// systemd makes the cgroups.
    pub systemd_cgroup: bool,
    /// The caller is not root, and its cgroups are a user's.
    pub rootless: bool,
    /// The root is moved over instead of pivoted to.
    pub no_pivot: bool,
    /// The caller's session keyring instead of one of its own.
    pub no_new_keyring: bool,
    /// How many descriptors of the caller's after the standard streams the entry process gets.
    pub preserved_fds: u32,
    /// The policy lets files be added to that may not be written.
    pub holds_appending: bool,
}

impl Options {
    /// The first descriptor that the entry process does not get.
    fn first_closed(&self) -> u32 {
        self.preserved_fds.saturating_add(3)
    }
}

impl LaunchPlan {
    /// The plan for `spec`. Pure.
    ///
    /// # Errors
    /// A cgroup path of the form that the options do not ask for.
    pub fn build(id: ContainerId, spec: &Spec, host: &Host) -> Result<Self, Error> {
        let (systemd, rootless) = (host.options.systemd_cgroup, host.options.rootless);
        let cgroup = CgroupPath::for_driver(spec.cgroup.clone(), &id, systemd, rootless)?;
        let process = &spec.process;
        let namespaces = &spec.namespaces;
        Ok(Self {
            bundle: spec.bundle.clone(),
            rootfs: spec.rootfs.clone(),
            confinement: match &host.policy {
                Some(name) => PlannedConfinement::Policy(name.clone()),
                None => PlannedConfinement::None,
            },
            birth: Birth::of(namespaces),
            private_pid: namespaces.own(NamespaceKind::Pid),
            private_ipc: namespaces.own(NamespaceKind::Ipc),
            private_net: namespaces.own(NamespaceKind::Network),
            private_user: namespaces.private(NamespaceKind::User),
            network: namespaces
                .joined()
                .find(|(kind, _)| *kind == NamespaceKind::Network)
                .map(|(_, path)| path.to_owned()),
            net_devices: spec.net_devices.clone(),
            rdt: spec.rdt.clone(),
            resources: spec.resources.clone(),
            oom_score_adj: process.oom_score_adj,
            terminal: process.terminal.then_some(Terminal {
                size: process.console_size,
            }),
            seccomp_listener: (spec.seccomp.as_ref()).and_then(|filter| filter.listener.clone()),
            hooks: spec.hooks.clone(),
            annotations: spec.annotations.clone(),
            oci_version: spec.oci_version.clone(),
            steps: steps(&id, spec, host, &cgroup),
            id,
            cgroup,
            exec: Exec {
                args: process.args.clone(),
                env: process.env.clone(),
            },
        })
    }

    /// Whether the first process waits for `reeve start`.
    pub fn awaits_start(&self) -> bool {
        self.steps.contains(&Step::AwaitStart)
    }
}

/// The order is a matter of safety: everything that needs the host's paths before `PivotRoot`,
/// everything that needs privileges before `Identity`, and nothing of the container's own choosing
/// runs before `Execute`, but for the hooks that are its own.
fn steps(id: &ContainerId, spec: &Spec, host: &Host, cgroup: &CgroupPath) -> Vec<Step> {
    let process = &spec.process;
    let mut steps = enter(&spec.namespaces);
    steps.push(Step::StopPropagation(spec.propagation));
    steps.push(Step::MountRootfs);
    filesystem::mounts(spec, &host.cgroups, cgroup, &mut steps);
    insert_cgroups(spec, &host.cgroups, &mut steps);
    filesystem::devices(spec, &mut steps);
    if process.terminal {
        steps.push(Step::OpenTerminal {
            uid: process.user.uid,
            console: true,
        });
    }
    filesystem::protect(spec, &mut steps);
    for (path, value) in &spec.sysctl {
        steps.push(Step::Sysctl {
            path: path.clone(),
            value: value.clone(),
        });
    }
    steps.push(Step::MakeWorkingDirectory(process.cwd.clone()));
    filesystem::finish(spec, &mut steps);
    if spec.hooks.before_pivot() {
        steps.push(Step::RuntimeHooks);
    }
    if spec.readonly_rootfs {
        steps.push(Step::ReadonlyRootfs);
    }
    process::open_procfs(spec, &mut steps);
    steps.push(match host.options.no_pivot {
        true => Step::MoveRoot,
        false => Step::PivotRoot,
    });
    if matches!(
        spec.propagation.kind,
        PropagationKind::Shared | PropagationKind::Unbindable
    ) {
        steps.push(Step::RootPropagation(spec.propagation));
    }
    steps.extend(spec.hostname.clone().map(Step::Hostname));
    steps.extend(spec.domainname.clone().map(Step::Domainname));
    if spec.namespaces.own(NamespaceKind::Network) {
        steps.push(Step::LoopbackUp);
    }
    if !host.options.no_new_keyring {
        steps.push(Step::SessionKeyring(format!("_ses.{id}")));
    }
    process::before_start(process, &mut steps);
    if host.options.await_start {
        steps.push(Step::AwaitStart);
    }
    process::become_it(spec, &host.options, &spec.hooks.start_container, &mut steps);
    steps
}

fn enter(namespaces: &Namespaces) -> Vec<Step> {
    let birth = Birth::of(namespaces);
    let mut steps = Vec::new();
    if !birth.needs_intermediate() {
        let joined = birth.joined.into_iter();
        // A pid namespace is entered by being born into it.
        let joined = joined.filter(|(kind, _)| *kind != NamespaceKind::Pid);
        let mut joins: Vec<_> = joined
            .map(|(kind, path)| Step::JoinNamespace { kind, path })
            .collect();
        // The others' paths are those of the host's mount namespace.
        joins.sort_by_key(|step| {
            matches!(step, Step::JoinNamespace { kind, .. } if *kind == NamespaceKind::Mount)
        });
        steps.extend(joins);
    }
    if namespaces.private(NamespaceKind::User) {
        steps.push(Step::BecomeRoot);
    }
    steps
}

/// The process has to be in its groups before it makes a cgroup namespace, whose root they become,
/// and the namespace be there before cgroups are mounted. Until then what it does is not charged to
/// the groups of version 1: a container may be given less memory than its making takes.
fn insert_cgroups(spec: &Spec, cgroups: &Layout, steps: &mut Vec<Step>) {
    let mounted = steps
        .iter()
        .position(|step| matches!(step, Step::MountCgroups { .. }));
    let mut at = mounted.unwrap_or(steps.len());
    if cgroups.hierarchies.iter().any(|hierarchy| !hierarchy.v2) {
        steps.insert(at, Step::JoinCgroups);
        at += 1;
    }
    if spec.namespaces.own(NamespaceKind::Cgroup) {
        steps.insert(at, Step::NewCgroupNamespace);
    }
}

pub(crate) fn as_text<S: Serializer>(strings: &[CString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(strings.iter().map(|string| string.to_string_lossy()))
}

#[cfg(test)]
mod tests;
