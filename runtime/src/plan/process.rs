//! Steps that every process of a container goes through, the entry process and those of `reeve
//! exec`.

use super::{Options, Step};
use crate::seccomp::Filter;
use crate::spec::{Hook, Process, Spec};

/// A procfs for the labels. It must be opened where the visible one is still that of the host: see
/// `child::attributes`.
pub(super) fn open_procfs(spec: &Spec, steps: &mut Vec<Step>) {
    if spec.labels.apparmor.is_some() || spec.labels.selinux.is_some() {
        steps.push(Step::OpenProcfs);
    }
}

/// What is done while the runtime's privileges are needed and nothing was started.
pub(super) fn before_start(process: &Process, steps: &mut Vec<Step>) {
    steps.push(Step::NewSession);
    steps.extend(process.rlimits.iter().copied().map(Step::Rlimit));
    steps.push(Step::WorkingDirectory(process.cwd.clone()));
    steps.push(Step::FindProgram);
}

/// What makes a process of the runtime one of the container: that of `spec`.
///
/// Without `no_new_privs` only a privileged process may install a filter, so giving up privileges
/// is done under it, and nothing else. With it the filter comes last: it needs to allow no more
/// than `execve`.
///
/// `hooks` are programs of the container, so they get no more than its own process.
pub(super) fn become_it(spec: &Spec, options: &Options, hooks: &[Hook], steps: &mut Vec<Step>) {
    let process = &spec.process;
    steps.push(Step::Umask(process.user.umask));
    attributes(spec, steps);
    // Nothing of the runtime's is needed any more, and a filter might keep it from being closed.
    steps.push(Step::CloseDescriptors(options.first_closed()));
    steps.push(Step::ResetSignals);
    if options.holds_appending {
        steps.push(Step::Seccomp(Filter::holding_appending()));
    }
    if !process.no_new_privileges {
        steps.extend(filter(spec));
    }
    steps.push(Step::Identity {
        user: process.user.clone(),
        capabilities: process.capabilities,
    });
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.extend(hooks.iter().cloned().map(Step::StartHook));
    if process.no_new_privileges {
        steps.extend(filter(spec));
    }
    steps.push(Step::Execute);
}

/// What needs privileges, and holds for programs of the container alone.
fn attributes(spec: &Spec, steps: &mut Vec<Step>) {
    let process = &spec.process;
    steps.extend(process.scheduler.map(Step::Scheduler));
    steps.extend(process.io_priority.map(Step::IoPriority));
    steps.extend(spec.memory_policy.clone().map(Step::MemoryPolicy));
    steps.extend(spec.personality.map(Step::Personality));
    steps.extend(spec.labels.apparmor.clone().map(Step::AppArmor));
    steps.extend(spec.labels.selinux.clone().map(Step::SeLinux));
}

fn filter(spec: &Spec) -> Option<Step> {
    let seccomp = spec.seccomp.as_ref()?;
    Some(Step::Seccomp(seccomp.filter.clone()))
}
