//! The compiled tables: what the loader writes into the BPF maps, and the same decisions without a
//! kernel.

use std::collections::{BTreeMap, BTreeSet};

use ebpf_common::abi::{
    CapabilityKey, CapabilityRule, DeviceKey, FileRule, GrantKey, InodeKey, IoctlKey, MountKey,
    MountRule, PolicyHeader, PolicyId, ProcessKey, ProcessRule, RightsRule, SuperKey, SuperRule,
};
use ebpf_common::lookup::{CapabilityUse, Lookup};
use ebpf_common::socket::{Asked, NameKey, PlaceKey, SocketAnswer, UnixRule};
use serde::{Deserialize, Serialize};

use crate::compile::Numbered;
use crate::facts::Inode;

pub use crate::compile::SocketTables;
use crate::compile::holds;

mod stored;

/// A device or all devices of a major number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Device {
    /// One of [`ebpf_common::abi::device_class`].
    pub class: u32,
    /// Major number.
    pub major: u32,
    /// Minor number, or [`ebpf_common::abi::ANY_MINOR`].
    pub minor: u32,
}

/// The rules of one policy, by the keys of the BPF maps without the policy's number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "stored::Stored", into = "stored::Stored")]
pub struct Tables {
    /// `POLICIES`.
    pub header: PolicyHeader,
    /// `FILES`.
    pub files: BTreeMap<Inode, FileRule>,
    /// `SUPERS` at start, by device.
    pub supers: BTreeMap<u32, SuperRule>,
    /// `DEVICES`.
    pub devices: BTreeMap<Device, RightsRule>,
    /// `MOUNTS`, by keys whose policy is 0.
    pub mounts: BTreeMap<MountKey, MountRule>,
    /// `CAPABILITIES`, by number.
    pub capabilities: BTreeMap<u32, CapabilityRule>,
    /// `PROCESSES`, by executable.
    pub processes: BTreeMap<Inode, ProcessRule>,
    /// `MODULES`, by module file.
    pub modules: BTreeMap<Inode, RightsRule>,
    /// `SOCKETS`, `UNIX_PATHS`, `UNIX_NAMES`.
    pub sockets: Box<SocketTables>,
    /// `GRANTS`, by kind and number.
    pub grants: Numbered,
    /// `IOCTLS`: index of the line, command.
    pub ioctls: BTreeSet<(u32, u32)>,
}

fn inode(key: InodeKey) -> Inode {
    Inode {
        dev: key.dev,
        ino: key.ino,
    }
}

/// The policy's number is not compared: these are the tables of one policy.
impl Lookup for Tables {
    fn policy(&self, _: PolicyId) -> Option<PolicyHeader> {
        Some(self.header)
    }
    fn file(&self, key: InodeKey) -> Option<FileRule> {
        self.files.get(&inode(key)).copied()
    }
    fn super_block(&self, key: SuperKey) -> Option<SuperRule> {
        self.supers.get(&key.dev).copied()
    }
    fn device(&self, key: DeviceKey) -> Option<RightsRule> {
        let DeviceKey {
            class,
            major,
            minor,
            ..
        } = key;
        let key = Device {
            class,
            major,
            minor,
        };
        self.devices.get(&key).copied()
    }
    fn mount(&self, key: MountKey) -> Option<MountRule> {
        let policy = PolicyId(0);
        self.mounts.get(&MountKey { policy, ..key }).copied()
    }
    fn capability(&self, key: CapabilityKey, syscall: Option<u32>) -> Option<CapabilityUse> {
        let rule = self.capabilities.get(&key.capability)?;
        Some(rule.used_in(syscall))
    }
    fn process(&self, key: ProcessKey) -> Option<ProcessRule> {
        self.processes.get(&inode(key)).copied()
    }
    fn module(&self, key: InodeKey) -> Option<RightsRule> {
        self.modules.get(&inode(key)).copied()
    }
    fn socket(&self, _: PolicyId, asked: &Asked) -> Option<SocketAnswer> {
        if !asked.by_address() {
            return Some(self.sockets.kinds.answer(asked));
        }
        let wanted = PlaceKey::of(PolicyId(0), asked.kind, &asked.address);
        let around = self.sockets.places.iter();
        let around = around.filter(|(key, _)| holds(key, &wanted));
        let (_, rules) = around.max_by_key(|(key, _)| key.prefix)?;
        Some(rules.answer(asked))
    }
    fn unix_path(&self, key: InodeKey) -> Option<UnixRule> {
        self.sockets.paths.get(&inode(key)).copied()
    }
    fn unix_name(&self, key: NameKey) -> Option<UnixRule> {
        self.sockets.names.get(&key.hash).copied()
    }
    /// Known when the container runs only.
    fn network(&self, _: PolicyId) -> Option<u32> {
        None
    }
    fn grant(&self, key: GrantKey) -> Option<RightsRule> {
        self.grants.get(&(key.kind, key.number)).copied()
    }
    fn ioctl(&self, key: IoctlKey) -> bool {
        self.ioctls.contains(&(key.rule, key.command))
    }
    fn uses_of_device(&self, _: u32) -> u32 {
        // Nothing goes away between the look-up of a path and the answer.
        0
    }
}
