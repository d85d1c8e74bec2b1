//! The entry process: arguments, user, capabilities, limits.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Capabilities as RawCapabilities, PosixRlimit, PosixRlimitType, Process as RawProcess,
};
use rustix::thread::CapabilitySet;
use serde::{Serialize, Serializer};

use super::{Error, ExecAffinity, IoPriority, Problem, Scheduler, rooted};

/// What is executed, and as whom.
#[derive(Debug, Clone)]
pub struct Process {
    /// At least one.
    pub args: Vec<CString>,
    /// `NAME=value`.
    pub env: Vec<CString>,
    /// Working directory in the container.
    pub cwd: PathBuf,
    /// Whether it gets a terminal of its own.
    pub terminal: bool,
    /// Columns and rows of that terminal, if the configuration says.
    pub console_size: Option<(u16, u16)>,
    /// User and groups.
    pub user: UserIds,
    /// The five sets; a configuration without any gives five empty ones.
    pub capabilities: Capabilities,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// CPU scheduling.
    pub scheduler: Option<Scheduler>,
    /// I/O scheduling.
    pub io_priority: Option<IoPriority>,
    /// CPUs of processes that are executed in the running container.
    pub exec_affinity: ExecAffinity,
}

/// User and groups of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UserIds {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
}

/// The five capability sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// What no `execve` can ever give back beyond.
    #[serde(serialize_with = "as_names")]
    pub bounding: CapabilitySet,
    /// In use.
    #[serde(serialize_with = "as_names")]
    pub effective: CapabilitySet,
    /// Kept over `execve` of files that inherit.
    #[serde(serialize_with = "as_names")]
    pub inheritable: CapabilitySet,
    /// At hand.
    #[serde(serialize_with = "as_names")]
    pub permitted: CapabilitySet,
    /// Kept over `execve` without file capabilities.
    #[serde(serialize_with = "as_names")]
    pub ambient: CapabilitySet,
}

fn as_names<S: Serializer>(set: &CapabilitySet, to: S) -> Result<S::Ok, S::Error> {
    CapabilityNames(*set).names().serialize(to)
}

/// Prints a set as its names.
pub struct CapabilityNames(pub CapabilitySet);

impl CapabilityNames {
    /// `CAP_…`, in order of their numbers.
    pub fn names(&self) -> Vec<String> {
        let names = self.0.iter_names().map(|(name, _)| format!("CAP_{name}"));
        names.collect()
    }
}

impl std::fmt::Display for CapabilityNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.bits().count_ones() {
            0 => f.write_str("none"),
            41 => f.write_str("all"),
            _ => f.write_str(&self.names().join(" ")),
        }
    }
}

/// A resource, by the kernel's own number (`RLIMIT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(
    missing_docs,
    reason = "each is the `RLIMIT_*` constant of its name, see getrlimit(2)"
)]
pub enum Resource {
    Cpu,
    Fsize,
    Data,
    Stack,
    Core,
    Rss,
    Nproc,
    Nofile,
    Memlock,
    As,
    Locks,
    Sigpending,
    Msgqueue,
    Nice,
    Rtprio,
    Rttime,
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rlimit {
    /// Of what.
    pub resource: Resource,
    /// In force; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Ceiling.
    pub hard: u64,
}

impl Process {
    /// Tells the process of sockets that a service manager passed (sd_listen_fds(3)); it is
    /// process 1 of its pid namespace.
    pub fn pass_sockets(&mut self, count: u32) {
        for entry in [format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()] {
            // Digits hold no NUL.
            self.env.extend(CString::new(entry));
        }
    }

