//! Writing a policy's tables into the maps under its number, and removing them.
//!
//! Rules are kept for each generation of a container's policy; what the container is (its super
//! blocks, its cgroup, its counters) only once, under the container's number.

use ebpf_common::PolicyId;
use ebpf_common::abi::{CapabilityKey, Counters, DeviceKey, InodeKey, MountKey, SuperKey};
use policy::{Device, Inode, Tables};

use crate::Error;
use crate::maps::Maps;

/// Writes what belongs to a container before its first policy.
///
/// # Errors
/// A full map, or a failed call.
pub(crate) fn begin(maps: &Maps, policy: PolicyId, tables: &Tables) -> Result<(), Error> {
    let policy = policy.container();
    maps.set("COUNTERS", &policy, &Counters::default())?;
    for (dev, rule) in &tables.supers {
        maps.set("SUPERS", &SuperKey { policy, dev: *dev }, rule)?;
    }
    Ok(())
}

/// Writes the rules, the header last: a policy without a header refuses, so a half-written one is
/// never looser.
///
/// # Errors
/// A full map, or a failed call.
pub(crate) fn write(maps: &Maps, policy: PolicyId, tables: &Tables) -> Result<(), Error> {
    let key = Keys(policy);
    for (inode, rule) in &tables.files {
        maps.set("FILES", &key.inode(inode), rule)?;
    }
    for (inode, rule) in &tables.processes {
        maps.set("PROCESSES", &key.inode(inode), rule)?;
    }
    for (inode, rule) in &tables.modules {
        maps.set("MODULES", &key.inode(inode), rule)?;
    }
    for (device, rule) in &tables.devices {
        maps.set("DEVICES", &key.device(device), rule)?;
    }
    for (fs_type, rule) in &tables.mounts {
        maps.set("MOUNTS", &key.mount(*fs_type), rule)?;
    }
    for (capability, rule) in &tables.capabilities {
        maps.set("CAPABILITIES", &key.capability(*capability), rule)?;
    }
    maps.set("POLICIES", &policy, &tables.header)
}

/// Removes what [`write`] wrote, the header first: without it every decision is a refusal.
///
/// The keys are those of the tables. Looking for them instead would mean to walk every bucket of
/// every map, which takes longer than the rest of a container's end.
///
/// # Errors
/// A failed call.
pub(crate) fn erase(maps: &Maps, policy: PolicyId, tables: &Tables) -> Result<(), Error> {
    maps.delete("POLICIES", &policy)?;
    let key = Keys(policy);
    for (name, inodes) in [
        ("FILES", tables.files.keys().collect::<Vec<_>>()),
        ("PROCESSES", tables.processes.keys().collect()),
        ("MODULES", tables.modules.keys().collect()),
    ] {
        for inode in inodes {
            maps.delete(name, &key.inode(inode))?;
        }
    }
    for device in tables.devices.keys() {
        maps.delete("DEVICES", &key.device(device))?;
    }
    for fs_type in tables.mounts.keys() {
        maps.delete("MOUNTS", &key.mount(*fs_type))?;
    }
    for capability in tables.capabilities.keys() {
        maps.delete("CAPABILITIES", &key.capability(*capability))?;
    }
    Ok(())
}

/// Removes what belongs to a container, after its last policy. Super blocks that the container
/// mounted are not looked for: the kernel side forgets each when it goes.
///
/// # Errors
/// A failed call.
pub(crate) fn end(maps: &Maps, policy: PolicyId, tables: &Tables) -> Result<(), Error> {
    let policy = policy.container();
    for dev in tables.supers.keys() {
        maps.delete("SUPERS", &SuperKey { policy, dev: *dev })?;
    }
    let counters: Option<Counters> = maps.get("COUNTERS", &policy)?;
    if let Some(counters) = counters {
        maps.delete("CGROUPS", &counters.cgroup)?;
    }
    maps.delete("IN_FORCE", &policy)?;
    maps.delete("COUNTERS", &policy)
}

/// Keys of a policy's entries.
struct Keys(PolicyId);

impl Keys {
    fn inode(&self, inode: &Inode) -> InodeKey {
        InodeKey {
            policy: self.0,
            dev: inode.dev,
            ino: inode.ino,
        }
    }

    fn device(&self, device: &Device) -> DeviceKey {
        DeviceKey {
            policy: self.0,
            class: device.class,
            major: device.major,
            minor: device.minor,
        }
    }

    fn mount(&self, fs_type: u64) -> MountKey {
        MountKey {
            fs_type,
            policy: self.0,
            reserved: 0,
        }
    }

    fn capability(&self, capability: u32) -> CapabilityKey {
        CapabilityKey {
            policy: self.0,
            capability,
        }
    }
}
