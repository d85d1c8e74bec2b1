//! The tables of sockets: address ranges, unix sockets by identity and by name.

use std::collections::BTreeMap;

use ebpf_common::abi::{NO_RULE, PolicyId};
use ebpf_common::magic;
use ebpf_common::socket::{
    Address, PORTS_MAX, PREFIX_BITS, PlaceKey, PlaceRules, PortRule, SocketKinds, UnixRule, kind,
    name_hash_of, right, version,
};

use super::files::{counted, existing, within};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::{Facts, Inode, Object, PathKey, Submount};
use crate::model::sockets::{Place, Ports, SocketGrant, SocketSubject};
use crate::model::{HostPath, Policy};
use crate::source::{Span, Spanned};

/// Address ranges times ranges of ports that one policy may have.
const ROWS_MAX: usize = 1024;

/// The rules of one policy for sockets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SocketTables {
    /// `SOCKETS`.
    pub kinds: SocketKinds,
    /// `SOCKET_PLACES`, with a policy number of 0.
    pub places: BTreeMap<PlaceKey, PlaceRules>,
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
    let (mut paths, mut rows) = (Vec::new(), Vec::new());
    for (rule, grant) in (first_rule..).zip(&policy.sockets) {
        match &grant.subject {
            SocketSubject::Unix(path) => {
                if let Some(object) = unix_object(facts, path, grant.optional, out) {
                    paths.push((rule, grant, object));
                }
            }
            SocketSubject::Abstract(name) => {
                let row = tables.names.entry(name_hash_of(name));
                merge(row.or_insert(unix_rule(rule, 0)), grant.allow);
            }
            _ => add(&mut tables, &mut rows, rule, grant),
        }
    }
    match rows.len() > ROWS_MAX {
        true => too_many(rows[ROWS_MAX].span, out),
        false => tables.places = joined(&rows, out),
    }
    unix_mounts(&paths, facts, &mut tables.paths);
    unix_objects(&paths, &mut tables.paths);
    for (inode, row) in &mut tables.paths {
        row.flags = counted(*inode);
    }
    tables
}

/// A rule that gives nothing yet.
fn unix_rule(rule: u32, generation: u32) -> UnixRule {
    UnixRule {
        rule,
        generation,
        ..UnixRule::default()
    }
}

/// Several lines may give rights over one thing; the first is said to have decided.
fn merge(row: &mut UnixRule, rights: u32) {
    row.rights |= rights;
}

fn too_many(span: Span, out: &mut Diagnostics) {
    let message = "`sockets` comes to too many rules here";
    let help = format!(
        "at most {PORTS_MAX} ranges of ports hold for one address, and {ROWS_MAX} for all \
         together: use wider ranges"
    );
    out.push(Diagnostic::error(span, message).help(help));
}

/// What one line says of one range, not yet joined with what others say of it.
struct Row {
    key: PlaceKey,
    ports: PortRule,
    span: Span,
}

/// Adds what a line says.
fn add(tables: &mut SocketTables, rows: &mut Vec<Row>, rule: u32, grant: &SocketGrant) {
    let kinds = &mut tables.kinds;
    let kind = match &grant.subject {
        SocketSubject::Ip(kind, place) => {
            place_rows(rows, rule, *kind, place, grant);
            *kind
        }
        SocketSubject::Vsock(cids, ports) => {
            vsock_rows(rows, rule, cids, ports, grant);
            kind::VSOCK
        }
        SocketSubject::Netlink(protocols) => {
            kinds.netlink |= protocols.iter().fold(0, |all, one| all | 1 << one);
            kind::NETLINK
        }
        SocketSubject::Families(families) => {
            kinds.families |= families.iter().fold(0, |all, one| all | 1 << one);
            kind::OTHER
        }
        SocketSubject::Raw => kind::RAW,
        SocketSubject::Packet => kind::PACKET,
        SocketSubject::Unix(_) | SocketSubject::Abstract(_) => return,
    };
    kinds.kinds |= 1 << kind;
    if let Some(first) = kinds.rules.get_mut(kind as usize) {
        *first = (*first).min(rule);
    }
}

fn key(kind: u32, address: Address, prefix: u32) -> PlaceKey {
    PlaceKey {
        prefix: PREFIX_BITS + prefix,
        ..PlaceKey::of(PolicyId(0), kind, &address)
    }
}

fn any_of(version: u32) -> Address {
    Address {
        version,
        ..Address::default()
    }
}

