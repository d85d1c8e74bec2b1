//! The container's first process, from its birth to `execve`: it carries out the steps of the plan
//! and nothing else.
//!
//! It is a copy of `reeve`, so it holds the host's file system, and every privilege until
//! `Identity`. What it meets in the bundle is hostile: a root file system with symbolic links where
//! directories are expected, mounts that another container moves meanwhile. So a path of the
//! container is looked up once, inside the root and to a descriptor (`rooted`), and everything is
//! done to that descriptor. With a policy the kernel already counts this process to its container,
//! as *pending*: the policy is enforced from the successful `execve` on.

mod device;
mod identity;
mod mount;
mod procfs;
mod rooted;
mod terminal;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Rlimit as RawRlimit, setrlimit, setsid, umask};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::channel::ChildEnd;
use crate::failure::{Called, Failure};
use crate::outside::Outside;
use crate::plan::{LaunchPlan, Step};
use crate::spec::{NamespaceKind, Resource, Rlimit};
use crate::sys;
use mount::Mounts;
pub(crate) use mount::{clone_path, map_ids, set_propagation};
use procfs::Procfs;
use rooted::Root;

/// Searched for the entry process if its environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Exit status of a first process that never became the entry process.
const FAILED: i32 = 1;

/// What the process is born with besides its plan.
#[derive(Debug)]
pub(crate) struct Birth {
    /// Columns and rows of its terminal.
    pub(crate) size: Option<(u16, u16)>,
    /// Device and inode of the root file system: what the policy calls the container's own.
    pub(crate) rootfs: (u64, u64),
    /// What was opened for its mounts.
    pub(crate) outside: Outside,
}

/// Device and inode of a directory.
pub(crate) fn identity_of(path: &Path) -> Result<(u64, u64), Failure> {
    let found = rustix::fs::stat(path).called(|| format!("stat(\"{}\")", path.display()))?;
    Ok((found.st_dev, found.st_ino))
}

/// Waits for its release, then carries out the plan. Does not return.
pub(crate) fn run(plan: &LaunchPlan, channel: ChildEnd, birth: Birth) -> ! {
    // A panic must not unwind into the caller: its guards are those of the parent.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if !channel.wait() {
            return;
        }
        let mut child = Child {
            plan,
            channel: &channel,
            size: birth.size,
            rootfs: birth.rootfs,
            mounts: Mounts::new(birth.outside),
            procfs: None,
            // Modes are given in full; the entry process gets the inherited mask back.
            umask: umask(Mode::empty()),
            root: None,
            console: None,
        };
        for (at, step) in plan.steps.iter().enumerate() {
            if let Err(failure) = child.step(step) {
                channel.report(at, failure);
                return;
            }
        }
    }));
    sys::exit_now(FAILED)
}

struct Child<'a> {
    plan: &'a LaunchPlan,
    channel: &'a ChildEnd,
    size: Option<(u16, u16)>,
    rootfs: (u64, u64),
    mounts: Mounts,
    procfs: Option<Procfs>,
    umask: Mode,
    root: Option<Root>,
    console: Option<OwnedFd>,
}

