//! Why a container did not start or could not be followed.

use std::path::PathBuf;

use policy::Diagnostics;
use rustix::io::Errno;

use super::Exit;
use crate::failure::Failure;
use crate::hooks::HookFailed;
use crate::spec::ContainerId;
use crate::state::Status;
use crate::{audit, cgroup, resolve, spec, state};

/// Why a container did not start or could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `reeve` has not the privileges that a container needs.
    #[error("starting a container needs CAP_SYS_ADMIN")]
    Unprivileged,
    /// The configuration.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// The policy cannot be enforced here.
    #[error("the policy cannot be enforced, so nothing was started")]
    Enforce(#[from] ebpf_loader::Error),
    /// A path of the policy cannot be looked up.
    #[error("the policy's paths cannot be looked up")]
    Resolve(#[from] resolve::Error),
    /// The policy does not fit the host.
    #[error("{0}")]
    Policy(Diagnostics),
    /// The root file system would make Reeve's state the container's own.
    #[error("`root.path` {rootfs:?} holds reeve's own state in {state:?}")]
    RootHoldsState {
        /// The root file system.
        rootfs: PathBuf,
        /// The state directory.
        state: PathBuf,
    },
    /// The plan names a policy and none is installed.
    #[error("the plan names a policy that is not installed")]
    PolicyMissing,
    /// `reeve policy update` of a container that runs without a policy.
    #[error("container `{0}` runs without a policy")]
    NoPolicyToReplace(ContainerId),
    /// `reeve policy update` of one that has no process.
    #[error("cannot update the policy of container `{id}`: it is {word}", word = status.word())]
    NotLiving {
        /// Which.
        id: ContainerId,
        /// How far it has come.
        status: Status,
    },
    /// What was the container's own when it was made is something else now.
    #[error("the root file system {0:?} is not what it was when the container was made")]
    RootMoved(PathBuf),
    /// The audit's register.
    #[error("refusals could not be recorded")]
    Audit(#[from] audit::Error),
    /// The container's state.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The container's cgroups.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A system call of `reeve`.
    #[error("the container could not be made")]
    Call(#[from] Failure),
    /// A hook of the runtime.
    #[error(transparent)]
    Hook(#[from] HookFailed),
    /// A hook in the container, as its process told it.
    #[error("{0}")]
    StartHook(String),
    /// `reeve start` of a container that does not wait to be started.
    #[error("cannot start container `{id}`: it is {word}", word = status.word())]
    NotCreated {
        /// Which.
        id: ContainerId,
        /// How far it has come.
        status: Status,
    },
    /// `reeve exec` in a container that has no process.
    #[error("cannot exec in container `{id}`: it is {word}", word = status.word())]
    NotRunning {
        /// Which.
        id: ContainerId,
        /// How far it has come.
        status: Status,
    },
    /// The process ended while it set itself up, without a word.
    #[error("the process ended before its program was executed: {0}")]
    EndedEarly(Exit),
    /// A step of the container's first process.
    #[error("the container could not be set up: {step}")]
    Step {
        /// As in the plan.
        step: String,
        /// What failed.
        source: Failure,
    },
}

impl Error {
    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unprivileged => Some("run reeve as root".to_owned()),
            Self::RootHoldsState { .. } => Some(
                "give the container a directory of its own, and mount the host's with `mounts`"
                    .to_owned(),
            ),
            Self::NoPolicyToReplace(_) => {
                Some("a policy is given when a container is made, with `--policy`".to_owned())
            }
            Self::RootMoved(_) => {
                Some("mount it again where it was, in the mount namespace of this reeve".to_owned())
            }
            Self::Spec(error) => error.help().map(str::to_owned),
            Self::Enforce(error) => error.help(),
            Self::State(error) => error.help(),
            Self::Cgroup(error) => error.help().map(str::to_owned),
            Self::NotCreated {
                status: Status::Stopped,
                id,
            } => Some(format!("remove it with `reeve delete {id}`")),
            Self::EndedEarly(Exit::Signal(9)) => {
                Some("a memory limit that is too low for the set-up would be a reason".to_owned())
            }
            Self::Step { step, source } => step_help(step, source),
            _ => None,
        }
    }
}

fn step_help(step: &str, failure: &Failure) -> Option<String> {
    let help = if matches!(step, "execute" | "find the program") && failure.is(Errno::NOENT) {
        "`process.args[0]` must be in the root file system, and so must its interpreter"
    } else if step.starts_with("rlimit") && failure.is(Errno::PERM) {
        "the hard limit is above reeve's own, and raising it needs CAP_SYS_RESOURCE"
    } else {
        return None;
    };
    Some(help.to_owned())
}
