//! The container's first process, from its birth to `execve`: it carries out the steps of the plan
//! and nothing else.
//!
//! It is a copy of `reeve`, so it holds the host's file system, and every privilege until
//! `Identity`. What it meets in the bundle is hostile: a root file system with symbolic links where
//! directories are expected, mounts that another container moves meanwhile. So a path of the
//! container is looked up once, inside the root and to a descriptor (`rooted`), and everything is
//! done to that descriptor. With a policy the kernel already counts this process to its container,
//! as *pending*: the policy is enforced from the successful `execve` on. Processes of `reeve exec`
//! come into a running container the same way.

pub(crate) mod attributes;
mod device;
mod execute;
mod identity;
mod mount;
mod namespace;
mod procfs;
mod rooted;
mod terminal;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Rlimit as RawRlimit, setrlimit, setsid, umask};
use rustix::thread::set_no_new_privs;
use tracing::subscriber::NoSubscriber;

use crate::cgroup::V1Groups;
use crate::channel::{Cause, ChildEnd, StartSocket};
use crate::failure::{Called, Failure};
use crate::hooks::{self, HookFailed, HookState};
use crate::outside::Outside;
use crate::plan::{Exec, Step};
use crate::report;
use crate::seccomp::Filter;
use crate::spec::{Hook, Resource, Rlimit};
use crate::sys;
use mount::Mounts;
pub(crate) use mount::{clone_path, map_ids, set_propagation};
pub(crate) use namespace::join;
use procfs::Procfs;
use rooted::Root;

/// Exit status of a first process that never became the entry process.
const FAILED: i32 = 1;

/// What the process carries out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    /// In order; the last one executes.
    pub(crate) steps: &'a [Step],
    /// What it executes.
    pub(crate) exec: &'a Exec,
}

/// What the process is born with besides its task.
#[derive(Debug, Default)]
pub(crate) struct Given<'a> {
    /// Columns and rows of its terminal.
    pub(crate) size: Option<(u16, u16)>,
    /// The root file system, and its device and inode: what the policy calls the container's own.
    pub(crate) rootfs: Option<(&'a Path, (u64, u64))>,
    /// What was opened for its mounts.
    pub(crate) outside: Outside,
    /// Where it waits for `reeve start`.
    pub(crate) start: Option<StartSocket>,
    /// The container's state for its hooks.
    pub(crate) state: Option<HookState<'a>>,
}

/// Device and inode of a directory.
pub(crate) fn identity_of(path: &Path) -> Result<(u64, u64), Failure> {
    let found = rustix::fs::stat(path).called(|| format!("stat(\"{}\")", path.display()))?;
    Ok((found.st_dev, found.st_ino))
}

/// Waits for its release, then carries out the task. Does not return.
pub(crate) fn run(task: Task<'_>, channel: ChildEnd, mut given: Given<'_>) -> ! {
    // A panic must not unwind into the caller: its guards are those of the parent.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // What the log's file was may be another one soon.
        let _silence = tracing::subscriber::set_default(NoSubscriber::new());
        let mut kept = vec![channel.as_fd()];
        kept.extend(given.outside.descriptors());
        kept.extend(given.start.as_ref().map(AsFd::as_fd));
        if let Err(error) = let_go(task, &kept) {
            channel.report("close descriptors", Cause::Call(error));
            return;
        }
        let Some(groups) = channel.wait() else {
            return;
        };
        let mut child = Child {
            task,
            channel,
            groups,
            mounts: Mounts::new(std::mem::take(&mut given.outside)),
            given,
            // Modes are given in full; the entry process gets the inherited mask back.
            umask: umask(Mode::empty()),
            root: None,
            console: None,
            home: None,
            procfs: None,
        };
        for step in task.steps {
            if let Err(error) = child.step(step) {
                child.channel.report(&step.to_string(), error.into());
                return;
            }
        }
    }));
    sys::exit_now(FAILED)
}

/// Closes what of the parent's descriptors this process has no use for: directories of the host and
/// maps of the kernel side above all, since this one may wait for long where others could look into
/// it. What the entry process is to get stays, and `kept`.
pub(crate) fn let_go(task: Task<'_>, kept: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    let first = task.steps.iter().find_map(|step| match step {
        Step::CloseDescriptors(first) => Some(*first),
        _ => None,
    });
    close_all_but(first.unwrap_or(FIRST), kept)
}

/// The first descriptor after the standard streams.
const FIRST: u32 = 3;

fn close_all_but(first: u32, kept: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    sys::close_all_but(first, kept).called(|| format!("close_range({first}, ~0)"))
}

/// Why a step failed.
enum StepError {
    Call(Failure),
    Hook(HookFailed),
}

impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        Self::Call(failure)
    }
}

impl From<StepError> for Cause {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Call(failure) => Self::Call(failure),
            StepError::Hook(failed) => Self::Hook(report::in_a_line(&failed)),
        }
    }
}

struct Child<'a> {
    task: Task<'a>,
    channel: ChildEnd,
    groups: V1Groups,
    mounts: Mounts,
    given: Given<'a>,
    umask: Mode,
    root: Option<Root>,
    console: Option<OwnedFd>,
    /// `HOME`, if the environment does not give it.
    home: Option<CString>,
    procfs: Option<Procfs>,
}

