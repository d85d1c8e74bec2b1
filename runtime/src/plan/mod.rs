//! The start of a container as data: what will be made, and the steps of its first process in
//! order.
//!
//! A plan is a pure function of the configuration and of a few facts about the host, so that it can
//! be printed (`reeve run --dry-run`), compared with a golden file and reviewed, all without root.
//! It is carried out by [`crate::launch`] (outside) and `crate::child` (inside).

mod filesystem;
mod print;
mod step;

pub use step::{CgroupMount, Link, Step};

use std::ffi::CString;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::cgroup::Layout;
use crate::spec::{
    CgroupPath, ContainerId, IdMapping, NamespaceKind, Namespaces, NetDevice, PropagationKind, Rdt,
    Resources, Spec,
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
    /// Namespaces made with the process.
    pub new_namespaces: Vec<NamespaceKind>,
    /// User ids of a new user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of a new user namespace.
    pub gid_mappings: Vec<IdMapping>,
    /// Whether no process of the host is in the container's pid namespace.
    pub private_pid: bool,
    /// Whether no process of the host is in the container's IPC namespace.
    pub private_ipc: bool,
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
    /// What the first process does, in order, before it executes.
    pub steps: Vec<Step>,
    /// What it executes in the end.
    pub exec: Exec,
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
}

impl LaunchPlan {
    /// The plan for `spec`. Pure.
    pub fn build(id: ContainerId, spec: &Spec, host: &Host) -> Self {
        let cgroup = spec.cgroup.clone();
        let cgroup = cgroup.unwrap_or_else(|| CgroupPath::default_for(&id));
        let process = &spec.process;
        let namespaces = &spec.namespaces;
        Self {
            id,
            bundle: spec.bundle.clone(),
            rootfs: spec.rootfs.clone(),
            confinement: match &host.policy {
                Some(name) => PlannedConfinement::Policy(name.clone()),
                None => PlannedConfinement::None,
            },
            new_namespaces: namespaces.made().collect(),
            uid_mappings: namespaces.uid_mappings.clone(),
            gid_mappings: namespaces.gid_mappings.clone(),
            private_pid: namespaces.own(NamespaceKind::Pid),
            private_ipc: namespaces.own(NamespaceKind::Ipc),
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
            steps: steps(spec, &host.cgroups, &cgroup),
            cgroup,
            exec: Exec {
                args: process.args.clone(),
                env: process.env.clone(),
            },
        }
    }

    /// `CLONE_NEW*` for the first process. The cgroup namespace is missing: its root would be the
    /// cgroup of the caller, so the process makes it itself once it is in its own.
    pub fn clone_flags(&self) -> u64 {
        let kinds = self.new_namespaces.iter();
        kinds
            .filter(|kind| **kind != NamespaceKind::Cgroup)
            .fold(0, |flags, kind| flags | kind.clone_flag())
    }
}

/// The order is a matter of safety: everything that needs the host's paths before `PivotRoot`,
/// everything that needs privileges before `Identity`, and nothing of the container's own choosing
/// runs before `Execute`.
fn steps(spec: &Spec, cgroups: &Layout, cgroup: &CgroupPath) -> Vec<Step> {
    let namespaces = &spec.namespaces;
    let process = &spec.process;
    let mut steps = enter(namespaces);
    steps.push(Step::StopPropagation(spec.propagation));
    steps.push(Step::MountRootfs);
    filesystem::mounts(spec, cgroups, cgroup, &mut steps);
    filesystem::devices(spec, &mut steps);
    if process.terminal {
        steps.push(Step::OpenTerminal {
            uid: process.user.uid,
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
    if spec.readonly_rootfs {
        steps.push(Step::ReadonlyRootfs);
    }
    steps.push(Step::PivotRoot);
    if matches!(
        spec.propagation.kind,
        PropagationKind::Shared | PropagationKind::Unbindable
    ) {
        steps.push(Step::RootPropagation(spec.propagation));
    }
    steps.extend(spec.hostname.clone().map(Step::Hostname));
    steps.extend(spec.domainname.clone().map(Step::Domainname));
    if namespaces.own(NamespaceKind::Network) {
        steps.push(Step::LoopbackUp);
    }
    steps.push(Step::NewSession);
    steps.extend(process.rlimits.iter().copied().map(Step::Rlimit));
    steps.push(Step::WorkingDirectory(process.cwd.clone()));
    steps.push(Step::Identity {
        user: process.user.clone(),
        capabilities: process.capabilities,
    });
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.push(Step::CloseDescriptors);
    steps.push(Step::ResetSignals);
    steps.push(Step::Execute);
    steps
}

fn enter(namespaces: &Namespaces) -> Vec<Step> {
    let mut steps = Vec::new();
    for (kind, path) in namespaces.joined() {
        steps.push(Step::JoinNamespace {
            kind,
            path: path.to_owned(),
        });
    }
    if namespaces.own(NamespaceKind::User) {
        steps.push(Step::BecomeRoot);
    }
    if namespaces.own(NamespaceKind::Cgroup) {
        steps.push(Step::NewCgroupNamespace);
    }
    steps
}

fn as_text<S: Serializer>(strings: &[CString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(strings.iter().map(|string| string.to_string_lossy()))
}

#[cfg(test)]
mod tests;
