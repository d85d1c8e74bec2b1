//! Seccomp filters: `linux.seccomp` compiled to classic BPF.
//!
//! Pure but for [`Filter::install`] and [`notify`]. The programs are made by the parent; all that
//! is left to the container's first process is one system call.
//!
//! Reading order:
//! - [`Profile`]: what is asked for
//! - `table`: numbers of system calls; `arch`: architectures
//! - `outcome`: what happens on each number
//! - `compile` and `assemble`: the program
//! - `appending`: the filter that holds what a policy lets be added to
//! - [`notify`]: the agent that answers for `SCMP_ACT_NOTIFY`
//!
//! Where the OCI specification is silent it goes as with runc over libseccomp; `outcome` says how.
//! Two differences make filters stricter: a call that can also be made through `socketcall` or
//! `ipc` is not let through there by conditions that cannot be looked at, and arguments of x32 are
//! compared in full.

mod appending;
mod arch;
mod assemble;
mod compile;
pub mod notify;
mod outcome;
mod profile;
mod table;

use std::fmt;
use std::os::fd::OwnedFd;

use serde::{Serialize, Serializer};

pub use arch::Architecture;
pub(crate) use assemble::Instruction;
pub(crate) use compile::TooLong;
pub use profile::{Action, Condition, MAX_ERRNO, Operator, Profile, Rule};

use crate::failure::{Called, Failure};
use crate::sys;

/// Flags of seccomp(2) that a profile can ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flags {
    /// `SECCOMP_FILTER_FLAG_TSYNC`.
    pub tsync: bool,
    /// `SECCOMP_FILTER_FLAG_LOG`.
    pub log: bool,
    /// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
    pub spec_allow: bool,
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`; means nothing without a listener.
    pub wait_killable: bool,
}

impl Flags {
    fn bits(self, listener: bool) -> libc::c_ulong {
        const TSYNC: libc::c_ulong = 1;
        const LOG: libc::c_ulong = 1 << 1;
        const SPEC_ALLOW: libc::c_ulong = 1 << 2;
        const NEW_LISTENER: libc::c_ulong = 1 << 3;
        const TSYNC_ESRCH: libc::c_ulong = 1 << 4;
        const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
        [
            (self.tsync, TSYNC),
            (self.log, LOG),
            (self.spec_allow, SPEC_ALLOW),
            (listener, NEW_LISTENER),
            // Without it the kernel does not take the two together.
            (self.tsync && listener, TSYNC_ESRCH),
            (self.wait_killable && listener, WAIT_KILLABLE_RECV),
        ]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .fold(0, |bits, (_, bit)| bits | bit)
    }

    fn names(self) -> Vec<&'static str> {
        [
            (self.tsync, "tsync"),
            (self.log, "log"),
            (self.spec_allow, "spec-allow"),
            (self.wait_killable, "wait-killable"),
        ]
        .into_iter()
        .filter_map(|(wanted, name)| wanted.then_some(name))
        .collect()
    }
}

/// A compiled filter.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// Serialized as the number of its instructions.
    #[serde(rename = "instructions", serialize_with = "as_length")]
    program: Vec<Instruction>,
    flags: Flags,
    notifies: bool,
}

fn as_length<S: Serializer>(program: &[Instruction], to: S) -> Result<S::Ok, S::Error> {
    program.len().serialize(to)
}

impl Filter {
    /// Compiles `profile` for this machine.
    pub(crate) fn new(profile: &Profile, flags: Flags) -> Result<Self, TooLong> {
        Ok(Self {
            program: compile::compile(profile, Architecture::NATIVE)?,
            flags,
            notifies: profile.notifies(),
        })
    }

    /// Whether a system call can be left to an agent.
    pub fn notifies(&self) -> bool {
        self.notifies
    }

    /// Puts the calling thread, and what it executes and forks, under the filter, for good. Gives
    /// back the listener (close-on-exec) if the filter notifies an agent.
    ///
    /// Needs `no_new_privs`, or `CAP_SYS_ADMIN` in the caller's user namespace.
    pub fn install(&self) -> Result<Option<OwnedFd>, Failure> {
        let flags = self.flags.bits(self.notifies);
        sys::install_filter(&self.program, flags, self.notifies).called(|| {
            let length = self.program.len();
            format!("seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, {length} instructions)")
        })
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({self})")
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} instructions", self.program.len())?;
        for name in self.flags.names() {
            write!(f, ", {name}")?;
        }
        if self.notifies {
            f.write_str(", notifies an agent")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
