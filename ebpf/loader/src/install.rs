//! Writing a policy's tables into the maps under its number, and removing them.
//!
//! Rules are kept for each generation of a container's policy; what the container is (its super
//! blocks, its cgroup, its counters) only once, under the container's number.

use ebpf_common::PolicyId;
use ebpf_common::abi::{
    CapabilityKey, Counters, DeviceKey, GrantKey, InodeKey, IoctlKey, MountKey, SuperKey,
    file_flags,
};
use ebpf_common::socket::{NameKey, PlaceKey};
use policy::{Device, Inode, Tables};

use crate::Error;
use crate::maps::Maps;

/// Steps of a walk through `OWNERS`: twice what it holds at most.
const OWNERS_STEPS: u32 = 1 << 19;
/// The same of `SUPERS`.
const SUPERS_STEPS: u32 = 1 << 21;

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
        let mut rule = *rule;
        rule.use_count = use_count(maps, rule.flags, inode.dev)?;
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
    for (device, rule) in &tables.devices {
        maps.set("DEVICES", &key.device(device), rule)?;
    }
    for (mount, rule) in &tables.mounts {
        maps.set("MOUNTS", &key.mount(mount), rule)?;
    }
    for (capability, rule) in &tables.capabilities {
        maps.set("CAPABILITIES", &key.capability(*capability), rule)?;
    }
    for (numbered, rule) in &tables.grants {
        maps.set("GRANTS", &key.grant(*numbered), rule)?;
    }
    maps.set("SOCKETS", &policy, &tables.sockets.kinds)?;
    for (place, rules) in &tables.sockets.places {
        maps.set("SOCKET_PLACES", &key.place(place), rules)?;
    }
    for (inode, rule) in &tables.sockets.paths {
        let mut rule = *rule;
        rule.use_count = use_count(maps, rule.flags, inode.dev)?;
        maps.set("UNIX_PATHS", &key.inode(inode), &rule)?;
    }
    for (hash, rule) in &tables.sockets.names {
        maps.set("UNIX_NAMES", &key.name(*hash), rule)?;
    }
    maps.set("POLICIES", &policy, &tables.header)
}

/// How often file systems under this device number have gone away, if the rule has to know; from
/// now on they are counted.
fn use_count(maps: &Maps, flags: u32, dev: u32) -> Result<u32, Error> {
    if flags & file_flags::COUNTED == 0 {
        return Ok(0);
    }
    if let Some(uses) = maps.get("DEVICE_USES", &dev)? {
        return Ok(uses);
    }
    maps.set("DEVICE_USES", &dev, &0u32)?;
    Ok(0)
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
        ("UNIX_PATHS", tables.sockets.paths.keys().collect()),
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
    for mount in tables.mounts.keys() {
        maps.delete("MOUNTS", &key.mount(mount))?;
    }
    for capability in tables.capabilities.keys() {
        maps.delete("CAPABILITIES", &key.capability(*capability))?;
    }
    for numbered in tables.grants.keys() {
        maps.delete("GRANTS", &key.grant(*numbered))?;
    }
    for hash in tables.sockets.names.keys() {
        maps.delete("UNIX_NAMES", &key.name(*hash))?;
    }
    for place in tables.sockets.places.keys() {
        maps.delete("SOCKET_PLACES", &key.place(place))?;
    }
    maps.delete("SOCKETS", &policy)?;
    Ok(())
}

/// Removes what belongs to a container, after its last policy. The kernel side forgets a super
/// block when it goes; those that others use too do not go.
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
        // Looking through all that containers own takes long: only where there may be something.
        if counters.owns != 0 {
            disown(maps, policy)?;
        }
        let noted = usize::try_from(counters.adopted).unwrap_or(usize::MAX);
        match counters.devices.get(..noted) {
            Some(devices) => {
                for dev in devices {
                    maps.delete("SUPERS", &SuperKey { policy, dev: *dev })?;
                }
            }
            None => forget_supers(maps, policy)?,
        }
    }
    maps.delete("NETWORKS", &policy)?;
    maps.delete("IN_FORCE", &policy)?;
    maps.delete("COUNTERS", &policy)
}

/// Removes the container's super blocks where there were too many to note them one by one.
fn forget_supers(maps: &Maps, policy: PolicyId) -> Result<(), Error> {
    let mut at = maps.next_key::<SuperKey>("SUPERS", None)?;
    for _ in 0..SUPERS_STEPS {
        let Some(key) = at else {
            return Ok(());
        };
        at = maps.next_key("SUPERS", Some(&key))?;
        if key.policy == policy {
            maps.delete("SUPERS", &key)?;
        }
    }
    Ok(())
}

/// Forgets which IPC objects and keys the container made, to make room: no other gets its number.
fn disown(maps: &Maps, policy: PolicyId) -> Result<(), Error> {
    let mut at = maps.next_key::<u64>("OWNERS", None)?;
    // Bounded: while others add and remove, the walk may begin anew.
    for _ in 0..OWNERS_STEPS {
        let Some(address) = at else {
            return Ok(());
        };
        at = maps.next_key("OWNERS", Some(&address))?;
        if maps.get("OWNERS", &address)? == Some(policy) {
            maps.delete("OWNERS", &address)?;
        }
    }
    Ok(())
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

    fn mount(&self, mount: &MountKey) -> MountKey {
        MountKey {
            policy: self.0,
            ..*mount
        }
    }

    fn grant(&self, (kind, number): (u32, u64)) -> GrantKey {
        GrantKey {
            policy: self.0,
            kind,
            number,
        }
    }

    fn place(&self, place: &PlaceKey) -> PlaceKey {
        PlaceKey {
            policy: self.0,
            ..*place
        }
    }

    fn name(&self, hash: u64) -> NameKey {
        NameKey {
            hash,
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
