//! The tables of sockets: one bounded list of address rules, unix sockets by identity and by name.

use std::collections::BTreeMap;

use ebpf_common::magic;
use ebpf_common::socket::{
    RULES_MAX, SocketRule, SocketRules, UnixRule, kind, name_hash_of, right, selector, version,
};

use super::files::{existing, within};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::{Facts, Inode, Object, PathKey};
use crate::model::sockets::{Cidr, Place, Ports, SocketGrant, SocketSubject};
use crate::model::{HostPath, Policy};
use crate::source::{Span, Spanned};

/// The rules of one policy for sockets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SocketTables {
    /// `SOCKETS`.
    pub rules: SocketRules,
    /// `UNIX_PATHS`.
    pub paths: BTreeMap<Inode, UnixRule>,
    /// `UNIX_NAMES`, by [`ebpf_common::socket::name_hash`].
    pub names: BTreeMap<u64, UnixRule>,
}

pub(super) fn compile(
    policy: &Policy,
    facts: &Facts,
    first_rule: u32,
    out: &mut Diagnostics,
) -> SocketTables {
    let mut tables = SocketTables::default();
    let mut paths = Vec::new();
    for (rule, grant) in (first_rule..).zip(&policy.sockets) {
        match &grant.subject {
            SocketSubject::Unix(path) => {
                if let Some(object) = unix_object(facts, path, grant.optional, out) {
                    paths.push((rule, grant, object));
                }
            }
            SocketSubject::Abstract(name) => {
                let row = tables.names.entry(name_hash_of(name));
                merge(row.or_insert(UnixRule { rights: 0, rule }), grant.allow);
            }
            _ => {
                if !add(&mut tables.rules, rule, grant) {
                    too_many(grant.span, out);
                    break;
                }
            }
        }
    }
    unix_mounts(&paths, facts, &mut tables.paths);
    unix_objects(&paths, &mut tables.paths);
    tables
}

/// Several lines may give rights over one thing; the first is said to have decided.
fn merge(row: &mut UnixRule, rights: u32) {
    row.rights |= rights;
}

fn too_many(span: Span, out: &mut Diagnostics) {
    let message = format!("`sockets` comes to more than {RULES_MAX} rules here");
    let help = "each line counts its addresses times its ranges of ports: use wider ranges";
    out.push(Diagnostic::error(span, message).help(help));
}

/// Adds what a line says; `false` where the table is full.
fn add(rules: &mut SocketRules, rule: u32, grant: &SocketGrant) -> bool {
    let kind = match &grant.subject {
        SocketSubject::Ip(kind, place) => {
            if !place_rules(rules, rule, *kind, place, grant.allow) {
                return false;
            }
            *kind
        }
        SocketSubject::Vsock(cids, ports) => {
            if !vsock_rules(rules, rule, cids, ports, grant.allow) {
                return false;
            }
            kind::VSOCK
        }
        SocketSubject::Netlink(protocols) => {
            rules.netlink |= protocols.iter().fold(0, |all, one| all | 1 << one);
            kind::NETLINK
        }
        SocketSubject::Families(families) => {
            rules.families |= families.iter().fold(0, |all, one| all | 1 << one);
            kind::OTHER
        }
        SocketSubject::Raw => kind::RAW,
        SocketSubject::Packet => kind::PACKET,
        SocketSubject::Unix(_) | SocketSubject::Abstract(_) => return true,
    };
    rules.kinds |= 1 << kind;
    if let Some(first) = rules.kind_rules.get_mut(kind as usize) {
        *first = (*first).min(rule);
    }
    true
}

fn place_rules(rules: &mut SocketRules, rule: u32, kind: u32, place: &Place, rights: u32) -> bool {
    let any = [
        (version::V4, [0; 2], [0; 2]),
        (version::V6, [0; 2], [0; 2]),
        // A socket that has no address yet.
        (version::NONE, [0; 2], [0; 2]),
    ];
    let ranges = match place.ranges.as_slice() {
        [] => any.to_vec(),
        ranges => ranges.iter().copied().map(Cidr::compiled).collect(),
    };
    let all = [Ports::ALL];
    let ports = match place.ports.as_slice() {
        [] => &all,
        ports => ports,
    };
    let mut pairs = ranges
        .iter()
        .flat_map(|range| ports.iter().map(move |ports| (range, ports)));
    pairs.all(|((version, mask, value), ports)| {
        push(
            rules,
            SocketRule {
                mask: *mask,
                value: *value,
                selector: selector(kind, *version),
                first_port: ports.first,
                last_port: ports.last,
                rights,
                rule,
                reserved: 0,
            },
        )
    })
}

