//! `linux.seccomp`: a filter, compiled and ready to be installed.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as RawAction, LinuxSeccompArg,
    LinuxSeccompFilterFlag as RawFlag, LinuxSeccompOperator as RawOperator, LinuxSyscall,
};
use serde::Serialize;

use super::{Error, Problem, rooted};
use crate::seccomp::{
    Action, Architecture, Condition, Filter, Flags, MAX_ERRNO, Operator, Profile, Rule,
};

/// Arguments of a system call.
const ARGUMENTS: usize = 6;

/// What the container's first process sends the listener to its parent with, under the filter.
const HANDS_OVER: &str = "sendmsg";

/// The filter of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seccomp {
    /// What is installed.
    pub filter: Filter,
    /// Who answers for `SCMP_ACT_NOTIFY`; `None` if nothing in the filter has that action.
    pub listener: Option<Listener>,
}

/// The agent of a filter that notifies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Absolute path of its socket on the host.
    pub path: PathBuf,
    /// Passed on as it is.
    pub metadata: Option<String>,
}

impl Seccomp {
    pub(super) fn check(raw: Option<&LinuxSeccomp>) -> Result<Option<Self>, Error> {
        let Some(raw) = raw else { return Ok(None) };
        let profile = profile(raw)?;
        if profile.notifies() && !profile.always_allows(HANDS_OVER) {
            let problem = Problem::MustAllow(HANDS_OVER);
            return Err(Error::invalid("linux.seccomp.syscalls", problem));
        }
        let flags = flags(raw.flags().as_deref());
        let filter = Filter::new(&profile, flags).map_err(|too_long| {
            let problem = Problem::FilterTooLong(too_long.instructions);
            Error::invalid("linux.seccomp.syscalls", problem)
        })?;
        let listener = listener(raw, filter.notifies())?;
        Ok(Some(Self { filter, listener }))
    }
}

fn profile(raw: &LinuxSeccomp) -> Result<Profile, Error> {
    let default = action(
        "linux.seccomp.defaultErrnoRet",
        raw.default_action(),
        raw.default_errno_ret(),
    )?;
    let architectures = raw.architectures().iter().flatten().copied();
    let syscalls = raw.syscalls().iter().flatten().enumerate();
    let rules = syscalls.map(|(at, raw)| rule(&format!("linux.seccomp.syscalls[{at}]"), raw));
    Ok(Profile {
        default,
        architectures: architectures.map(architecture).collect(),
        rules: rules.collect::<Result<_, _>>()?,
    })
}

fn action(errno_key: &str, raw: RawAction, errno: Option<u32>) -> Result<Action, Error> {
    let number = |most: u16| match errno {
        // As the other runtimes do.
        None => Ok(rustix::io::Errno::PERM.raw_os_error() as u16),
        Some(errno) => {
            let small = u16::try_from(errno).ok().filter(|errno| *errno <= most);
            let problem = Problem::OutOfRange(i64::from(errno));
            small.ok_or_else(|| Error::invalid(errno_key, problem))
        }
    };
    let action = match raw {
        RawAction::ScmpActErrno => return Ok(Action::Errno(number(MAX_ERRNO)?)),
        RawAction::ScmpActTrace => return Ok(Action::Trace(number(u16::MAX)?)),
        // As libseccomp has it.
        RawAction::ScmpActKill | RawAction::ScmpActKillThread => Action::KillThread,
        RawAction::ScmpActKillProcess => Action::KillProcess,
        RawAction::ScmpActTrap => Action::Trap,
        RawAction::ScmpActNotify => Action::Notify,
        RawAction::ScmpActLog => Action::Log,
        RawAction::ScmpActAllow => Action::Allow,
    };
    match errno {
        None => Ok(action),
        Some(_) => Err(Error::invalid(errno_key, Problem::NoErrno(raw.to_string()))),
    }
}

/// One entry. Conditions that name an argument twice are alternatives: so runc reads them, and so
/// profiles are written.
fn rule(key: &str, raw: &LinuxSyscall) -> Result<Rule, Error> {
    let action = action(&format!("{key}.errnoRet"), raw.action(), raw.errno_ret())?;
    let names = raw.names();
    if names.is_empty() {
        return Err(Error::invalid(format!("{key}.names"), Problem::Missing));
    }
    for (at, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(Error::invalid(
                format!("{key}.names[{at}]"),
                Problem::Missing,
            ));
        }
    }
    let raw_conditions = raw.args().iter().flatten().enumerate();
    let conditions: Vec<Condition> = raw_conditions
        .map(|(at, raw)| condition(&format!("{key}.args[{at}]"), raw))
        .collect::<Result<_, _>>()?;
    let mut seen = [false; ARGUMENTS];
    let twice = conditions
        .iter()
        .any(|condition| std::mem::replace(&mut seen[usize::from(condition.index)], true));
    Ok(Rule {
        names: names.clone(),
        action,
        alternatives: if twice {
            conditions.into_iter().map(|one| vec![one]).collect()
        } else {
            vec![conditions]
        },
    })
}

