//! Rows of the tables of sockets.

use ebpf_common::abi::{NO_RULE, PolicyId};
use ebpf_common::socket::{PORTS_MAX, PlaceKey, PlaceRules, PortRule, SocketKinds, UnixRule};
use serde::{Deserialize, Serialize};

use crate::compile::SocketTables;
use crate::facts::Inode;

/// Prefix, selector, address, and for each range of ports: first, last, rights, rule.
type PlaceRow = (u32, u32, [u8; 16], Vec<(u32, u32, u32, u32)>);

#[derive(Serialize, Deserialize, Default)]
pub(super) struct StoredSockets {
    kinds: u32,
    netlink: u32,
    families: u64,
    rules: [u32; 16],
    places: Vec<PlaceRow>,
    /// Key, rights, rule, flags, generation.
    paths: Vec<(Inode, UnixRow)>,
    /// Hash, rights, rule.
    names: Vec<(u64, UnixRow)>,
}

type UnixRow = (u32, u32, u32, u32);

impl From<SocketTables> for StoredSockets {
    fn from(tables: SocketTables) -> Self {
        let SocketTables {
            kinds,
            places,
            paths,
            names,
        } = tables;
        Self {
            kinds: kinds.kinds,
            netlink: kinds.netlink,
            families: kinds.families,
            rules: kinds.rules,
            places: super::rows(places, place_row),
            paths: super::rows(paths, unix_row),
            names: super::rows(names, unix_row),
        }
    }
}

fn place_row(key: PlaceKey, rules: PlaceRules) -> PlaceRow {
    let used = rules.ports.iter().take(rules.count as usize);
    let ports = used.map(|rule| (rule.first, rule.last, rule.rights, rule.rule));
    (key.prefix, key.selector, key.address, ports.collect())
}

fn place((prefix, selector, address, ports): PlaceRow) -> (PlaceKey, PlaceRules) {
    let key = PlaceKey {
        prefix,
        policy: PolicyId(0),
        selector,
        address,
    };
    let unused = PortRule {
        first: 0,
        last: u32::MAX,
        rights: 0,
        rule: NO_RULE,
    };
    let mut rules = PlaceRules {
        count: 0,
        reserved: 0,
        ports: [unused; PORTS_MAX],
    };
    for (free, (first, last, rights, rule)) in rules.ports.iter_mut().zip(ports) {
        *free = PortRule {
            first,
            last,
            rights,
            rule,
        };
        rules.count += 1;
    }
    (key, rules)
}

impl From<StoredSockets> for SocketTables {
    fn from(stored: StoredSockets) -> Self {
        let (paths, names) = (stored.paths.into_iter(), stored.names.into_iter());
        Self {
            kinds: SocketKinds {
                kinds: stored.kinds,
                netlink: stored.netlink,
                families: stored.families,
                rules: stored.rules,
            },
            places: stored.places.into_iter().map(place).collect(),
            paths: paths.map(unix).collect(),
            names: names.map(unix).collect(),
        }
    }
}

fn unix_row<K>(key: K, row: UnixRule) -> (K, UnixRow) {
    (key, (row.rights, row.rule, row.flags, row.generation))
}

/// How often its device had been given out is counted when it is loaded.
fn unix<K>((key, (rights, rule, flags, generation)): (K, UnixRow)) -> (K, UnixRule) {
    let row = UnixRule {
        rights,
        rule,
        flags,
        generation,
        use_count: 0,
    };
    (key, row)
}
