//! One more process in a container that runs, as data.

use std::ffi::CString;
use std::path::PathBuf;

use rustix::thread::CapabilitySet;
use serde::Serialize;

use super::{Exec, Options, Step, Terminal, process};
use crate::spec::{Error, Listener, NamespaceKind, NumberSet, Process, Spec, rooted};

/// What a process of `reeve exec` does and becomes.
#[derive(Debug, Clone, Serialize)]
pub struct ExecPlan {
    /// In order, before it executes.
    pub steps: Vec<Step>,
    /// What it executes in the end.
    pub exec: Exec,
    /// Whether it has a terminal of its own.
    pub terminal: Option<Terminal>,
    /// Written by the parent before the process is released.
    pub oom_score_adj: Option<i32>,
    /// Processors that it begins on, before it is in the container's groups.
    pub first_affinity: Option<NumberSet>,
    /// The agent that the listener of its filter is sent to.
    pub seccomp_listener: Option<Listener>,
}

impl ExecPlan {
    /// The plan for the process of `spec` in a container that was made of it. Pure.
    pub fn build(spec: &Spec, options: &Options) -> Self {
        let process = &spec.process;
        let mut steps = Vec::new();
        process::open_procfs(spec, &mut steps);
        steps.push(Step::EnterContainer);
        if spec.namespaces.private(NamespaceKind::User) {
            steps.push(Step::BecomeRoot);
        }
        if process.terminal {
            steps.push(Step::OpenTerminal {
                uid: process.user.uid,
                console: false,
            });
        }
        process::before_start(process, &mut steps);
        let affinity = &process.exec_affinity;
        let last = affinity.after.clone();
        steps.extend(last.map(Step::CpuAffinity));
        process::become_it(spec, options, &[], &mut steps);
        Self {
            steps,
            exec: Exec {
                args: process.args.clone(),
                env: process.env.clone(),
            },
            terminal: process.terminal.then_some(Terminal {
                size: process.console_size,
            }),
            oom_score_adj: process.oom_score_adj,
            first_affinity: affinity.initial.clone(),
            seccomp_listener: (spec.seccomp.as_ref()).and_then(|filter| filter.listener.clone()),
        }
    }
}

/// What the command line changes of the container's own process to make another one of it.
#[derive(Debug, Clone)]
pub struct Overrides {
    /// Program and arguments.
    pub args: Vec<CString>,
    /// `NAME=value`, after those of the configuration.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// User and, if given, group.
    pub user: Option<(u32, Option<u32>)>,
    /// More supplementary groups.
    pub additional_gids: Vec<u32>,
    /// Capabilities besides those of the configuration.
    pub capabilities: CapabilitySet,
    /// Sets `no_new_privs`.
    pub no_new_privileges: bool,
    /// A terminal of its own.
    pub terminal: bool,
}

impl Overrides {
    /// The process with the changes made. Added capabilities never become inheritable: that would
    /// hand them to programs without file capabilities of their own (CVE-2022-29162).
    ///
    /// # Errors
    /// A working directory that is not absolute.
    pub fn apply(self, mut process: Process) -> Result<Process, Error> {
        process.args = self.args;
        for entry in self.env {
            let name = entry.as_bytes().split(|byte| *byte == b'=').next();
            let name = name.unwrap_or_default().to_vec();
            // The first entry of a name is the one that programs find.
            process
                .env
                .retain(|old| old.as_bytes().split(|byte| *byte == b'=').next() != Some(&name));
            process.env.push(entry);
        }
        if let Some(cwd) = self.cwd {
            process.cwd = rooted("--cwd", &cwd)?;
        }
        if let Some((uid, gid)) = self.user {
            process.user.uid = uid;
            process.user.gid = gid.unwrap_or(process.user.gid);
        }
        process.user.additional_gids.extend(self.additional_gids);
        let sets = &mut process.capabilities;
        for set in [
            &mut sets.bounding,
            &mut sets.effective,
            &mut sets.permitted,
            &mut sets.ambient,
        ] {
            *set |= self.capabilities;
        }
        process.no_new_privileges |= self.no_new_privileges;
        process.terminal = self.terminal;
        process.console_size = None;
        Ok(process)
    }
}
