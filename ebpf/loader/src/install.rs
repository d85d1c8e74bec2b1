//! Writing a policy's tables into the maps under its number, and removing them.

use ebpf_common::PolicyId;
use ebpf_common::abi::{
    CapabilityKey, DeviceKey, GrantKey, InodeKey, IoctlKey, MountKey, SuperKey, file_flags,
};
use policy::{Device, Inode, Tables};

use crate::Error;
use crate::maps::Maps;

/// Writes everything, the header last: a policy without a header refuses, so a half-written one is
/// never looser.
///
/// # Errors
/// A full map, or a failed call.
pub(crate) fn write(maps: &Maps, policy: PolicyId, tables: &Tables) -> Result<(), Error> {
    let key = Keys(policy);
    for (inode, rule) in &tables.files {
        let mut rule = *rule;
        if rule.flags & file_flags::COUNTED != 0 {
            rule.use_count = uses_of_device(maps, inode.dev)?;
        }
        maps.set("FILES", &key.inode(inode), &rule)?;
    }
    for (rule, command) in &tables.ioctls {
        maps.set("IOCTLS", &key.ioctl(*rule, *command), &1u32)?;
    }
    for (inode, rule) in &tables.processes {
        maps.set("PROCESSES", &key.inode(inode), rule)?;
    }
    for (inode, rule) in &tables.modules {
        maps.set("MODULES", &key.inode(inode), rule)?;
    }
    for (dev, rule) in &tables.supers {
        maps.set("SUPERS", &SuperKey { policy, dev: *dev }, rule)?;
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
    for (numbered, rule) in &tables.grants {
        maps.set("GRANTS", &key.grant(*numbered), rule)?;
    }
    maps.set("POLICIES", &policy, &tables.header)
}

/// How often file systems under this device number have gone away; from now on they are counted.
fn uses_of_device(maps: &Maps, dev: u32) -> Result<u32, Error> {
    if let Some(uses) = maps.get("DEVICE_USES", &dev)? {
        return Ok(uses);
    }
    maps.set("DEVICE_USES", &dev, &0u32)?;
    Ok(0)
}

/// Removes what [`write`] wrote, the header first: without it every decision is a refusal. Then
/// what the kernel side and the start added.
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
    for (rule, command) in &tables.ioctls {
        maps.delete("IOCTLS", &key.ioctl(*rule, *command))?;
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
    for numbered in tables.grants.keys() {
        maps.delete("GRANTS", &key.grant(*numbered))?;
    }
    maps.remove_found(policy)
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

    fn ioctl(&self, rule: u32, command: u32) -> IoctlKey {
        IoctlKey {
            policy: self.0,
            rule,
            command,
        }
    }

    fn mount(&self, fs_type: u64) -> MountKey {
        MountKey {
            fs_type,
            policy: self.0,
            reserved: 0,
        }
    }

    fn grant(&self, (kind, number): (u32, u64)) -> GrantKey {
        GrantKey {
            policy: self.0,
            kind,
            number,
        }
    }

    fn capability(&self, capability: u32) -> CapabilityKey {
        CapabilityKey {
            policy: self.0,
            capability,
        }
    }
}
