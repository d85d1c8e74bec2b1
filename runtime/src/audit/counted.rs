//! How much was recorded of a container, and how much was not.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ebpf_common::PolicyId;
use ebpf_common::abi::Counters;
use ebpf_loader::Enforcer;
use serde::{Deserialize, Serialize};

use super::{Error, log, registry};

/// What the kernel side counted of a container. Field names are stable; new ones may be added.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Counted {
    /// Microseconds since the epoch when it was counted.
    pub time_us: u64,
    /// Id of the container.
    pub container: String,
    /// Entries that were recorded.
    pub recorded: u64,
    /// Entries that came too fast and were left out.
    pub suppressed: u64,
    /// Entries that found the buffer full.
    pub lost: u64,
}

impl Counted {
    fn of(container: String, counters: &Counters) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let micros = now.map(|now| now.as_micros()).unwrap_or_default();
        Self {
            time_us: u64::try_from(micros).unwrap_or(u64::MAX),
            container,
            recorded: counters.recorded,
            suppressed: counters.suppressed,
            lost: counters.lost,
        }
    }

    /// Whether something is missing in the log.
    pub fn has_gaps(&self) -> bool {
        self.suppressed > 0 || self.lost > 0
    }
}

impl fmt::Display for Counted {
    /// A line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            container,
            recorded,
            suppressed,
            lost,
            ..
        } = self;
        let container = super::printable(container);
        write!(
            f,
            "{container}: {recorded} entries were recorded; {suppressed} came too fast and were \
             left out, {lost} were lost to a full buffer"
        )
    }
}

/// The counters of every container that has a policy now.
///
/// # Errors
/// A failed call.
pub fn living(root: &Path) -> Result<Vec<Counted>, Error> {
    if !ebpf_loader::host::is_loaded() {
        return Ok(Vec::new());
    }
    let Some(enforcer) = Enforcer::open()? else {
        return Ok(Vec::new());
    };
    let known: BTreeSet<(u32, String)> = registry::all(root)
        .into_iter()
        .map(|(policy, container)| (policy.container().0, container))
        .collect();
    let mut found = Vec::new();
    for (policy, container) in known {
        let counters = enforcer.counters(PolicyId(policy))?;
        found.extend(counters.map(|counters| Counted::of(container, &counters)));
    }
    Ok(found)
}

/// Moves to the log what waits in the ring buffer of a container that ends, and notes what is
/// missing there.
///
/// # Errors
/// A failed call, or a log that cannot be written.
pub fn close(root: &Path, enforcer: &Enforcer, policy: PolicyId) -> Result<(), Error> {
    let counters = enforcer.counters(policy)?.unwrap_or_default();
    if counters.recorded > 0 {
        log::drain(root)?;
    }
    if counters.suppressed == 0 && counters.lost == 0 {
        return Ok(());
    }
    match registry::owner(root, policy) {
        Some(container) => log::append(root, &Counted::of(container, &counters)),
        None => Ok(()),
    }
}
