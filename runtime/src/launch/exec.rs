//! `reeve exec`: one more process in a container that runs, by the same chain of types as its first
//! process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ebpf_common::PolicyId;
use ebpf_loader::Enforcer;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::process::DumpableBehavior;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::birth::ForChildren;
use super::conversation::{listen, tell_agent};
use super::mappings::write_proc;
use super::{
    ChildProcess, Confinement, ConsoleSocket, Error, Exit, NoPolicyAsked, join, supervise, terminal,
};
use crate::channel::{self, ParentEnd};
use crate::child;
use crate::failure::{Called, Failure};
use crate::hooks::HookState;
use crate::plan::ExecPlan;
use crate::spec::Listener;
use crate::state::{State, Status};
use crate::sys::{self, Cloned};

/// What is to be executed, and where.
#[derive(Debug)]
pub struct ExecRequest {
    /// The container.
    pub state: State,
    /// The process.
    pub plan: ExecPlan,
    /// A group below the container's, in the version 2 tree.
    pub cgroup: Option<PathBuf>,
}

/// The process exists in the container and waits.
#[derive(Debug)]
pub struct Joined {
    state: State,
    agent: Option<Listener>,
    process: ChildProcess,
    channel: ParentEnd,
    confinement: Confinement,
}

/// Its program runs.
#[derive(Debug)]
pub struct Executing {
    process: ChildProcess,
    terminal: Option<OwnedFd>,
}

impl Joined {
    /// Makes the process, in the container's cgroups and pid namespace and under its policy.
    ///
    /// # Errors
    /// The container has no process, or its policy is not in force any more.
    pub fn new(request: ExecRequest) -> Result<Self, Error> {
        let status = request.state.status();
        let missing = || Error::NotRunning {
            id: request.state.id.clone(),
            status,
        };
        let first = request.state.process;
        let first =
            first.filter(|_| matches!(status, Status::Running | Status::Created | Status::Paused));
        let first = first.ok_or_else(missing)?;
        let pidfd = first.open()?.ok_or_else(missing)?;
        let enforcer = match &request.state.policy {
            Some(_) => Some(Enforcer::open()?.ok_or(Error::PolicyMissing)?),
            None => None,
        };
        let group = group(&request)?;
        let kinds = join::others_of(first.pid)?;
        // A process of the container must not look into this one, which is about to be among them
        // with all that it holds of the host (CVE-2016-9962).
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .called(|| "prctl(PR_SET_DUMPABLE, 0)")?;
        sys::block_all_signals().called(|| "sigprocmask(SIG_SETMASK, ~[])")?;
        let kinds = enter_user_namespace_first(pidfd.as_fd(), kinds)?;
        let given = child::Given {
            size: terminal::initial_size(request.plan.terminal),
            container: Some((pidfd.as_fd(), kinds)),
            ..child::Given::default()
        };
        let task = child::Task {
            steps: &request.plan.steps,
            exec: &request.plan.exec,
        };
        let (channel, child_end) = channel::pair()?;
        let for_the_clone = match join::other_pid_namespace(first.pid)? {
            true => Some(ForChildren::pid_of_process(pidfd.as_fd())?),
            false => None,
        };
        if let Some(processors) = &request.plan.first_affinity {
            child::attributes::set_affinity(processors)?;
        }
        let cloned = sys::clone3(0, group.as_ref().map(AsFd::as_fd))
            .called(|| "clone3(CLONE_PIDFD|CLONE_INTO_CGROUP)")?;
        let process = match cloned {
            Cloned::Child => {
                drop(channel);
                child::run(task, child_end, given)
            }
            Cloned::Parent { pid, pidfd } => ChildProcess::new(pid, pidfd),
        };
        drop((for_the_clone, child_end));
        let confinement = confine(&request, &process, pidfd.as_fd(), enforcer)?;
        Ok(Self {
            state: request.state,
            agent: request.plan.seccomp_listener,
            process,
            channel,
            confinement,
        })
    }

