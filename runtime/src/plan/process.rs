//! Steps that give the entry process its attributes, labels and filter.

use super::Step;
use crate::spec::Spec;

/// A procfs for the labels. It must be opened where the visible one is still that of the host: see
/// `child::attributes`.
pub(super) fn open_procfs(spec: &Spec, steps: &mut Vec<Step>) {
    if spec.labels.apparmor.is_some() || spec.labels.selinux.is_some() {
        steps.push(Step::OpenProcfs);
    }
}

/// What needs privileges and must not hold for anything that is executed before the entry process.
pub(super) fn attributes(spec: &Spec, steps: &mut Vec<Step>) {
    let process = &spec.process;
    steps.extend(process.scheduler.map(Step::Scheduler));
    steps.extend(process.io_priority.map(Step::IoPriority));
    steps.extend(spec.memory_policy.clone().map(Step::MemoryPolicy));
    steps.extend(spec.personality.map(Step::Personality));
    steps.extend(spec.labels.apparmor.clone().map(Step::AppArmor));
    steps.extend(spec.labels.selinux.clone().map(Step::SeLinux));
}

/// Without `no_new_privs` only a privileged process may install a filter, so the rest of the
/// set-up runs under it.
pub(super) fn privileged_filter(spec: &Spec, steps: &mut Vec<Step>) {
    if !spec.process.no_new_privileges {
        steps.extend(filter(spec));
    }
}

/// With it the filter comes last: it needs to allow no more than `execve`.
pub(super) fn unprivileged_filter(spec: &Spec, steps: &mut Vec<Step>) {
    if spec.process.no_new_privileges {
        steps.extend(filter(spec));
    }
}

fn filter(spec: &Spec) -> Option<Step> {
    let seccomp = spec.seccomp.as_ref()?;
    Some(Step::Seccomp(seccomp.filter.clone()))
}
