//! From a plan to a running process, as a chain of types: [`Prepared`] → [`Cloned`] →
//! [`Confined`] → [`Running`].
//!
//! Each consumes the one before and holds everything that was made so far, so that an error
//! anywhere undoes it all. The step that matters is between the second and the third: the process
//! can be let go only with a [`Confinement`], which is either the loader's proof that the policy is
//! attached, or the plan's word that none was asked for. A container that runs without its policy
//! does not compile.

mod birth;
mod confinement;
mod console;
mod conversation;
mod enforcement;
mod error;
mod exec;
mod exit;
mod join;
mod mappings;
mod own;
mod process;
mod replace;
mod seal;
mod start;
mod supervise;
mod terminal;

pub use confinement::{Confinement, NoPolicyAsked};
pub use console::ConsoleSocket;
pub(crate) use enforcement::withdraw;
pub use enforcement::{Enforcement, GivenPolicy};
pub use error::Error;
pub use exec::{ExecRequest, Joined};
pub use exit::Exit;
pub(crate) use process::ChildProcess;
pub use replace::replace;
pub use seal::seal;
pub use start::start;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::CapabilitySet;

use crate::cgroup::{self, CgroupDirs, Cgroups, Layout};
use crate::channel::{self, ParentEnd, StartSocket};
use crate::child;
use crate::failure::{Called, Failure};
use crate::hooks::{self, Entered, HookState, Place};
use crate::lsm::Lsms;
use crate::net_device;
use crate::outside::Outside;
use crate::plan::LaunchPlan;
use crate::rdt;
use crate::spec::{NamespaceKind, Spec};
use crate::state::{self, ProcessName, State, StateDir};
use crate::sys;
use crate::timings;
use conversation::{Heard, listen, tell_agent};
use mappings::write_proc;

/// What is to be started.
#[derive(Debug)]
pub struct Request {
    /// Directory of all state.
    pub root: PathBuf,
    /// How cgroups are laid out.
    pub cgroups: Layout,
    /// The plan.
    pub plan: LaunchPlan,
    /// The text of the configuration that it was made of.
    pub config: Vec<u8>,
    /// The policy, with the file that it comes from.
    pub policy: Option<GivenPolicy>,
}

/// Everything outside the process: policy, state, cgroups. Undone in this order when dropped.
#[derive(Debug)]
struct Held {
    cgroups: Cgroups,
    rdt: Option<rdt::Entered>,
    enforcement: Option<Enforcement>,
    dir: StateDir,
    state: State,
}

impl Held {
    /// Leaves everything for a container that goes on without this process.
    fn keep(mut self) {
        self.cgroups.keep();
        if let Some(enforcement) = self.enforcement {
            enforcement.keep();
        }
        if let Some(rdt) = self.rdt {
            rdt.keep();
        }
        self.dir.keep();
    }
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
    process: ChildProcess,
    channel: ParentEnd,
    held: Held,
}

/// The first process is under its policy and still waits.
#[derive(Debug)]
pub struct Confined {
    plan: LaunchPlan,
    process: ChildProcess,
    channel: ParentEnd,
    confinement: Confinement,
    held: Held,
}

/// The process is set up: its program runs, or it waits to be started.
#[derive(Debug)]
pub struct Running {
    plan: LaunchPlan,
    process: ChildProcess,
    terminal: Option<OwnedFd>,
    held: Held,
}