impl Child<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::JoinNamespace { kind, path } => join(*kind, path),
            Step::BecomeRoot => become_root(),
            Step::NewCgroupNamespace => new_cgroup_namespace(),
            Step::StopPropagation(propagation) => self.mounts.stop_propagation(*propagation),
            Step::MountRootfs => {
                self.root = Some(self.mounts.rootfs(&self.plan.rootfs, self.rootfs)?);
                Ok(())
            }
            Step::Sysctl { path, value } => {
                let procfs = match self.procfs.take() {
                    Some(procfs) => procfs,
                    None => Procfs::open()?,
                };
                self.procfs.insert(procfs).sysctl(path, value)
            }
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
            Step::MakeDevices { devices, bind } => device::make_all(root()?, devices, *bind),
            Step::MakeLinks(links) => device::link_all(root()?, links),
            Step::OpenTerminal { uid } => {
                self.console = Some(terminal::open(root()?, self.channel, self.size, *uid)?);
                Ok(())
            }
            Step::Mask(path) => self.mounts.mask(root()?, path),
            Step::Readonly(path) => mount::readonly(root()?, path),
            Step::MakeWorkingDirectory(path) => root()?.make_dir(path).map(|_| ()),
            Step::ReadonlyMounts => self.mounts.finish(),
            Step::ReadonlyRootfs => mount::readonly_root(root()?),
            Step::PivotRoot => mount::pivot(root()?),
            _ => self.process_step(step),
        }
    }

    fn process_step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Hostname(name) => rustix::system::sethostname(name.as_bytes())
                .called(|| format!("sethostname(\"{name}\")")),
            Step::Domainname(name) => rustix::system::setdomainname(name.as_bytes())
                .called(|| format!("setdomainname(\"{name}\")")),
            Step::LoopbackUp => loopback_up(),
            Step::NewSession => {
                setsid().called(|| "setsid()")?;
                match self.console.take() {
                    Some(console) => terminal::control(&console),
                    None => Ok(()),
                }
            }
            Step::Rlimit(limit) => set_limit(*limit),
            Step::WorkingDirectory(path) => enter(path),
            Step::Identity { user, capabilities } => {
                identity::assume(user, capabilities, self.umask)
            }
            Step::NoNewPrivileges => {
                set_no_new_privs(true).called(|| "prctl(PR_SET_NO_NEW_PRIVS, 1)")
            }
            Step::CloseDescriptors => {
                sys::close_range_cloexec(3).called(|| "close_range(3, ~0, CLOEXEC)")
            }
            Step::ResetSignals => sys::reset_signals().called(|| "sigprocmask(SIG_SETMASK, [])"),
            _ => Err(self.execute()),
        }
    }

    fn execute(&self) -> Failure {
        let exec = &self.plan.exec;
        let Some(name) = exec.args.first() else {
            return Failure::new("execve()", Errno::NOENT);
        };
        let image = sys::ExecImage::new(exec.args.clone(), exec.env.clone());
        let mut last = Errno::NOENT;
        for candidate in candidates(name, &exec.env) {
            let errno = image.exec(&candidate);
            match errno {
                // Kept if nothing later in the search path is better.
                Errno::ACCESS => last = errno,
                Errno::NOENT | Errno::NOTDIR => {}
                _ => return Failure::new(format!("execve({candidate:?})"), errno),
            }
        }
        Failure::new(format!("execve({name:?})"), last)
    }
}

/// Where `name` may lie: itself if it has a slash, else each directory of `PATH`.
fn candidates(name: &CStr, env: &[CString]) -> Vec<CString> {
    let bytes = name.to_bytes();
    if bytes.contains(&b'/') {
        return vec![name.to_owned()];
    }
    let path = env
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let path = path.unwrap_or(DEFAULT_PATH.as_bytes());
    let dirs = path.split(|byte| *byte == b':');
    dirs.filter_map(|dir| {
        let dir = if dir.is_empty() { b"." } else { dir };
        CString::new([dir, b"/", bytes].concat()).ok()
    })
    .collect()
}

fn join(kind: NamespaceKind, path: &Path) -> Result<(), Failure> {
    let typ = match kind {
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
        // The specification's check refuses these; joining them would need a second fork.
        NamespaceKind::User | NamespaceKind::Pid | NamespaceKind::Mount => {
            return Err(Failure::new(format!("setns({kind})"), Errno::OPNOTSUPP));
        }
    };
    let file = File::open(path).called(|| format!("open(\"{}\")", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(typ))
        .called(|| format!("setns(\"{}\", {kind})", path.display()))
}

fn become_root() -> Result<(), Failure> {
    set_thread_groups(&[]).called(|| "setgroups(0)")?;
    let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).called(|| "setresgid(0, 0, 0)")?;
    set_thread_res_uid(uid, uid, uid).called(|| "setresuid(0, 0, 0)")
}

fn new_cgroup_namespace() -> Result<(), Failure> {
    sys::unshare_cgroup_namespace().called(|| "unshare(CLONE_NEWCGROUP)")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &CStr, env: &[&CStr]) -> Vec<String> {
        let env: Vec<CString> = env.iter().map(|entry| CString::from(*entry)).collect();
        let found = candidates(name, &env);
        found
            .iter()
            .map(|path| path.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_search_path_is_that_of_the_container() {
        assert_eq!(found(c"sh", &[c"PATH=/a::/b"]), ["/a/sh", "./sh", "/b/sh"]);
        assert_eq!(found(c"./sh", &[c"PATH=/a"]), ["./sh"]);
        assert_eq!(found(c"/bin/sh", &[]), ["/bin/sh"]);
        assert_eq!(found(c"sh", &[]).last().unwrap(), "/bin/sh");
    }
}
