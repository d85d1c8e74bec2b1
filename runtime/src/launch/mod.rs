//! From a plan to a running process, as a chain of types: [`Prepared`] → [`Cloned`] →
//! [`Confined`] → [`Running`].
//!
//! Each consumes the one before and holds everything that was made so far, so that an error
//! anywhere undoes it all. The step that matters is between the second and the third: the process
//! can be let go only with a [`Confinement`], which is either the loader's proof that the policy is
//! attached, or the plan's word that none was asked for. A container that runs without its policy
//! does not compile.

mod confinement;
mod enforcement;
mod error;
mod exit;
mod own;
mod process;
mod seal;
mod supervise;
mod terminal;

pub use confinement::{Confinement, NoPolicyAsked};
pub(crate) use enforcement::withdraw;
pub use enforcement::{Enforcement, GivenPolicy};
pub use error::Error;
pub use exit::Exit;
pub use seal::seal;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::thread::CapabilitySet;

use crate::cgroup::{self, CgroupDirs, Cgroups, Layout};
use crate::channel::{self, Message, ParentEnd};
use crate::child;
use crate::failure::{Called, Failure};
use crate::plan::LaunchPlan;
use crate::spec::{IdMapping, Spec};
use crate::state::{self, ProcessName, State, StateDir};
use crate::sys;
use process::FirstProcess;

/// What is to be started.
#[derive(Debug)]
pub struct Request {
    /// Directory of all state.
    pub root: PathBuf,
    /// How cgroups are laid out.
    pub cgroups: Layout,
    /// The plan.
    pub plan: LaunchPlan,
    /// The policy, with the file that it comes from.
    pub policy: Option<GivenPolicy>,
}

/// Everything outside the process: policy, state, cgroups. Undone in this order when dropped.
#[derive(Debug)]
struct Held {
    cgroups: Cgroups,
    enforcement: Option<Enforcement>,
    dir: StateDir,
    state: State,
}

/// Made, with no process yet.
#[derive(Debug)]
pub struct Prepared {
    plan: LaunchPlan,
    held: Held,
}

/// The first process exists and waits.
#[derive(Debug)]
pub struct Cloned {
    plan: LaunchPlan,
    process: FirstProcess,
    channel: ParentEnd,
    held: Held,
}

/// The first process is under its policy and still waits.
#[derive(Debug)]
pub struct Confined {
    plan: LaunchPlan,
    process: FirstProcess,
    channel: ParentEnd,
    confinement: Confinement,
    held: Held,
}

/// The entry process runs.
#[derive(Debug)]
pub struct Running {
    process: FirstProcess,
    terminal: Option<OwnedFd>,
    held: Held,
}

/// Refuses what `reeve` itself has not the privileges for.
pub fn check_privileges(spec: &Spec) -> Result<(), Error> {
    let held = rustix::thread::capabilities(None).called(|| "capget()")?;
    if !held.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Err(Error::Unprivileged);
    }
    let held = held.permitted;
    Ok(spec.process.capabilities.refuse_beyond(held)?)
}

impl Prepared {
    /// Makes everything that the process will need. The first act is to make sure that the policy
    /// can be enforced: if not, nothing is made at all.
    pub fn new(request: Request) -> Result<Self, Error> {
        let Request {
            root,
            cgroups,
            plan,
            policy,
        } = request;
        if policy.is_some() && cgroups.v2().is_none() {
            return Err(cgroup::Error::NoVersion2.into());
        }
        let mut enforcement = match policy {
            Some(policy) => Some(Enforcement::prepare(&root, &plan, policy)?),
            None => None,
        };
        let dir = StateDir::create(&root, &plan.id)?;
        let mut state = State {
            version: state::VERSION,
            id: plan.id.clone(),
            process: None,
            creator: ProcessName::of(std::process::id().cast_signed()),
            bundle: plan.bundle.clone(),
            created_ms: state::now_ms(),
            cgroups: CgroupDirs::at(&cgroups, &plan.cgroup),
            policy: None,
        };
        // Written before anything is made that outlives this process, so that `reeve delete` knows
        // what to look for if it is killed.
        if let Some(enforcement) = &mut enforcement {
            state.policy = Some(enforcement.install()?);
            dir.save(&state)?;
            enforcement.register(&plan)?;
        } else {
            dir.save(&state)?;
        }
        let cgroups = Cgroups::create(&cgroups, &plan.cgroup, &plan.resources)?;
        let held = Held {
            cgroups,
            enforcement,
            dir,
            state,
        };
        Ok(Self { plan, held })
    }

