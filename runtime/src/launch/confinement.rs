//! The proof without which no process is let go.

use ebpf_loader::PolicyAttached;

use crate::plan::{LaunchPlan, PlannedConfinement};
use crate::state::State;

/// Why the first process may be let go.
#[derive(Debug)]
#[must_use = "the process may only be let go with it"]
pub enum Confinement {
    /// Its policy is attached to it.
    Policy(PolicyAttached),
    /// Nobody asked for a policy.
    None(NoPolicyAsked),
}

/// The word of the plan, or of the state that was written by it, that the container has no policy.
/// There is no other way to make one.
#[derive(Debug)]
pub struct NoPolicyAsked(());

impl NoPolicyAsked {
    /// `None` if the plan names a policy.
    pub fn of(plan: &LaunchPlan) -> Option<Self> {
        match plan.confinement {
            PlannedConfinement::None => Some(Self(())),
            PlannedConfinement::Policy(_) => None,
        }
    }

    /// `None` if the container was made with a policy.
    pub fn of_state(state: &State) -> Option<Self> {
        state.policy.is_none().then_some(Self(()))
    }
}