/// A context id is the other side's; this side has one that cannot be chosen.
fn vsock_rules(
    rules: &mut SocketRules,
    rule: u32,
    cids: &[u32],
    ports: &[Ports],
    rights: u32,
) -> bool {
    let all = [Ports::ALL];
    let ports = if ports.is_empty() { &all } else { ports };
    let row = |mask, value, version, ports: Ports, rights| SocketRule {
        mask: [0, mask],
        value: [0, value],
        selector: selector(kind::VSOCK, version),
        first_port: ports.first,
        last_port: ports.last,
        rights,
        rule,
        reserved: 0,
    };
    let mut rows = Vec::new();
    let (here, there) = (rights & right::BIND, rights & right::CONNECT);
    for ports in ports {
        if here != 0 {
            rows.push(row(0, 0, version::CID, *ports, here));
        }
        if there != 0 && cids.is_empty() {
            rows.push(row(0, 0, version::CID, *ports, there));
        }
        for cid in cids.iter().filter(|_| there != 0) {
            let (mask, value) = (u64::from(u32::MAX), u64::from(*cid));
            rows.push(row(mask, value, version::CID, *ports, there));
        }
    }
    // The hook does not see the port by then: it was decided when the socket was bound.
    if rights & right::LISTEN != 0 {
        rows.push(row(0, 0, version::NONE, Ports::ALL, right::LISTEN));
    }
    rows.into_iter().all(|row| push(rules, row))
}

fn push(rules: &mut SocketRules, row: SocketRule) -> bool {
    let Some(free) = rules.rules.get_mut(rules.count as usize) else {
        return false;
    };
    *free = row;
    rules.count += 1;
    true
}

type UnixLine<'a> = (u32, &'a SocketGrant, &'a Object);

fn unix_object<'a>(
    facts: &'a Facts,
    path: &Spanned<HostPath>,
    optional: bool,
    out: &mut Diagnostics,
) -> Option<&'a Object> {
    let text = path.value.as_str();
    let found = facts.paths.get(&PathKey::Path(text.to_owned()));
    let object = existing(found, text, path.span, optional, out)?;
    let mut core = facts.core.iter();
    let core = core.find(|core| within(&object.real, &core.path));
    if let Some(core) = core {
        let message = format!("`{text}` belongs to Reeve itself (`{}`)", core.path);
        let error = Diagnostic::error(path.span, message);
        out.push(error.help("no policy opens it: remove the line"));
        return None;
    }
    Some(object)
}

/// The mounts below a directory, under the nearest line above their mount point.
fn unix_mounts(lines: &[UnixLine<'_>], facts: &Facts, table: &mut BTreeMap<Inode, UnixRule>) {
    let mut nearest: BTreeMap<&str, (&UnixLine<'_>, Inode)> = BTreeMap::new();
    for line in lines {
        let (_, _, object) = line;
        for mount in &object.submounts {
            let mut core = facts.core.iter();
            let closed = core.any(|core| within(&mount.path, &core.path))
                || magic::shows_kernel(mount.magic)
                || matches!(mount.magic, magic::BPF_FS | magic::BTRFS);
            let nearer = nearest
                .get(mount.path.as_str())
                .is_none_or(|((.., known), _)| known.real.len() < object.real.len());
            if !closed && nearer {
                nearest.insert(&mount.path, (line, mount.inode));
            }
        }
    }
    for ((rule, grant, _), inode) in nearest.into_values() {
        let (rights, rule) = (grant.allow, *rule);
        table
            .entry(inode)
            // Mounted at several places: what all of them give.
            .and_modify(|row| row.rights &= rights)
            .or_insert(UnixRule { rights, rule });
    }
}

fn unix_objects(lines: &[UnixLine<'_>], table: &mut BTreeMap<Inode, UnixRule>) {
    let mut named = BTreeMap::new();
    for (rule, grant, object) in lines {
        let row = UnixRule {
            rights: 0,
            rule: *rule,
        };
        merge(named.entry(object.inode).or_insert(row), grant.allow);
    }
    table.extend(named);
}