/// Refuses what `reeve` itself has not the privileges for. In a user namespace of its own a
/// container has every capability over what is its own, whoever made it.
pub fn check_privileges(spec: &Spec) -> Result<(), Error> {
    spec.labels.refuse_inactive(Lsms::detect())?;
    if spec.namespaces.private(NamespaceKind::User) {
        return Ok(());
    }
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
            config,
            policy,
        } = request;
        if policy.is_some() && cgroups.v2().is_none() {
            return Err(cgroup::Error::NoVersion2.into());
        }
        let mut enforcement = match policy {
            Some(policy) => Some(Enforcement::prepare(&root, &plan, policy)?),
            None => None,
        };
        timings::mark("policy compiled");
        let dir = StateDir::create(&root, &plan.id)?;
        let mut state = State {
            version: state::VERSION,
            id: plan.id.clone(),
            process: None,
            creator: ProcessName::of(std::process::id().cast_signed()),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.clone(),
            oci_version: plan.oci_version.clone(),
            annotations: plan.annotations.clone(),
            owner: rustix::process::getuid().as_raw(),
            restored: false,
            created_ms: state::now_ms(),
            cgroups: CgroupDirs::at(&cgroups, &plan.cgroup),
            rdt: None,
            policy: None,
        };
        dir.save_config(&config)?;
        // Written before anything is made that outlives this process, so that `reeve delete` knows
        // what to look for if it is killed.
        if let Some(enforcement) = &mut enforcement {
            state.policy = Some(enforcement.install()?);
            dir.save(&state)?;
            enforcement.register(&plan)?;
        } else {
            dir.save(&state)?;
        }
        timings::mark("state written, policy installed");
        let mut cgroups = Cgroups::create(&cgroups, &plan.cgroup, &plan.resources)?;
        let annotations = plan.annotations.iter();
        cgroups.annotate(annotations.map(|(name, value)| (name.as_str(), value.as_str())))?;
        state.cgroups = cgroups.dirs().clone();
        timings::mark("cgroups made");
        let held = Held {
            cgroups,
            rdt: None,
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
        let start = match plan.awaits_start() {
            true => {
                let dir = held.dir.open()?;
                Some(StartSocket::listen(dir.as_fd())?)
            }
            false => None,
        };
        let given = child::Given {
            size: terminal::initial_size(plan.terminal),
            rootfs: Some((&plan.rootfs, child::identity_of(&plan.rootfs)?)),
            outside: Outside::open(&plan)?,
            start,
            state: Some(hook_state(&plan, "created", None)),
        };
        let task = child::Task {
            steps: &plan.steps,
            exec: &plan.exec,
        };
        let (channel, child_end) = channel::pair()?;
        hide_from_others(&plan)?;
        let group = held.cgroups.v2();
        let process = birth::first_process(&plan.birth, group, &channel, child_end, |child_end| {
            child::run(task, child_end, given)
        })?;
        timings::mark("first process cloned");
        Ok(Cloned {
            process,
            channel,
            plan,
            held,
        })
    }
}

