//! `linux.resources.memory`.

use oci_spec::runtime::LinuxMemory;
use serde::Serialize;

use super::{Error, given, out_of_range, unknown};

/// Limits of memory, in bytes; −1 is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit, under which memory is spared when it is short.
    pub reservation: Option<i64>,
    /// Limit of memory and swap together, as version 1 counts.
    pub swap: Option<i64>,
    /// Limit of the kernel's buffers for TCP (version 1).
    pub kernel_tcp: Option<i64>,
    /// How readily anonymous memory is swapped, 0 to 200 (version 1).
    pub swappiness: Option<u64>,
    /// Whether processes wait for memory instead of being killed (version 1).
    pub disable_oom_killer: bool,
    /// Whether a limit below what is used now is an error.
    pub check_before_update: bool,
}

impl Memory {
    pub(super) fn check(raw: &LinuxMemory) -> Result<Self, Error> {
        #[allow(
            deprecated,
            reason = "engines still write the key, and no kernel that reeve runs on has it"
        )]
        if let Some(bytes) = given(raw.kernel()) {
            tracing::debug!(
                bytes,
                "linux.resources.memory.kernel has no effect: Linux counts kernel memory as memory"
            );
        }
        for (name, value) in [
            ("memory.limit", raw.limit()),
            ("memory.reservation", raw.reservation()),
            ("memory.swap", raw.swap()),
            ("memory.kernelTCP", raw.kernel_tcp()),
        ] {
            if let Some(value) = value.filter(|value| *value < -1) {
                return Err(out_of_range(name, value));
            }
        }
        if let Some(value) = raw.swappiness().filter(|value| *value > 200) {
            return Err(out_of_range("memory.swappiness", value));
        }
        // Every kernel that reeve runs on counts what is below a group to it as well.
        if raw.use_hierarchy() == Some(false) {
            return Err(unknown("memory.useHierarchy", "false"));
        }
        let memory = Self {
            limit: given(raw.limit()),
            reservation: given(raw.reservation()),
            swap: given(raw.swap()),
            kernel_tcp: given(raw.kernel_tcp()),
            swappiness: raw.swappiness(),
            disable_oom_killer: raw.disable_oom_killer().unwrap_or(false),
            check_before_update: raw.check_before_update().unwrap_or(false),
        };
        match (memory.limit, memory.swap) {
            // Less than nothing would be left for swap.
            (Some(limit), Some(swap)) if swap >= 0 && (limit < 0 || swap < limit) => {
                Err(out_of_range("memory.swap", swap))
            }
            _ => Ok(memory),
        }
    }
}
