//! The decision's tables over the maps.

use aya_ebpf::maps::lpm_trie::Key;
use ebpf_common::abi::*;
use ebpf_common::lookup::{CapabilityUse, Lookup};
use ebpf_common::socket::{Asked, NameKey, PlaceKey, SocketAnswer, UnixRule};

use crate::maps::*;
use crate::verifier::Forget;

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
    fn socket(&self, policy: PolicyId, asked: &Asked) -> Option<SocketAnswer> {
        if !asked.by_address() {
            // SAFETY: as above.
            return unsafe { SOCKETS.get(&policy) }.map(|kinds| kinds.answer(asked));
        }
        let PlaceKey {
            prefix,
            policy,
            selector,
            address,
        } = PlaceKey::of(policy, asked.kind, &asked.address);
        let mut data = [0; 24];
        data[..4].copy_from_slice(&policy.0.to_ne_bytes());
        data[4..8].copy_from_slice(&selector.to_ne_bytes());
        data[8..].copy_from_slice(&address);
        let found = SOCKET_PLACES.get(Key::new(prefix, data));
        found.map(|rules| rules.answer(asked))
    }

    #[inline(always)]
    fn unix_path(&self, key: InodeKey) -> Option<UnixRule> {
        copied!(UNIX_PATHS, key)
    }

    #[inline(always)]
    fn unix_name(&self, key: NameKey) -> Option<UnixRule> {
        copied!(UNIX_NAMES, key)
    }

    #[inline(always)]
    fn network(&self, policy: PolicyId) -> Option<u32> {
        copied!(NETWORKS, policy.container())
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
