//! What can go wrong in a command.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use policy::Diagnostics;

use super::{criu, kill};
use crate::spec::ContainerId;
use crate::{cgroup, failure, launch, policy_source, report, spec, state};

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
    /// A signal that could not be sent.
    #[error(transparent)]
    Kill(#[from] kill::Error),
    /// A checkpoint.
    #[error(transparent)]
    Criu(#[from] criu::Error),
    /// A file that must not be overwritten.
    #[error("`{0}` already exists")]
    InTheWay(PathBuf),
    /// Another program.
    #[error("`{program}` cannot be run")]
    Program {
        /// Its name.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program did not do what it was asked for; it has said why.
    #[error("`{program}` failed: {said}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// What it printed.
        said: String,
    },
    /// A policy, as its author sees it.
    #[error("{0}")]
    Policy(Diagnostics),
    /// A variable of a policy.
    #[error(transparent)]
    Variable(#[from] policy::VariablesError),
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
    /// A terminal that nobody would hold.
    #[error("the process has a terminal, and nobody stays to hold it")]
    NoConsoleSocket,
    /// `--console-socket` without a terminal.
    #[error("`--console-socket` is given, and the process has no terminal")]
    NoTerminal,
    /// `--console-socket` for a process that is stayed with.
    #[error("`--console-socket` is given, and this process stays to hold the terminal")]
    Attached,
    /// `--preserve-fds` or `LISTEN_FDS` counts a descriptor that is not there.
    #[error("descriptor {0} is to be preserved, and is not open")]
    NotOpen(i32),
    /// `reeve exec` without a program.
    #[error("no program to execute")]
    NoCommand,
    /// Of `reeve exec`.
    #[error(transparent)]
    Exec(Box<Error>),
    /// A word with a NUL byte.
    #[error("`{0}` contains a NUL byte")]
    Nul(&'static str),
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

impl From<policy_source::Error> for Error {
    fn from(error: policy_source::Error) -> Self {
        match error {
            policy_source::Error::Call(failure) => Self::Call(failure),
            policy_source::Error::Policy(found) => Self::Policy(found),
            error @ policy_source::Error::Irregular { .. } => Self::Command(Box::new(error)),
        }
    }
}

impl Error {
    /// The error in a box, if it is one of these, or the box.
    pub(super) fn of_box(error: Box<dyn std::error::Error>) -> Self {
        error.downcast().map_or_else(Self::Command, |error| *error)
    }

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
            Self::Exec(error) => error.help(),
            Self::Kill(error) => error.help(),
            Self::Criu(error) => error.help(),
            Self::InTheWay(_) => Some("remove it first, or choose another directory".to_owned()),
            Self::Program { program, .. } => Some(format!(
                "install the program that provides `{}`",
                program.display()
            )),
            Self::NoConsoleSocket => {
                Some("give `--console-socket`, or set `process.terminal` to false".to_owned())
            }
            Self::NoTerminal => Some("set `process.terminal`, or give `--tty`".to_owned()),
            Self::Attached => Some("give `--detach` with it".to_owned()),
            Self::NoCommand => Some("reeve exec ID PROGRAM [ARGUMENT…]".to_owned()),
            Self::NotOpen(_)
            | Self::Nul(_)
            | Self::Call(_)
            | Self::Refused { .. }
            | Self::NotRunning(_)
            | Self::NotPaused(_)
            | Self::NoResctrl(_)
            | Self::Policy(_)
            | Self::File { .. }
            | Self::Json(_)
            | Self::Variable(_)
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

    /// The error in one line, as engines read it from the file of `--log`.
    pub fn line(&self) -> String {
        match self {
            Self::Policy(found) | Self::Launch(launch::Error::Policy(found)) => found.to_string(),
            _ => report::line(self, self.help().as_deref()),
        }
    }

    /// The exit status: 1 for every error of the runtime itself, as with other OCI runtimes; 255
    /// for those of `reeve exec`, whose process may end with 1 itself.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Exec(_) => ExitCode::from(255),
            _ => ExitCode::FAILURE,
        }
    }
}
