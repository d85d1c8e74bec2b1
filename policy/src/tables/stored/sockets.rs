//! Rows of the tables of sockets.

use ebpf_common::socket::{SocketRule, SocketRules, UnixRule};
use serde::{Deserialize, Serialize};

use crate::compile::SocketTables;
use crate::facts::Inode;

/// Mask, value, selector, ports, rights, rule.
type RuleRow = ([u64; 2], [u64; 2], u32, (u32, u32), u32, u32);

#[derive(Serialize, Deserialize, Default)]
pub(super) struct StoredSockets {
    kinds: u32,
    netlink: u32,
    families: u64,
    kind_rules: [u32; 10],
    rules: Vec<RuleRow>,
    /// Key, rights, rule.
    paths: Vec<(Inode, u32, u32)>,
    /// Hash, rights, rule.
    names: Vec<(u64, u32, u32)>,
}

impl From<SocketTables> for StoredSockets {
    fn from(tables: SocketTables) -> Self {
        let SocketTables {
            rules,
            paths,
            names,
        } = tables;
        let used = rules.rules.iter().take(rules.count as usize);
        let row = |rule: &SocketRule| {
            let ports = (rule.first_port, rule.last_port);
            let (selector, rights) = (rule.selector, rule.rights);
            (rule.mask, rule.value, selector, ports, rights, rule.rule)
        };
        Self {
            kinds: rules.kinds,
            netlink: rules.netlink,
            families: rules.families,
            kind_rules: rules.kind_rules,
            rules: used.map(row).collect(),
            paths: super::rows(paths, |key, row| (key, row.rights, row.rule)),
            names: super::rows(names, |key, row| (key, row.rights, row.rule)),
        }
    }
}

impl From<StoredSockets> for SocketTables {
    fn from(stored: StoredSockets) -> Self {
        let mut rules = SocketRules {
            kinds: stored.kinds,
            netlink: stored.netlink,
            families: stored.families,
            kind_rules: stored.kind_rules,
            ..SocketRules::default()
        };
        for (free, row) in rules.rules.iter_mut().zip(stored.rules) {
            let (mask, value, selector, (first_port, last_port), rights, rule) = row;
            *free = SocketRule {
                mask,
                value,
                selector,
                first_port,
                last_port,
                rights,
                rule,
                reserved: 0,
            };
            rules.count += 1;
        }
        let (paths, names) = (stored.paths.into_iter(), stored.names.into_iter());
        Self {
            rules,
            paths: paths.map(unix).collect(),
            names: names.map(unix).collect(),
        }
    }
}

fn unix<K>((key, rights, rule): (K, u32, u32)) -> (K, UnixRule) {
    (key, UnixRule { rights, rule })
}
