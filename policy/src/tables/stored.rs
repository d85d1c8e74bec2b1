//! The tables as they are kept in a container's state: rows, since keys of JSON objects are
//! strings.

use std::collections::BTreeMap;

use ebpf_common::Rights;
use ebpf_common::abi::{
    CapabilityRule, FileRule, MountKey, MountRule, NO_RULE, PolicyHeader, PolicyId, ProcessRule,
    RightsRule, SuperRule,
};
use serde::{Deserialize, Serialize};

use super::{Device, Tables};
use crate::facts::Inode;

mod sockets;

use sockets::StoredSockets;

/// [`Tables`], row by row; each row begins with its key.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    header: Header,
    /// Key, rights, flags, rule, generation.
    files: Vec<(Inode, u32, u32, u32, u32)>,
    /// Device, kind, magic.
    supers: Vec<(u32, u32, u32)>,
    /// Key, rights, rule.
    devices: Vec<(Device, (u32, u32))>,
    /// Key without the policy, then the rule.
    mounts: Vec<(StoredMount, (u64, u32, u32, u32))>,
    /// Number, bits of the system calls, all, rule.
    capabilities: Vec<(u32, [u64; 8], u32, u32)>,
    /// Key, signals, then ptrace, limits, namespaces, exec and rule.
    processes: Vec<(Inode, u64, [u32; 5])>,
    /// Key, rights, rule.
    modules: Vec<(Inode, (u32, u32))>,
    /// Kind and number, rights, rule; a state of an older version has none.
    #[serde(default)]
    grants: Vec<((u32, u64), (u32, u32))>,
    /// Rule, command.
    ioctls: Vec<(u32, u32)>,
    #[serde(default)]
    sockets: StoredSockets,
}

#[derive(Serialize, Deserialize)]
struct Header {
    audit: u32,
    kernel: u32,
    bpf_commands: u64,
    bpf_rule: u32,
    clock_rule: u32,
    attach_attributes: u32,
    namespaces: u32,
    namespaces_rule: u32,
    exec_rule: u32,
}

/// Type, object, device, scope.
type StoredMount = (u64, u64, u32, u32);

impl From<PolicyHeader> for Header {
    fn from(header: PolicyHeader) -> Self {
        Self {
            audit: header.audit,
            kernel: header.kernel,
            bpf_commands: header.bpf_commands,
            bpf_rule: header.bpf_rule,
            clock_rule: header.clock_rule,
            attach_attributes: header.attach_attributes,
            namespaces: header.namespaces,
            namespaces_rule: header.namespaces_rule,
            exec_rule: header.exec_rule,
        }
    }
}

impl From<Header> for PolicyHeader {
    fn from(header: Header) -> Self {
        Self {
            audit: header.audit,
            kernel: header.kernel,
            bpf_commands: header.bpf_commands,
            bpf_rule: header.bpf_rule,
            clock_rule: header.clock_rule,
            attach_attributes: header.attach_attributes,
            namespaces: header.namespaces,
            namespaces_rule: header.namespaces_rule,
            exec_rule: header.exec_rule,
        }
    }
}

fn rows<K, V, R>(table: BTreeMap<K, V>, row: impl Fn(K, V) -> R) -> Vec<R> {
    table
        .into_iter()
        .map(|(key, value)| row(key, value))
        .collect()
}

impl From<Tables> for Stored {
    fn from(tables: Tables) -> Self {
        let rights = |rule: RightsRule| (rule.rights.0, rule.rule);
        Self {
            header: tables.header.into(),
            files: rows(tables.files, |key, row| {
                (key, row.rights.0, row.flags, row.rule, row.generation)
            }),
            supers: rows(tables.supers, |key, row| (key, row.kind, row.magic)),
            devices: rows(tables.devices, |key, row| (key, rights(row))),
            mounts: rows(tables.mounts, |key, row| {
                let key = (key.fs_type, key.object, key.dev, key.scope);
                let row = (row.required_flags, row.rule, row.narrowed, row.files.0);
                (key, row)
            }),
            capabilities: rows(tables.capabilities, |key, row| {
                (key, row.syscalls, row.all, row.rule)
            }),
            processes: rows(tables.processes, |key, row| {
                let rest = [row.ptrace, row.limits, row.namespaces, row.exec, row.rule];
                (key, row.signals, rest)
            }),
            modules: rows(tables.modules, |key, row| (key, rights(row))),
            grants: rows(tables.grants, |key, row| (key, rights(row))),
            ioctls: tables.ioctls.into_iter().collect(),
            sockets: (*tables.sockets).into(),
        }
    }
}

impl From<Stored> for Tables {
    fn from(stored: Stored) -> Self {
        let rights = |(bits, rule): (u32, u32)| {
            let rights = Rights(bits);
            RightsRule { rights, rule }
        };
        Self {
            header: stored.header.into(),
            files: stored.files.into_iter().map(file_rule).collect(),
            supers: stored.supers.into_iter().map(super_rule).collect(),
            devices: stored
                .devices
                .into_iter()
                .map(|(key, row)| (key, rights(row)))
                .collect(),
            mounts: stored.mounts.into_iter().map(mount_rule).collect(),
            capabilities: stored
                .capabilities
                .into_iter()
                .map(capability_rule)
                .collect(),
            processes: stored.processes.into_iter().map(process_rule).collect(),
            modules: stored
                .modules
                .into_iter()
                .map(|(key, row)| (key, rights(row)))
                .collect(),
            grants: stored
                .grants
                .into_iter()
                .map(|(key, row)| (key, rights(row)))
                .collect(),
            ioctls: stored.ioctls.into_iter().collect(),
            sockets: Box::new(stored.sockets.into()),
        }
    }
}

fn file_rule(
    (key, rights, flags, rule, generation): (Inode, u32, u32, u32, u32),
) -> (Inode, FileRule) {
    let row = FileRule {
        rights: Rights(rights),
        flags,
        rule,
        generation,
        // Counted when the rule is written.
        use_count: 0,
        reserved: 0,
    };
    (key, row)
}

fn super_rule((key, kind, magic): (u32, u32, u32)) -> (u32, SuperRule) {
    (
        key,
        SuperRule {
            kind,
            magic,
            address: 0,
            rights: Rights::ALL,
            rule: NO_RULE,
        },
    )
}

fn mount_rule(
    ((fs_type, object, dev, scope), (required_flags, rule, narrowed, files)): (
        StoredMount,
        (u64, u32, u32, u32),
    ),
) -> (MountKey, MountRule) {
    let key = MountKey {
        fs_type,
        object,
        policy: PolicyId(0),
        dev,
        scope,
        reserved: 0,
    };
    let row = MountRule {
        required_flags,
        rule,
        narrowed,
        files: Rights(files),
        reserved: 0,
    };
    (key, row)
}

fn capability_rule((key, syscalls, all, rule): (u32, [u64; 8], u32, u32)) -> (u32, CapabilityRule) {
    let row = CapabilityRule {
        syscalls,
        all,
        rule,
    };
    (key, row)
}

fn process_rule(
    (key, signals, [ptrace, limits, namespaces, exec, rule]): (Inode, u64, [u32; 5]),
) -> (Inode, ProcessRule) {
    let row = ProcessRule {
        signals,
        ptrace,
        rule,
        limits,
        namespaces,
        exec,
        reserved: 0,
    };
    (key, row)
}
