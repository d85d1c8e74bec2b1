//! What can go wrong in a command.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use policy::Diagnostics;

use crate::spec::ContainerId;
use crate::{cgroup, failure, launch, report, spec, state};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// The start of a container.
    #[error(transparent)]
    Launch(#[from] launch::Error),
    /// A container's state.
    #[error(transparent)]
    State(#[from] state::Error),
    /// A container's cgroups.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A command that is for running containers.
    #[error("container `{0}` is not running")]
    NotRunning(ContainerId),
    /// A command that is for paused containers.
    #[error("container `{0}` is not paused")]
    NotPaused(ContainerId),
    /// Resource control of the processor, which is not there.
    #[error("`{0}` needs `linux.intelRdt` in config.json, and a mounted resctrl file system")]
    NoResctrl(&'static str),
    /// A system call.
    #[error(transparent)]
    Call(#[from] failure::Failure),
    /// The programs.
    #[error(transparent)]
    Enforce(#[from] ebpf_loader::Error),
    /// A policy, as its author sees it.
    #[error("{0}")]
    Policy(Diagnostics),
    /// A file given on the command line.
    #[error("{operation}(\"{path}\")")]
    File {
        /// The call.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Output as JSON.
    #[error("the result cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Standard output.
    #[error("write(stdout) failed")]
    Output(#[from] io::Error),
    /// Of a command that reports errors of several crates.
    #[error(transparent)]
    Command(#[from] Box<dyn std::error::Error>),
}

impl Error {
    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Spec(error) => error.help().map(str::to_owned),
            Self::Launch(error) => error.help(),
            Self::State(error) => error.help(),
            Self::Cgroup(error) => error.help().map(str::to_owned),
            Self::Enforce(error) => error.help(),
            Self::Command(error) => {
                let known = error.downcast_ref::<ebpf_loader::Error>();
                known.and_then(ebpf_loader::Error::help)
            }
            Self::Call(_)
            | Self::NotRunning(_)
            | Self::NotPaused(_)
            | Self::NoResctrl(_)
            | Self::Policy(_)
            | Self::File { .. }
            | Self::Json(_)
            | Self::Output(_) => None,
        }
    }

    /// The error as its reader sees it. Findings in a policy have a form of their own.
    pub fn report(&self) -> String {
        match self {
            Self::Policy(found) | Self::Launch(launch::Error::Policy(found)) => found.to_string(),
            _ => report::text(self, self.help().as_deref()),
        }
    }

    /// The exit status: 1 for every error of the runtime itself, as with other OCI runtimes.
    pub fn code(&self) -> ExitCode {
        ExitCode::FAILURE
    }
}
