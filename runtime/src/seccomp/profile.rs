//! A checked profile: what is to happen on which system call.

use super::Architecture;
use super::outcome::{Outcome, outcomes};
use super::table::Table;

/// Highest errno that the kernel gives back (`MAX_ERRNO`).
pub const MAX_ERRNO: u16 = 4095;

/// What happens on a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The process dies of SIGSYS, with all its threads.
    KillProcess,
    /// The thread dies of SIGSYS.
    KillThread,
    /// The thread gets SIGSYS, which it may handle.
    Trap,
    /// The call fails with this errno, up to [`MAX_ERRNO`].
    Errno(u16),
    /// An agent decides.
    Notify,
    /// A tracer decides, and is told this number; without one the call fails with ENOSYS.
    Trace(u16),
    /// The call is made, and logged.
    Log,
    /// The call is made.
    Allow,
}

impl Action {
    /// `SECCOMP_RET_*` with its data (`include/uapi/linux/seccomp.h`). As signed numbers, smaller
    /// is stricter.
    pub(super) fn returned(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Self::Notify => 0x7fc0_0000,
            Self::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// Whether the call cannot do more under `self` than under `other`.
    pub(super) fn is_stricter_than(self, other: Self) -> bool {
        let rank = |action: Self| (action.returned() & 0xffff_0000) as i32;
        rank(self) < rank(other)
    }
}

/// How an argument is compared with a value, both as unsigned numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `SCMP_CMP_NE`.
    NotEqual,
    /// `SCMP_CMP_LT`.
    Less,
    /// `SCMP_CMP_LE`.
    LessOrEqual,
    /// `SCMP_CMP_EQ`.
    Equal,
    /// `SCMP_CMP_GE`.
    GreaterOrEqual,
    /// `SCMP_CMP_GT`.
    Greater,
    /// `SCMP_CMP_MASKED_EQ`: the bits of this mask are equal.
    MaskedEqual(u64),
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: u64,
}

/// One entry of `linux.seccomp.syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of system calls; one that an architecture does not have means nothing there.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// One of these must hold, which is to say all conditions in it; one without any always does.
    pub alternatives: Vec<Vec<Condition>>,
}

/// What a filter is compiled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For system calls without a rule.
    pub default: Action,
    /// Besides the native one, which is always in.
    pub architectures: Vec<Architecture>,
    /// In order.
    pub rules: Vec<Rule>,
}

impl Profile {
    /// Whether a system call can be left to an agent.
    pub(crate) fn notifies(&self) -> bool {
        let rules = self.rules.iter().map(|rule| rule.action);
        rules
            .chain([self.default])
            .any(|action| action == Action::Notify)
    }

    /// Whether this machine's own system call `name` is made whatever its arguments.
    pub(crate) fn always_allows(&self, name: &str) -> bool {
        let native = Architecture::NATIVE;
        let Some(number) = Table::of(native).and_then(|table| table.number(name)) else {
            return false;
        };
        let starts = outcomes(self, native).ok().flatten().unwrap_or_default();
        let outcome = starts.range(..=number).next_back();
        matches!(
            outcome,
            Some((_, Outcome::Always(Action::Allow | Action::Log)))
        )
    }
}