    /// Makes the first process, which waits for its release.
    pub fn clone_process(self) -> Result<Cloned, Error> {
        let Self { plan, held } = self;
        // From here on no signal is lost: what arrives waits for the supervisor.
        sys::block_all_signals().called(|| "sigprocmask(SIG_SETMASK, ~[])")?;
        let birth = child::Birth {
            size: terminal::initial_size(&plan),
            rootfs: child::identity_of(&plan.rootfs)?,
        };
        let (parent_end, child_end) = channel::pair()?;
        let flags = plan.clone_flags();
        let cloned = sys::clone3(flags, held.cgroups.v2())
            .called(|| format!("clone3(flags={flags:#x}, CLONE_PIDFD|CLONE_INTO_CGROUP)"))?;
        match cloned {
            sys::Cloned::Child => {
                drop(parent_end);
                child::run(&plan, child_end, birth)
            }
            sys::Cloned::Parent { pid, pidfd } => Ok(Cloned {
                process: FirstProcess::new(pid, pidfd),
                channel: parent_end,
                plan,
                held,
            }),
        }
    }
}

impl Cloned {
    /// Puts the waiting process under its cgroups, its user namespace and its policy.
    pub fn confine(self) -> Result<Confined, Error> {
        // Dropped from the last to the first: the process ends before what holds it is undone.
        let Self {
            mut held,
            plan,
            channel,
            process,
        } = self;
        let pid = process.pid();
        held.cgroups.enroll(pid)?;
        held.state.cgroups = held.cgroups.dirs().clone();
        let number = pid.as_raw_nonzero().get();
        write_mappings(number, "uid_map", &plan.uid_mappings)?;
        write_mappings(number, "gid_map", &plan.gid_mappings)?;
        if let Some(score) = plan.oom_score_adj {
            write_proc(number, "oom_score_adj", &score.to_string())?;
        }
        let confinement = match (&held.enforcement, NoPolicyAsked::of(&plan)) {
            (Some(enforcement), _) => {
                let group = held.cgroups.v2().ok_or(cgroup::Error::NoVersion2)?;
                Confinement::Policy(enforcement.attach(group, process.pidfd())?)
            }
            (None, Some(none)) => Confinement::None(none),
            (None, None) => return Err(Error::PolicyMissing),
        };
        held.state.process = ProcessName::of(number);
        held.dir.save(&held.state)?;
        Ok(Confined {
            plan,
            process,
            channel,
            confinement,
            held,
        })
    }
}

impl Confined {
    /// The first process's number in the pid namespace of the runtime.
    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// Lets the process set itself up and execute; returns when the entry process runs.
    pub fn release(self) -> Result<Running, Error> {
        let Self {
            held,
            plan,
            confinement,
            channel,
            process,
        } = self;
        channel.go(confinement)?;
        let mut terminal = None;
        while let Some(message) = channel.receive()? {
            match message {
                Message::Terminal(master) => terminal = Some(master),
                Message::Failed(failed) => {
                    let step = plan.steps.get(failed.step);
                    let step = step.map_or_else(|| failed.step.to_string(), ToString::to_string);
                    let source = failed.failure;
                    return Err(Error::Step { step, source });
                }
            }
        }
        Ok(Running {
            process,
            terminal,
            held,
        })
    }
}

impl Running {
    /// Stays with the container until its entry process has ended, then removes everything of it.
    pub fn supervise(self) -> Result<Exit, Error> {
        let Self {
            held,
            terminal,
            mut process,
        } = self;
        let exit = supervise::until_exit(&mut process, terminal)?;
        // Whatever else runs in it ends with it, before its policy is taken away.
        drop(held);
        Ok(exit)
    }
}

fn write_mappings(pid: i32, file: &str, mappings: &[IdMapping]) -> Result<(), Failure> {
    if mappings.is_empty() {
        return Ok(());
    }
    let lines = mappings.iter();
    let lines = lines.map(|map| format!("{} {} {}\n", map.container, map.host, map.size));
    write_proc(pid, file, &lines.collect::<String>())
}

fn write_proc(pid: i32, file: &str, text: &str) -> Result<(), Failure> {
    let path = format!("/proc/{pid}/{file}");
    fs::write(&path, text).called(|| format!("write(\"{path}\", {text:?})"))
}