    pub(super) fn check(raw: &RawProcess) -> Result<Self, Error> {
        let args = raw.args().as_deref().unwrap_or_default();
        if args.first().is_none_or(|name| name.is_empty()) {
            return Err(Error::invalid("process.args", Problem::Missing));
        }
        let env = raw.env().as_deref().unwrap_or_default();
        for (at, entry) in env.iter().enumerate() {
            // A name of its own, then `=`: an entry that starts with `=` has no name.
            if entry.find('=').is_none_or(|equals| equals == 0) {
                let problem = Problem::NotAnAssignment(entry.clone());
                return Err(Error::invalid(format!("process.env[{at}]"), problem));
            }
        }
        let user = raw.user();
        let console = raw.console_size();
        let scheduler = raw.scheduler().as_ref().map(Scheduler::check);
        let io_priority = raw.io_priority().as_ref().map(IoPriority::check);
        Ok(Self {
            args: strings("process.args", args)?,
            env: strings("process.env", env)?,
            cwd: rooted("process.cwd", Path::new(raw.cwd()))?,
            terminal: raw.terminal().unwrap_or(false),
            console_size: console.as_ref().map(|size| {
                let cell = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
                (cell(size.width()), cell(size.height()))
            }),
            user: UserIds {
                uid: an_id("process.user.uid", user.uid())?,
                gid: an_id("process.user.gid", user.gid())?,
                additional_gids: groups(user.additional_gids().as_deref().unwrap_or_default())?,
                umask: user.umask(),
            },
            capabilities: Capabilities::check(raw)?,
            rlimits: check_rlimits(raw.rlimits().as_deref().unwrap_or_default())?,
            no_new_privileges: raw.no_new_privileges().unwrap_or(false),
            oom_score_adj: raw.oom_score_adj(),
            scheduler: scheduler.transpose()?,
            io_priority: io_priority.transpose()?,
            exec_affinity: ExecAffinity::check(raw.exec_cpu_affinity().as_ref())?,
        })
    }
}

/// A user or group id. The highest number is none: to the kernel it means "unchanged", and so the
/// id of the runtime.
pub(super) fn an_id(key: &str, id: u32) -> Result<u32, Error> {
    match id {
        u32::MAX => Err(Error::invalid(key, Problem::OutOfRange(i64::from(id)))),
        id => Ok(id),
    }
}

fn groups(raw: &[u32]) -> Result<Vec<u32>, Error> {
    let raw = raw.iter().enumerate();
    raw.map(|(at, gid)| an_id(&format!("process.user.additionalGids[{at}]"), *gid))
        .collect()
}

pub(super) fn strings(key: &str, from: &[String]) -> Result<Vec<CString>, Error> {
    let from = from.iter().enumerate();
    from.map(|(at, text)| {
        CString::new(text.as_str())
            .map_err(|_| Error::invalid(format!("{key}[{at}]"), Problem::Nul))
    })
    .collect()
}

impl Capabilities {
    fn check(raw: &RawProcess) -> Result<Self, Error> {
        let raw = raw.capabilities();
        let set = |set: fn(&oci_spec::runtime::LinuxCapabilities) -> &Option<RawCapabilities>| {
            numbers(raw.as_ref().and_then(|raw| set(raw).as_ref()))
        };
        let sets = Self {
            bounding: set(|raw| raw.bounding()),
            effective: set(|raw| raw.effective()),
            inheritable: set(|raw| raw.inheritable()),
            permitted: set(|raw| raw.permitted()),
            ambient: set(|raw| raw.ambient()),
        };
        let beyond = sets.effective.difference(sets.permitted);
        if !beyond.is_empty() {
            let problem = Problem::NotPermitted(CapabilityNames(beyond).to_string());
            return Err(Error::invalid("process.capabilities.effective", problem));
        }
        Ok(sets)
    }

    /// The ambient capabilities that the kernel will take: those both permitted and inheritable.
    /// Configurations made since CVE-2022-29162 name ambient ones without making them inheritable;
    /// other runtimes drop them, so does this.
    pub fn possible_ambient(&self) -> CapabilitySet {
        self.ambient
            .intersection(self.permitted)
            .intersection(self.inheritable)
    }

    /// Refuses capabilities that the caller does not hold.
    pub fn refuse_beyond(&self, held: CapabilitySet) -> Result<(), Error> {
        for (key, set) in [
            ("process.capabilities.permitted", self.permitted),
            ("process.capabilities.inheritable", self.inheritable),
        ] {
            let beyond = set.difference(held);
            if !beyond.is_empty() {
                let problem = Problem::NotHeld(CapabilityNames(beyond).to_string());
                return Err(Error::invalid(key, problem));
            }
        }
        Ok(())
    }
}

fn numbers(names: Option<&RawCapabilities>) -> CapabilitySet {
    // Both sides name them as `include/uapi/linux/capability.h` does, without the prefix; a test
    // holds them together.
    let names = names.into_iter().flatten().map(|name| name.to_string());
    names
        .filter_map(|name| CapabilitySet::from_name(&name))
        .collect()
}

fn check_rlimits(raw: &[PosixRlimit]) -> Result<Vec<Rlimit>, Error> {
    let mut seen = BTreeSet::new();
    let mut limits = Vec::with_capacity(raw.len());
    for (at, limit) in raw.iter().enumerate() {
        let key = || format!("process.rlimits[{at}]");
        let (soft, hard) = (limit.soft(), limit.hard());
        let resource = resource(limit.typ());
        if !seen.insert(resource as u32) {
            let problem = Problem::Twice(format!("{resource:?}"));
            return Err(Error::invalid(key(), problem));
        }
        if soft > hard {
            return Err(Error::invalid(key(), Problem::SoftAboveHard { soft, hard }));
        }
        limits.push(Rlimit {
            resource,
            soft,
            hard,
        });
    }
    Ok(limits)
}

fn resource(raw: PosixRlimitType) -> Resource {
    use PosixRlimitType as Raw;
    match raw {
        Raw::RlimitCpu => Resource::Cpu,
        Raw::RlimitFsize => Resource::Fsize,
        Raw::RlimitData => Resource::Data,
        Raw::RlimitStack => Resource::Stack,
        Raw::RlimitCore => Resource::Core,
        Raw::RlimitRss => Resource::Rss,
        Raw::RlimitNproc => Resource::Nproc,
        Raw::RlimitNofile => Resource::Nofile,
        Raw::RlimitMemlock => Resource::Memlock,
        Raw::RlimitAs => Resource::As,
        Raw::RlimitLocks => Resource::Locks,
        Raw::RlimitSigpending => Resource::Sigpending,
        Raw::RlimitMsgqueue => Resource::Msgqueue,
        Raw::RlimitNice => Resource::Nice,
        Raw::RlimitRtprio => Resource::Rtprio,
        Raw::RlimitRttime => Resource::Rttime,
    }
}
