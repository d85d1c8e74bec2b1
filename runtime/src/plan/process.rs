//! Steps that every process of a container goes through, the entry process and those of `reeve
//! exec`.

use super::{Options, Step};
use crate::spec::Process;

/// What is done while the runtime's privileges are needed and nothing was started.
pub(super) fn before_start(process: &Process, steps: &mut Vec<Step>) {
    steps.push(Step::NewSession);
    steps.extend(process.rlimits.iter().copied().map(Step::Rlimit));
    steps.push(Step::WorkingDirectory(process.cwd.clone()));
    steps.push(Step::FindProgram);
}

/// What makes a process of the runtime one of the container.
pub(super) fn become_it(process: &Process, options: &Options, steps: &mut Vec<Step>) {
    steps.push(Step::Identity {
        user: process.user.clone(),
        capabilities: process.capabilities,
    });
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.push(Step::CloseDescriptors(options.first_closed()));
    steps.push(Step::ResetSignals);
    steps.push(Step::Execute);
}
