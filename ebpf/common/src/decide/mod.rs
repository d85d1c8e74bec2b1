//! The decision: one module per section of a policy, each a pure function of the tables and of what
//! the hook saw.
//!
//! Invariants: a look-up that finds nothing refuses; the fixed core is tested before any grant; a
//! refusal carries the errno that an unprivileged caller of the same call gets.

pub mod capability;
pub mod file;
pub mod ioctl;
pub mod ipc;
pub mod kernel;
pub mod mount;
pub mod process;
pub mod rename;
pub mod socket;
pub mod sysctl;

pub use file::{FileObject, effective_rights};

use crate::abi::{NO_RULE, PolicyHeader, Section};
use crate::rights::Rights;

/// Why a decision came out as it did; the number is in the audit event.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A grant of the policy (or its being the container's own) allows it.
    Granted = 0,
    /// No line of the policy names the object.
    NoGrant = 1,
    /// The nearest line that names the object does not give this right.
    NotInGrant = 2,
    /// The fixed core, which no policy can open.
    Core = 3,
    /// The object would have more rights at its new place than at its old one.
    Widening = 4,
    /// The object's place could not be told within the bound of the walk.
    TooDeep = 5,
    /// The tables of the task's policy are gone.
    NoPolicy = 6,
}

impl Reason {
    /// The reason of this number; unknown numbers are [`Reason::NoPolicy`].
    pub fn from_number(number: u32) -> Self {
        [
            Self::Granted,
            Self::NoGrant,
            Self::NotInGrant,
            Self::Core,
            Self::Widening,
            Self::TooDeep,
        ]
        .into_iter()
        .find(|reason| *reason as u32 == number)
        .unwrap_or(Self::NoPolicy)
    }

    /// A few words for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::NoGrant => "no grant names it",
            Self::NotInGrant => "the nearest grant does not give this right",
            Self::Core => "protected core of Reeve, which no policy opens",
            Self::Widening => "it would have more rights at its new place",
            Self::TooDeep => "it lies deeper than Reeve looks",
            Self::NoPolicy => "the container's policy is gone",
        }
    }
}

/// The answer of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// 0 to allow, otherwise the errno to refuse with (positive).
    pub errno: i32,
    /// Why.
    pub reason: Reason,
    /// Index of the grant that decided, or [`NO_RULE`].
    pub rule: u32,
}

impl Verdict {
    /// Allowed by a rule.
    #[inline(always)]
    pub const fn allow(rule: u32) -> Self {
        Self {
            errno: 0,
            reason: Reason::Granted,
            rule,
        }
    }

    /// Refused.
    #[inline(always)]
    pub const fn refuse(errno: i32, reason: Reason, rule: u32) -> Self {
        Self {
            errno,
            reason,
            rule,
        }
    }

    /// Refused because nothing names the object.
    #[inline(always)]
    pub const fn no_grant(errno: i32) -> Self {
        Self::refuse(errno, Reason::NoGrant, NO_RULE)
    }

    /// The same refusal of what an unprivileged caller lacks ownership for, whatever the mode.
    #[inline(always)]
    pub const fn as_to_owner(self) -> Self {
        Self {
            errno: crate::errno::EPERM,
            ..self
        }
    }

    /// Whether the action may go on.
    #[inline(always)]
    pub const fn allowed(self) -> bool {
        self.errno == 0
    }

    /// Whether the refusal stands under `header`: in audit mode it is recorded and let through, but
    /// never for the fixed core.
    #[inline(always)]
    pub const fn enforced(self, header: &PolicyHeader, section: Section) -> bool {
        self.errno != 0
            && (matches!(self.reason, Reason::Core | Reason::NoPolicy)
                || header.audit >> (section as u32) & 1 == 0)
    }
}

/// `EACCES` or `EPERM`, whichever an unprivileged caller gets for this kind of change.
#[inline(always)]
pub(crate) const fn file_errno(want: Rights) -> i32 {
    let by_owner = Rights::CHMOD
        .union(Rights::CHOWN)
        .union(Rights::TIMES)
        .union(Rights::FLAGS)
        .union(Rights::IOCTL);
    if want.0 & by_owner.0 != 0 {
        crate::errno::EPERM
    } else {
        crate::errno::EACCES
    }
}

#[cfg(test)]
mod grants_tests;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod tests;