fn condition(key: &str, raw: &LinuxSeccompArg) -> Result<Condition, Error> {
    let index = raw.index();
    if index >= ARGUMENTS {
        let number = i64::try_from(index).unwrap_or(i64::MAX);
        let problem = Problem::OutOfRange(number);
        return Err(Error::invalid(format!("{key}.index"), problem));
    }
    let (operator, value) = match raw.op() {
        RawOperator::ScmpCmpNe => (Operator::NotEqual, raw.value()),
        RawOperator::ScmpCmpLt => (Operator::Less, raw.value()),
        RawOperator::ScmpCmpLe => (Operator::LessOrEqual, raw.value()),
        RawOperator::ScmpCmpEq => (Operator::Equal, raw.value()),
        RawOperator::ScmpCmpGe => (Operator::GreaterOrEqual, raw.value()),
        RawOperator::ScmpCmpGt => (Operator::Greater, raw.value()),
        // The first value is the mask; a second one of 0 may be left out.
        RawOperator::ScmpCmpMaskedEq => (
            Operator::MaskedEqual(raw.value()),
            raw.value_two().unwrap_or(0),
        ),
    };
    Ok(Condition {
        index: index as u8,
        operator,
        value,
    })
}

/// Flags that are not given are those that runc and crun take: mitigations that slow every process
/// under a filter down are left to the container (`spec_store_bypass_disable=prctl`). An empty list
/// is none.
fn flags(raw: Option<&[RawFlag]>) -> Flags {
    let Some(raw) = raw else {
        return Flags {
            spec_allow: true,
            ..Flags::default()
        };
    };
    Flags {
        tsync: raw.contains(&RawFlag::SeccompFilterFlagTsync),
        log: raw.contains(&RawFlag::SeccompFilterFlagLog),
        spec_allow: raw.contains(&RawFlag::SeccompFilterFlagSpecAllow),
        wait_killable: raw.contains(&RawFlag::SeccompFilterFlagWaitKillableRecv),
    }
}

fn listener(raw: &LinuxSeccomp, notifies: bool) -> Result<Option<Listener>, Error> {
    let key = "linux.seccomp.listenerPath";
    let path = raw.listener_path().as_deref();
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let metadata = raw.listener_metadata().clone();
    let metadata = metadata.filter(|metadata| !metadata.is_empty());
    match path {
        None if notifies => Err(Error::invalid(key, Problem::NoListener)),
        None if metadata.is_some() => {
            let key = "linux.seccomp.listenerMetadata";
            Err(Error::invalid(key, Problem::NeedsListener))
        }
        // Ignored where there is nothing to notify of (OCI runtime specification).
        Some(path) if notifies => Ok(Some(Listener {
            path: rooted(key, Path::new(path))?,
            metadata,
        })),
        _ => Ok(None),
    }
}

fn architecture(raw: Arch) -> Architecture {
    match raw {
        Arch::ScmpArchNative => Architecture::NATIVE,
        Arch::ScmpArchX86 => Architecture::X86,
        Arch::ScmpArchX86_64 => Architecture::X86_64,
        Arch::ScmpArchX32 => Architecture::X32,
        Arch::ScmpArchArm => Architecture::Arm,
        Arch::ScmpArchAarch64 => Architecture::Aarch64,
        Arch::ScmpArchMips => Architecture::Mips,
        Arch::ScmpArchMips64 => Architecture::Mips64,
        Arch::ScmpArchMips64n32 => Architecture::Mips64N32,
        Arch::ScmpArchMipsel => Architecture::Mipsel,
        Arch::ScmpArchMipsel64 => Architecture::Mipsel64,
        Arch::ScmpArchMipsel64n32 => Architecture::Mipsel64N32,
        Arch::ScmpArchPpc => Architecture::Ppc,
        Arch::ScmpArchPpc64 => Architecture::Ppc64,
        Arch::ScmpArchPpc64le => Architecture::Ppc64Le,
        Arch::ScmpArchS390 => Architecture::S390,
        Arch::ScmpArchS390x => Architecture::S390X,
        Arch::ScmpArchParisc => Architecture::Parisc,
        Arch::ScmpArchParisc64 => Architecture::Parisc64,
        Arch::ScmpArchRiscv64 => Architecture::Riscv64,
        Arch::ScmpArchLoongarch64 => Architecture::Loongarch64,
        Arch::ScmpArchM68k => Architecture::M68k,
        Arch::ScmpArchSh => Architecture::Sh,
        Arch::ScmpArchSheb => Architecture::Sheb,
    }
}
