//! Writing a policy's tables into the maps under its number.

use ebpf_common::PolicyId;
use ebpf_common::abi::{CapabilityKey, DeviceKey, InodeKey, MountKey, SuperKey};
use policy::{Inode, Tables};

use crate::Error;
use crate::maps::Maps;

/// Writes everything, the header last: a policy without a header refuses, so a half-written one is
/// never looser.
///
/// # Errors
/// A full map, or a failed call.
pub(crate) fn write(maps: &Maps, policy: PolicyId, tables: &Tables) -> Result<(), Error> {
    let inode_key = |inode: &Inode| InodeKey {
        policy,
        dev: inode.dev,
        ino: inode.ino,
    };
    for (inode, rule) in &tables.files {
        maps.set("FILES", &inode_key(inode), rule)?;
    }
    for (inode, rule) in &tables.processes {
        maps.set("PROCESSES", &inode_key(inode), rule)?;
    }
    for (inode, rule) in &tables.modules {
        maps.set("MODULES", &inode_key(inode), rule)?;
    }
    for (dev, rule) in &tables.supers {
        maps.set("SUPERS", &SuperKey { policy, dev: *dev }, rule)?;
    }
    for (device, rule) in &tables.devices {
        let policy::Device {
            class,
            major,
            minor,
        } = *device;
        maps.set(
            "DEVICES",
            &DeviceKey {
                policy,
                class,
                major,
                minor,
            },
            rule,
        )?;
    }
    for (fs_type, rule) in &tables.mounts {
        maps.set(
            "MOUNTS",
            &MountKey {
                fs_type: *fs_type,
                policy,
                reserved: 0,
            },
            rule,
        )?;
    }
    for (capability, rule) in &tables.capabilities {
        let key = CapabilityKey {
            policy,
            capability: *capability,
        };
        maps.set("CAPABILITIES", &key, rule)?;
    }
    maps.set("POLICIES", &policy, &tables.header)
}