impl Child<'_> {
    fn procfs(&mut self) -> Result<&Procfs, Failure> {
        let procfs = match self.procfs.take() {
            Some(procfs) => procfs,
            None => Procfs::open()?,
        };
        Ok(self.procfs.insert(procfs))
    }

    fn step(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::RuntimeHooks => self.channel.pause_for_hooks()?,
            Step::JoinCgroups => std::mem::take(&mut self.groups).join()?,
            Step::AwaitStart => self.await_start()?,
            Step::StartHook(hook) => self.run_hook(hook)?,
            _ => self.namespace_step(step)?,
        }
        Ok(())
    }

    fn await_start(&mut self) -> Result<(), Failure> {
        let missing = || Failure::new("accept(start)", Errno::BADF);
        let socket = self.given.start.take().ok_or_else(missing)?;
        self.channel.ready()?;
        self.channel = socket.accept()?;
        Ok(())
    }

    fn run_hook(&self, hook: &Hook) -> Result<(), StepError> {
        let Some(state) = &self.given.state else {
            return Err(Failure::new("read(state for a hook)", Errno::BADF).into());
        };
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let state = HookState {
            pid: Some(pid),
            ..state.clone()
        };
        let place = hooks::Place {
            directory: Path::new("/"),
            container: None,
        };
        let hook = std::slice::from_ref(hook);
        hooks::run_all("startContainer", hook, &state, place).map_err(StepError::Hook)
    }

    fn namespace_step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::JoinNamespace { kind, path } => join(*kind, path),
            Step::EnterContainer => self.enter_container(),
            Step::BecomeRoot => namespace::become_root(),
            Step::NewCgroupNamespace => namespace::new_cgroup(),
            Step::StopPropagation(propagation) => self.mounts.stop_propagation(*propagation),
            Step::MountRootfs => {
                let missing = || Failure::new("open(root file system)", Errno::BADF);
                let (path, identity) = self.given.rootfs.ok_or_else(missing)?;
                // Without a pivot, what lies in sight is taken away.
                let at_path = self.task.steps.contains(&Step::PivotRoot);
                self.root = Some(self.mounts.rootfs(path, identity, at_path)?);
                Ok(())
            }
            Step::OpenProcfs => self.procfs().map(|_| ()),
            Step::Sysctl { path, value } => self.procfs()?.sysctl(path, value),
            Step::RootPropagation(propagation) => mount::propagate(*propagation),
            _ => self.root_step(step),
        }
    }

    fn root_step(&mut self, step: &Step) -> Result<(), Failure> {
        let root = self.root.as_ref();
        let root = || root.ok_or_else(|| Failure::new("open(root file system)", Errno::BADF));
        match step {
            Step::Mount(mount) => self.mounts.mount(root()?, mount),
            Step::MountCgroups { mount, hierarchies } => {
                mount::cgroups(root()?, mount, hierarchies)
            }
            Step::LabelMount { target, label } => attributes::label_root(root()?, target, label),
            Step::MakeDevices { devices, bind } => device::make_all(root()?, devices, *bind),
            Step::MakeLinks(links) => device::link_all(root()?, links),
            Step::OpenTerminal { uid, console } => {
                let (channel, size) = (&self.channel, self.given.size);
                let opened = terminal::open(root()?, channel, size, *uid, *console)?;
                self.console = Some(opened);
                Ok(())
            }
            Step::Mask(path) => self.mounts.mask(root()?, path),
            Step::Readonly(path) => mount::readonly(root()?, path),
            Step::MakeWorkingDirectory(path) => root()?.make_dir(path).map(|_| ()),
            Step::ReadonlyMounts => self.mounts.finish(),
            Step::ReadonlyRootfs => mount::readonly_root(root()?),
            Step::PivotRoot => mount::pivot(root()?),
            Step::MoveRoot => mount::move_root(root()?),
            _ => self.process_step(step),
        }
    }

    /// The namespaces were entered before this process was born.
    fn enter_container(&mut self) -> Result<(), Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).called(|| "open(\"/\", O_PATH)")?;
        self.root = Some(Root::new(root));
        Ok(())
    }

    fn process_step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Hostname(name) => rustix::system::sethostname(name.as_bytes())
                .called(|| format!("sethostname(\"{name}\")")),
            Step::Domainname(name) => rustix::system::setdomainname(name.as_bytes())
                .called(|| format!("setdomainname(\"{name}\")")),
            Step::LoopbackUp => loopback_up(),
            Step::SessionKeyring(name) => session_keyring(name),
            Step::FindProgram => {
                self.home = execute::home(&self.task, self.user(), Procfs::open);
                execute::find(self.task.exec)
            }
            Step::NewSession => {
                setsid().called(|| "setsid()")?;
                match self.console.take() {
                    Some(console) => terminal::control(&console),
                    None => Ok(()),
                }
            }
            Step::Rlimit(limit) => set_limit(*limit),
            Step::WorkingDirectory(path) => enter(path),
            Step::Scheduler(scheduler) => attributes::scheduler(scheduler),
            Step::CpuAffinity(cpus) => attributes::set_affinity(cpus),
            Step::IoPriority(priority) => attributes::io_priority(*priority),
            Step::MemoryPolicy(policy) => attributes::memory_policy(policy),
            Step::Personality(personality) => attributes::personality(*personality),
            Step::AppArmor(profile) => attributes::apparmor(self.procfs()?, profile),
            Step::SeLinux(label) => attributes::selinux(self.procfs()?, label),
            Step::Identity { user, capabilities } => identity::assume(user, capabilities),
            Step::Umask(mask) => {
                umask(mask.map_or(self.umask, Mode::from_raw_mode));
                Ok(())
            }
            Step::NoNewPrivileges => {
                set_no_new_privs(true).called(|| "prctl(PR_SET_NO_NEW_PRIVS, 1)")
            }
            Step::CloseDescriptors(first) => self.close_descriptors(*first),
            Step::ResetSignals => sys::reset_signals().called(|| "sigprocmask(SIG_SETMASK, [])"),
            Step::Seccomp(filter) => self.install(filter),
            _ => Err(execute::execute(self.task.exec, self.home.take())),
        }
    }

    /// Closes everything but the channel. Close-on-exec would be too late: the names of the program
    /// and of its interpreter are looked up before, and might lead through `/proc/self/fd` to
    /// whatever is open (CVE-2024-21626).
    fn close_descriptors(&mut self, first: u32) -> Result<(), Failure> {
        self.mounts = Mounts::default();
        (self.root, self.console, self.procfs) = (None, None, None);
        self.given.start = None;
        close_all_but(first, &[self.channel.as_fd()])
    }

    /// Puts this process under a filter. What notifications come from goes to the parent before
    /// anything is called that the filter leaves to the agent.
    fn install(&self, filter: &Filter) -> Result<(), Failure> {
        match filter.install()? {
            Some(listener) => self.channel.send_listener(listener.as_fd()),
            None => Ok(()),
        }
    }

    /// Whom the process will be.
    fn user(&self) -> u32 {
        let uid = self.task.steps.iter().find_map(|step| match step {
            Step::Identity { user, .. } => Some(user.uid),
            _ => None,
        });
        uid.unwrap_or_default()
    }
}

