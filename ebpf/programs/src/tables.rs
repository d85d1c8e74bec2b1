//! The decision's tables over the maps.

use ebpf_common::abi::*;
use ebpf_common::lookup::{CapabilityUse, Lookup};

use crate::forget::Forget;
use crate::maps::*;

/// [`Lookup`] over the maps.
pub(crate) struct Tables;

macro_rules! copied {
    ($map:ident, $key:expr) => {
        // SAFETY: entries are written whole by the loader before their policy is in use, and only
        // removed after it.
        unsafe { $map.get(&$key) }.copied()
    };
}

impl Lookup for Tables {
    #[inline(always)]
    fn policy(&self, id: PolicyId) -> Option<PolicyHeader> {
        copied!(POLICIES, id)
    }

    #[inline(always)]
    fn file(&self, key: InodeKey) -> Option<FileRule> {
        copied!(FILES, key)
    }

    #[inline(always)]
    fn super_block(&self, key: SuperKey) -> Option<SuperRule> {
        // Whatever its policy is by now, what it mounted stays the container's.
        let policy = key.policy.container();
        copied!(SUPERS, SuperKey { policy, ..key })
    }

    #[inline(always)]
    fn device(&self, key: DeviceKey) -> Option<RightsRule> {
        copied!(DEVICES, key)
    }

    #[inline(always)]
    fn mount(&self, key: MountKey) -> Option<MountRule> {
        copied!(MOUNTS, key)
    }

    #[inline(always)]
    fn capability(&self, key: CapabilityKey, syscall: Option<u32>) -> Option<CapabilityUse> {
        // SAFETY: as above.
        unsafe { CAPABILITIES.get(&key) }.map(|rule| rule.used_in(syscall))
    }

    #[inline(always)]
    fn process(&self, key: ProcessKey) -> Option<ProcessRule> {
        copied!(PROCESSES, key)
    }

    #[inline(always)]
    fn module(&self, key: InodeKey) -> Option<RightsRule> {
        copied!(MODULES, key)
    }

    #[inline(always)]
    fn grant(&self, key: GrantKey) -> Option<RightsRule> {
        copied!(GRANTS, key)
    }

    #[inline(always)]
    fn ioctl(&self, key: IoctlKey) -> bool {
        // SAFETY: as above.
        unsafe { IOCTLS.get(&key) }.is_some()
    }

    #[inline(always)]
    fn uses_of_device(&self, dev: u32) -> u32 {
        // A device that nobody counts has no rule that holds.
        copied!(DEVICE_USES, dev).unwrap_or(u32::MAX)
    }

    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        value.forget()
    }
}