fn or_all(ports: &[Ports]) -> Vec<Ports> {
    match ports {
        [] => vec![Ports::ALL],
        ports => ports.to_vec(),
    }
}

fn port_rule(ports: Ports, rights: u32, rule: u32) -> PortRule {
    PortRule {
        first: ports.first,
        last: ports.last,
        rights,
        rule,
    }
}

fn place_rows(rows: &mut Vec<Row>, rule: u32, kind: u32, place: &Place, grant: &SocketGrant) {
    // `NONE`: what is no address is left to the kernel to refuse.
    let any = [version::V4, version::V6, version::NONE];
    let keys: Vec<_> = match place.ranges.as_slice() {
        [] => any.map(|version| key(kind, any_of(version), 0)).to_vec(),
        ranges => ranges
            .iter()
            .map(|range| key(kind, range.start(), range.prefix.into()))
            .collect(),
    };
    for key in keys {
        for ports in or_all(&place.ports) {
            rows.push(Row {
                key,
                ports: port_rule(ports, grant.allow, rule),
                span: grant.span,
            });
        }
    }
}

/// A context id is the other side's; this side has one that cannot be chosen.
fn vsock_rows(rows: &mut Vec<Row>, rule: u32, cids: &[u32], ports: &[Ports], grant: &SocketGrant) {
    let mut push = |version, cid: Option<u32>, ports, right| {
        let address = Address {
            bits: [0, cid.unwrap_or(0).into()],
            ..any_of(version)
        };
        let prefix = if cid.is_some() { 32 } else { 0 };
        if grant.allow & right != 0 {
            rows.push(Row {
                key: key(kind::VSOCK, address, prefix),
                ports: port_rule(ports, right, rule),
                span: grant.span,
            });
        }
    };
    for ports in or_all(ports) {
        push(version::CID, None, ports, right::BIND);
        if cids.is_empty() {
            push(version::CID, None, ports, right::CONNECT);
        }
        for cid in cids {
            push(version::CID, Some(*cid), ports, right::CONNECT);
        }
    }
    // The hook does not see the port by then: it was decided when the socket was bound.
    push(version::NONE, None, Ports::ALL, right::LISTEN);
}

/// Whether the range of `outer` holds that of `inner`.
pub(crate) fn holds(outer: &PlaceKey, inner: &PlaceKey) -> bool {
    let (count, bits) = (outer.prefix - PREFIX_BITS, |key: &PlaceKey| {
        u128::from_be_bytes(key.address)
    });
    let mask = u128::MAX.checked_shl(128 - count).unwrap_or(0);
    outer.selector == inner.selector
        && outer.prefix <= inner.prefix
        && (bits(outer) ^ bits(inner)) & mask == 0
}

/// Each range with everything that holds there: a look-up finds the longest one only.
fn joined(rows: &[Row], out: &mut Diagnostics) -> BTreeMap<PlaceKey, PlaceRules> {
    let mut places = BTreeMap::new();
    for row in rows {
        if places.contains_key(&row.key) {
            continue;
        }
        let around = rows.iter().filter(|other| holds(&other.key, &row.key));
        let mut rules = PlaceRules {
            count: 0,
            reserved: 0,
            ports: [port_rule(Ports::ALL, 0, NO_RULE); PORTS_MAX],
        };
        for other in around {
            let Some(free) = rules.ports.get_mut(rules.count as usize) else {
                too_many(other.span, out);
                return places;
            };
            *free = other.ports;
            rules.count += 1;
        }
        places.insert(row.key, rules);
    }
    places
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
    let mut nearest: BTreeMap<&str, (&UnixLine<'_>, &Submount)> = BTreeMap::new();
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
                nearest.insert(&mount.path, (line, mount));
            }
        }
    }
    for ((rule, grant, _), mount) in nearest.into_values() {
        let rights = grant.allow;
        let row = UnixRule {
            rights,
            ..unix_rule(*rule, mount.generation)
        };
        table
            .entry(mount.inode)
            // Mounted at several places: what all of them give.
            .and_modify(|row| row.rights &= rights)
            .or_insert(row);
    }
}

fn unix_objects(lines: &[UnixLine<'_>], table: &mut BTreeMap<Inode, UnixRule>) {
    let mut named = BTreeMap::new();
    for (rule, grant, object) in lines {
        let row = unix_rule(*rule, object.generation);
        merge(named.entry(object.inode).or_insert(row), grant.allow);
    }
    table.extend(named);
}