impl Cloned {
    /// Puts the waiting process under its user namespace and its policy.
    pub fn confine(self) -> Result<Confined, Error> {
        // Dropped from the last to the first: the process ends before what holds it is undone.
        let Self {
            mut held,
            plan,
            channel,
            process,
        } = self;
        let pid = process.pid();
        held.cgroups.enter_scope(pid)?;
        held.state.cgroups = held.cgroups.dirs().clone();
        let number = pid.as_raw_nonzero().get();
        mappings::write(number, &plan.birth)?;
        if let Some(score) = plan.oom_score_adj {
            write_proc(number, "oom_score_adj", &score.to_string())?;
        }
        give_devices(&plan, number)?;
        if let Some(wanted) = &plan.rdt {
            let entered = rdt::Entered::new(wanted, &plan.id, number)?;
            held.state.rdt = Some(entered.groups().clone());
            held.rdt = Some(entered);
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
        timings::mark("confined");
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

    /// Lets the process set itself up; returns when its program runs, or when it waits to be
    /// started.
    pub fn release(self, console: Option<ConsoleSocket>) -> Result<Running, Error> {
        let Self {
            held,
            plan,
            confinement,
            channel,
            mut process,
        } = self;
        channel.go(confinement, &held.cgroups.dirs().open_v1(&[])?)?;
        let hooks = || run_hooks(&plan, &process);
        let notify = |listener| {
            let pid = Some(process.pid().as_raw_nonzero().get());
            let state = hook_state(&plan, "creating", pid);
            tell_agent(plan.seccomp_listener.as_ref(), &listener, &state)
        };
        let heard = listen(&channel, hooks, notify)?;
        if let Some(exit) = process.ended_early()? {
            return Err(Error::EndedEarly(exit));
        }
        timings::mark("set up and executed");
        let Heard {
            mut terminal,
            waits,
        } = heard;
        if let (Some(console), Some(master)) = (console, &terminal) {
            console.send(master)?;
            terminal = None;
        }
        if !waits {
            let pid = Some(process.pid().as_raw_nonzero().get());
            let state = hook_state(&plan, "running", pid);
            hooks::run_all("poststart", &plan.hooks.poststart, &state, outside(&plan))?;
        }
        Ok(Running {
            plan,
            process,
            terminal,
            held,
        })
    }
}

impl Running {
    /// Leaves the container to itself, for `reeve start` and `reeve delete`.
    pub fn leave(self) {
        self.process.leave();
        self.held.keep();
    }

    /// Stays with the container until its entry process has ended, then removes everything of it,
    /// unless it is to be kept.
    pub fn supervise(self, keep: bool) -> Result<Exit, Error> {
        let Self {
            held,
            terminal,
            mut process,
            plan,
        } = self;
        let exit = supervise::until_exit(&mut process, terminal)?;
        timings::mark("ran");
        if keep {
            held.keep();
            return Ok(exit);
        }
        // Whatever else runs in it ends with it, before its policy is taken away.
        drop(held);
        timings::mark("removed");
        let state = hook_state(&plan, "stopped", None);
        hooks::run_and_warn("poststop", &plan.hooks.poststop, &state, outside(&plan));
        Ok(exit)
    }
}

/// Keeps processes of other containers in the same pid namespace from looking into the first
/// process, which has the host's root for a while and, in a user namespace that is shared with
/// them, no privilege that they have not (CVE-2016-9962).
fn hide_from_others(plan: &LaunchPlan) -> Result<(), Failure> {
    let birth = &plan.birth;
    let alone = birth.new_namespaces.contains(&NamespaceKind::Pid);
    // Who is not root could not write the mappings of such a process; in a user namespace of its
    // own it is out of reach anyhow.
    let maps = !birth.uid_mappings.is_empty() && !rustix::process::geteuid().is_root();
    if alone || maps {
        return Ok(());
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).called(|| "prctl(PR_SET_DUMPABLE, 0)")
}

/// Moves network devices into the namespace that the process is in or will join.
fn give_devices(plan: &LaunchPlan, pid: i32) -> Result<(), Failure> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    let own = || PathBuf::from(format!("/proc/{pid}/ns/net"));
    let path = plan.network.clone().unwrap_or_else(own);
    let namespace = fs::File::open(&path).called(|| format!("open(\"{}\")", path.display()))?;
    net_device::move_all(&plan.net_devices, namespace.as_fd())
}

/// The hooks that run while the first process waits right before its root becomes its root.
fn run_hooks(plan: &LaunchPlan, process: &ChildProcess) -> Result<(), Error> {
    let pid = process.pid().as_raw_nonzero().get();
    let state = hook_state(plan, "creating", Some(pid));
    let place = outside(plan);
    let hooks = &plan.hooks;
    hooks::run_all("prestart", &hooks.prestart, &state, place)?;
    hooks::run_all("createRuntime", &hooks.create_runtime, &state, place)?;
    if hooks.create_container.is_empty() {
        return Ok(());
    }
    // By this process, not by the one that waits: hooks are the author's of the configuration, and
    // whatever that one makes is under the container's policy.
    let _for_the_hooks = match join::other_pid_namespace(pid)? {
        true => Some(birth::ForChildren::pid_of_process(process.pidfd())?),
        false => None,
    };
    let root = join::root_of(pid)?;
    let entered = Entered {
        process: process.pidfd(),
        kinds: join::others_of(pid)?,
        root: root.as_fd(),
    };
    let place = Place {
        directory: &plan.rootfs,
        container: Some(entered),
    };
    // As it is seen there.
    let state = hook_state(plan, "creating", Some(join::innermost_pid(pid)?));
    hooks::run_all("createContainer", &hooks.create_container, &state, place)?;
    Ok(())
}

fn hook_state<'a>(plan: &'a LaunchPlan, status: &'static str, pid: Option<i32>) -> HookState<'a> {
    HookState {
        oci_version: &plan.oci_version,
        id: plan.id.as_str(),
        status,
        pid,
        bundle: &plan.bundle,
        annotations: &plan.annotations,
    }
}

/// Where the hooks of the runtime's own namespaces run.
fn outside(plan: &LaunchPlan) -> Place<'_> {
    Place {
        directory: &plan.bundle,
        container: None,
    }
}