/// A session keyring of its own: keys of the caller's would be possessed by the container. A kernel
/// without keyrings has nothing to give away.
fn session_keyring(name: &str) -> Result<(), Failure> {
    let name = CString::new(name).unwrap_or_default();
    match sys::join_session_keyring(&name) {
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => {
            let call = format!("keyctl(KEYCTL_JOIN_SESSION_KEYRING, {name:?})");
            Err(Failure::new(call, errno))
        }
    }
}

fn loopback_up() -> Result<(), Failure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .called(|| "socket(AF_INET, SOCK_DGRAM)")?;
    sys::loopback_up(socket.as_fd()).called(|| "ioctl(SIOCSIFFLAGS, lo up)")
}

fn set_limit(limit: Rlimit) -> Result<(), Failure> {
    use rustix::process::Resource as Raw;
    let resource = match limit.resource {
        Resource::Cpu => Raw::Cpu,
        Resource::Fsize => Raw::Fsize,
        Resource::Data => Raw::Data,
        Resource::Stack => Raw::Stack,
        Resource::Core => Raw::Core,
        Resource::Rss => Raw::Rss,
        Resource::Nproc => Raw::Nproc,
        Resource::Nofile => Raw::Nofile,
        Resource::Memlock => Raw::Memlock,
        Resource::As => Raw::As,
        Resource::Locks => Raw::Locks,
        Resource::Sigpending => Raw::Sigpending,
        Resource::Msgqueue => Raw::Msgqueue,
        Resource::Nice => Raw::Nice,
        Resource::Rtprio => Raw::Rtprio,
        Resource::Rttime => Raw::Rttime,
    };
    let bound = |value: u64| (value != u64::MAX).then_some(value);
    let raw = RawRlimit {
        current: bound(limit.soft),
        maximum: bound(limit.hard),
    };
    let name = format!("{:?}", limit.resource).to_uppercase();
    setrlimit(resource, raw)
        .called(|| format!("setrlimit(RLIMIT_{name}, {}:{})", limit.soft, limit.hard))
}

/// Enters the working directory; a descriptor of the host's that leads out of the root
/// (`/proc/self/fd/7`) is refused.
fn enter(path: &Path) -> Result<(), Failure> {
    let root = rustix::fs::open(
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .called(|| "open(\"/\", O_PATH)")?;
    let dir = Root::new(root).open(path, OFlags::PATH | OFlags::DIRECTORY)?;
    rustix::process::fchdir(&dir).called(|| format!("fchdir(\"{}\")", path.display()))?;
    let cwd = rustix::process::getcwd(Vec::new()).called(|| "getcwd()")?;
    if cwd.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Failure::new(
            format!("getcwd() after {}", path.display()),
            Errno::XDEV,
        ))
    }
}