    /// Its number in the pid namespace of the runtime.
    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// Lets the process set itself up and execute; returns when its program runs.
    pub fn release(mut self, console: Option<ConsoleSocket>) -> Result<Executing, Error> {
        self.channel.go(self.confinement)?;
        let notify = |listener| {
            let state = HookState {
                oci_version: &self.state.oci_version,
                id: self.state.id.as_str(),
                status: Status::Running.word(),
                pid: Some(self.process.pid().as_raw_nonzero().get()),
                bundle: &self.state.bundle,
                annotations: &self.state.annotations,
            };
            tell_agent(self.agent.as_ref(), &listener, &state)
        };
        let heard = listen(&self.channel, || Ok(()), notify)?;
        if let Some(exit) = self.process.ended_early()? {
            return Err(Error::EndedEarly(exit));
        }
        let mut terminal = heard.terminal;
        if let (Some(console), Some(master)) = (console, &terminal) {
            console.send(master)?;
            terminal = None;
        }
        Ok(Executing {
            process: self.process,
            terminal,
        })
    }
}

impl Executing {
    /// Leaves the process to itself.
    pub fn leave(self) {
        self.process.leave();
    }

    /// Stays with the process until it has ended.
    pub fn supervise(mut self) -> Result<Exit, Error> {
        supervise::until_exit(&mut self.process, self.terminal)
    }
}

/// Puts the process into the container's groups and under its policy.
fn confine(
    request: &ExecRequest,
    process: &ChildProcess,
    first: BorrowedFd<'_>,
    enforcer: Option<Enforcer>,
) -> Result<Confinement, Error> {
    request.state.cgroups.enroll_v1(process.pid())?;
    if let Some(score) = request.plan.oom_score_adj {
        let pid = process.pid().as_raw_nonzero().get();
        write_proc(pid, "oom_score_adj", &score.to_string())?;
    }
    match (&request.state.policy, enforcer) {
        (Some(policy), Some(enforcer)) => {
            let policy = PolicyId(policy.id);
            let attached = enforcer.attach_beside(policy, first, process.pidfd())?;
            Ok(Confinement::Policy(attached))
        }
        _ => {
            let none = NoPolicyAsked::of_state(&request.state);
            Ok(Confinement::None(none.ok_or(Error::PolicyMissing)?))
        }
    }
}

/// The version 2 group that the process is born into: the container's, or one below it.
fn group(request: &ExecRequest) -> Result<Option<OwnedFd>, Failure> {
    let Some(dir) = &request.state.cgroups.v2 else {
        return Ok(None);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = rustix::fs::open(dir, flags, Mode::empty())
        .called(|| format!("open(\"{}\", O_PATH|O_DIRECTORY)", dir.display()))?;
    let Some(below) = &request.cgroup else {
        return Ok(Some(own));
    };
    let below = below.strip_prefix("/").unwrap_or(below);
    if below.as_os_str().is_empty() {
        return Ok(Some(own));
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(&own, below, flags, Mode::empty(), resolve)
        .called(|| format!("openat2(\"{}\", \"{}\")", dir.display(), below.display()))
        .map(Some)
}

/// A user without privileges may enter the container's other namespaces only from within its user
/// namespace, so this process goes there first. What is left is answered.
fn enter_user_namespace_first(
    pidfd: BorrowedFd<'_>,
    kinds: ThreadNameSpaceType,
) -> Result<ThreadNameSpaceType, Failure> {
    let user = ThreadNameSpaceType::USER;
    let privileged = rustix::process::geteuid().is_root();
    if privileged || !kinds.contains(user) {
        return Ok(kinds);
    }
    move_into_thread_name_spaces(pidfd, user).called(|| "setns(first process, CLONE_NEWUSER)")?;
    Ok(kinds.difference(user))
}
