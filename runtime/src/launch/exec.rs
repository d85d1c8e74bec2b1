//! `reeve exec`: one more process in a container that runs, by the same chain of types as its first
//! process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ebpf_common::PolicyId;
use ebpf_loader::Enforcer;
use rustix::process::DumpableBehavior;
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use super::conversation::{listen, tell_agent};
use super::mappings::write_proc;
use super::{
    ChildProcess, Confinement, ConsoleSocket, Error, Exit, NoPolicyAsked, birth, join, supervise,
    terminal,
};
use crate::cgroup::{Below, V1Groups};
use crate::channel::{self, ChildEnd, ParentEnd};
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
    /// Groups below the container's that it is put into.
    pub below: Vec<Below>,
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
        let group = request.state.cgroups.open_v2(&request.below)?;
        let kinds = join::others_of(first.pid)?;
        sys::block_all_signals().called(|| "sigprocmask(SIG_SETMASK, ~[])")?;
        let kinds = enter_user_namespace_first(pidfd.as_fd(), kinds)?;
        let given = child::Given {
            size: terminal::initial_size(request.plan.terminal),
            ..child::Given::default()
        };
        let task = child::Task {
            steps: &request.plan.steps,
            exec: &request.plan.exec,
        };
        let entrance = Entrance {
            first: pidfd.as_fd(),
            kinds,
            pid: join::other_pid_namespace(first.pid)?,
        };
        if let Some(processors) = &request.plan.first_affinity {
            child::attributes::set_affinity(processors)?;
        }
        let (mut intermediate, channel) = entrance.begin(task, given, group)?;
        if let Some(score) = request.plan.oom_score_adj {
            let pid = intermediate.pid().as_raw_nonzero().get();
            write_proc(pid, "oom_score_adj", &score.to_string())?;
        }
        let groups = request.state.cgroups.open_v1(&request.below)?;
        let confine =
            |process: BorrowedFd<'_>| confine(&request, process, pidfd.as_fd(), enforcer.as_ref());
        channel.go(confine(intermediate.pidfd())?, &groups)?;
        let process = birth::born(&channel, &mut intermediate)?;
        let confinement = confine(process.pidfd())?;
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
        self.channel.go(self.confinement, &V1Groups::default())?;
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

/// The way into a container.
#[derive(Debug, Clone, Copy)]
struct Entrance<'a> {
    /// Its first process.
    first: BorrowedFd<'a>,
    /// The namespaces of that process that are not this one's.
    kinds: ThreadNameSpaceType,
    /// Whether its pid namespace is another, too.
    pid: bool,
}

impl Entrance<'_> {
    /// Begins with an intermediate process in `group`, which waits to be let go.
    ///
    /// A process in the container's pid namespace can be looked into by whoever in there has
    /// `CAP_SYS_PTRACE`. So the one that comes into it has the container's root by then, and
    /// nothing that belongs to the host; and to look into it takes that capability where the
    /// runtime has it (CVE-2016-9962).
    fn begin(
        self,
        task: child::Task<'_>,
        given: child::Given<'_>,
        group: Option<OwnedFd>,
    ) -> Result<(ChildProcess, ParentEnd), Failure> {
        let (channel, child_end) = channel::pair()?;
        let cloned = sys::clone3(0, group.as_ref().map(AsFd::as_fd))
            .called(|| "clone3(CLONE_PIDFD|CLONE_INTO_CGROUP)")?;
        match cloned {
            Cloned::Child => {
                drop(channel);
                match self.enter(task, &child_end) {
                    Ok(Cloned::Child) => child::run(task, child_end, given),
                    Ok(Cloned::Parent { pid, pidfd }) => birth::tell(&child_end, Ok((pid, pidfd))),
                    Err(failure) => birth::tell(&child_end, Err(failure)),
                }
            }
            Cloned::Parent { pid, pidfd } => Ok((ChildProcess::new(pid, pidfd), channel)),
        }
    }

    /// Enters, and makes the process, a child of this one's parent.
    fn enter(self, task: child::Task<'_>, channel: &ChildEnd) -> Result<Cloned, Failure> {
        child::let_go(task, &[channel.as_fd(), self.first])?;
        let Some(groups) = channel.wait() else {
            sys::exit_now(1);
        };
        // The process that this one makes is in them, too.
        groups.join()?;
        // Not before: files of such a process below /proc are root's, whoever its parent is.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .called(|| "prctl(PR_SET_DUMPABLE, 0)")?;
        if self.pid {
            let kind = Some(LinkNameSpaceType::ProcessID);
            move_into_link_name_space(self.first, kind)
                .called(|| "setns(first process, CLONE_NEWPID)")?;
        }
        move_into_thread_name_spaces(self.first, self.kinds)
            .called(|| format!("setns(first process, {:?})", self.kinds))?;
        child::let_go(task, &[channel.as_fd()])?;
        sys::clone3(sys::CLONE_PARENT, None).called(|| "clone3(CLONE_PARENT|CLONE_PIDFD)")
    }
}

/// Puts a process that waits under the container's policy.
fn confine(
    request: &ExecRequest,
    process: BorrowedFd<'_>,
    first: BorrowedFd<'_>,
    enforcer: Option<&Enforcer>,
) -> Result<Confinement, Error> {
    match (&request.state.policy, enforcer) {
        (Some(policy), Some(enforcer)) => {
            let policy = PolicyId(policy.id);
            let attached = enforcer.attach_beside(policy, first, process)?;
            Ok(Confinement::Policy(attached))
        }
        _ => {
            let none = NoPolicyAsked::of_state(&request.state);
            Ok(Confinement::None(none.ok_or(Error::PolicyMissing)?))
        }
    }
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
