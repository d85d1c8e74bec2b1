//! Section `sockets`: which sockets of the host's network may be made, bound, connected and sent
//! from, and which unix sockets of the host may be reached.

mod schema;
mod value;

use ebpf_common::socket::{NAME_BYTES, kind, right};

use super::value::{HostPath, quoted};
use crate::diagnostic::Diagnostic;
use crate::names::socket::{FAMILIES, KINDS, NETLINK, name, number, right_names};
use crate::reader::{Fields, Reader};
use crate::source::{Span, Spanned};
use crate::yaml::{Kind, Node};

pub use value::{Cidr, Ports, address, ip_of};

pub(crate) const KEYS: &[&str] = &[
    "tcp", "udp", "sctp", "icmp", "vsock", "unix", "abstract", "netlink", "raw", "packet",
    "families", "allow", "optional",
];
/// Those of which a line has exactly one.
const SUBJECTS: usize = 11;
pub(crate) const PLACE_KEYS: &[&str] = &["to", "on", "ports"];
pub(crate) const VSOCK_KEYS: &[&str] = &["cid", "ports"];

const TO_RIGHTS: u32 = right::CONNECT | right::SEND;
const ON_RIGHTS: u32 = right::BIND | right::LISTEN;

/// Which addresses a line is about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Ranges of the other side (`to`) or of this one (`on`); empty: any.
    pub ranges: Vec<Cidr>,
    /// Whether the ranges are of this side.
    pub on: bool,
    /// Ports; empty: any.
    pub ports: Vec<Ports>,
}

/// What a line is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SocketSubject {
    /// TCP, UDP, SCTP or ICMP echo, by [`kind`].
    Ip(u32, Place),
    /// A channel to the other side of a virtual machine: context ids (empty: any) and ports.
    Vsock(Vec<u32>, Vec<Ports>),
    /// Unix sockets: one, or all below a directory.
    Unix(Spanned<HostPath>),
    /// An abstract unix socket.
    Abstract(String),
    /// Netlink protocols.
    Netlink(Vec<u32>),
    /// Raw IP.
    Raw,
    /// Packets of a link.
    Packet,
    /// Other address families.
    Families(Vec<u32>),
}

impl SocketSubject {
    /// Whether making such a socket takes `NET_RAW`.
    pub(crate) fn needs_raw(&self) -> bool {
        matches!(self, Self::Raw | Self::Packet)
    }
}

/// A line of the section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketGrant {
    /// What it is about.
    pub subject: SocketSubject,
    /// Bits of [`right`].
    pub allow: u32,
    /// A unix path that may be missing.
    pub optional: bool,
    /// The whole line.
    pub span: Span,
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(T::to_string).collect();
    format!("[{}]", items.join(", "))
}

impl Place {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.ranges.is_empty() {
            let key = if self.on { "on" } else { "to" };
            let ranges: Vec<_> = self.ranges.iter().map(|range| in_quotes(*range)).collect();
            parts.push(format!("{key}: {}", list(&ranges)));
        }
        if !self.ports.is_empty() {
            parts.push(format!("ports: {}", list(&self.ports)));
        }
        braced(&parts)
    }
}

fn braced(parts: &[String]) -> String {
    match parts {
        [] => "any".to_owned(),
        parts => format!("{{ {} }}", parts.join(", ")),
    }
}

/// A range as YAML takes it: colons need quotes.
fn in_quotes(range: Cidr) -> String {
    match range.address.is_ipv4() {
        true => range.to_string(),
        false => format!("\"{range}\""),
    }
}

impl SocketGrant {
    pub(crate) fn text(&self) -> String {
        let named = |table: &[(&'static str, u32)], numbers: &[u32]| {
            let names = numbers.iter().filter_map(|number| name(table, *number));
            list(&names.collect::<Vec<_>>())
        };
        let subject = match &self.subject {
            SocketSubject::Ip(kind, place) => {
                let kind = name(&KINDS, *kind).unwrap_or("?");
                format!("{kind}: {}", place.text())
            }
            SocketSubject::Vsock(cids, ports) => {
                let part =
                    |key, empty: bool, text: String| (!empty).then(|| format!("{key}: {text}"));
                let cid = part("cid", cids.is_empty(), list(cids));
                let ports = part("ports", ports.is_empty(), list(ports));
                let parts: Vec<_> = cid.into_iter().chain(ports).collect();
                format!("vsock: {}", braced(&parts))
            }
            SocketSubject::Unix(path) => format!("unix: {}", quoted(path.value.as_str())),
            SocketSubject::Abstract(name) => format!("abstract: {}", quoted(name)),
            SocketSubject::Netlink(all) => format!("netlink: {}", named(&NETLINK, all)),
            SocketSubject::Raw => return "{ raw: true }".to_owned(),
            SocketSubject::Packet => return "{ packet: true }".to_owned(),
            SocketSubject::Families(all) => format!("families: {}", named(&FAMILIES, all)),
        };
        format!("{{ {subject}, allow: {} }}", list(&right_names(self.allow)))
    }
}

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Vec<SocketGrant> {
    let Some(items) = reader.list(node, "lines (`- { tcp: any, allow: [connect] }`)") else {
        return Vec::new();
    };
    let read = items.iter().filter_map(|item| read_one(reader, item));
    read.collect()
}

fn read_one(reader: &mut Reader, node: &Node) -> Option<SocketGrant> {
    let fields = reader.fields(node, "a line of `sockets`", KEYS)?;
    let subjects = KEYS.get(..SUBJECTS).unwrap_or_default();
    let named: Vec<_> = subjects
        .iter()
        .filter_map(|key| Some((*key, fields.find(key)?)))
        .collect();
    let [(key, value)] = named.as_slice() else {
        let message = "a line of `sockets` names exactly one kind of socket";
        let error = Diagnostic::error(node.span, message);
        reader
            .out
            .push(error.help(format!("one of: {}", subjects.join(", "))));
        return None;
    };
    let subject = read_subject(reader, key, value);
    let allow = read_allow(reader, &fields, key);
    let optional = fields.find("optional");
    let optional = optional.map(|node| (node.span, reader.boolean(node) == Some(true)));
    if let Some((span, _)) = optional
        && *key != "unix"
    {
        reader.error(span, "`optional` is for lines with `unix`");
    }
    let grant = SocketGrant {
        subject: subject?,
        allow: allow?,
        optional: optional.is_some_and(|(_, value)| value),
        span: node.span,
    };
    sides_fit(reader, &grant).then_some(grant)
}

/// `to` is of the other side, `on` of this one: each has rights of its own.
fn sides_fit(reader: &mut Reader, grant: &SocketGrant) -> bool {
    let SocketSubject::Ip(_, place) = &grant.subject else {
        return true;
    };
    let (key, wrong) = match place.on {
        _ if place.ranges.is_empty() => return true,
        true => ("on", grant.allow & TO_RIGHTS),
        false => ("to", grant.allow & ON_RIGHTS),
    };
    if wrong == 0 {
        return true;
    }
    let names = right_names(wrong).join("`, `");
    let error = Diagnostic::error(grant.span, format!("`{key}` says nothing about `{names}`"));
    let help =
        "`to` goes with `connect` and `send`, `on` with `bind` and `listen`: write two lines";
    reader.out.push(error.help(help));
    false
}

fn read_allow(reader: &mut Reader, fields: &Fields<'_>, key: &str) -> Option<u32> {
    let known: &[&str] = match key {
        "tcp" | "vsock" => &["bind", "listen", "connect"],
        "sctp" => &["bind", "listen", "connect", "send"],
        "udp" => &["bind", "connect", "send"],
        "icmp" => &["bind", "connect", "send"],
        "unix" => &["connect", "send"],
        "abstract" => &["bind", "connect", "send"],
        _ => &["create"],
    };
    let node = match fields.find("allow") {
        None if known == ["create"] => return Some(right::CREATE),
        found => found.or_else(|| reader.require(fields, "allow", &format!("[{}]", known[0])))?,
    };
    let parse = |word: &str| {
        let found = number(&right::NAMES, word)?;
        known.contains(&word).then_some(found)
    };
    let what = format!("rights over `{key}` sockets");
    let read = reader.words(node, &what, known, parse)?;
    Some(read.into_iter().fold(0, |all, one| all | one))
}

fn read_subject(reader: &mut Reader, key: &str, node: &Node) -> Option<SocketSubject> {
    match key {
        "vsock" => read_vsock(reader, node),
        "unix" => HostPath::read(reader, node).map(SocketSubject::Unix),
        "abstract" => read_name(reader, node),
        "netlink" => named(reader, node, "netlink protocols", &NETLINK).map(SocketSubject::Netlink),
        "families" => {
            named(reader, node, "address families", &FAMILIES).map(SocketSubject::Families)
        }
        "raw" | "packet" => match reader.boolean(node)? {
            true if key == "raw" => Some(SocketSubject::Raw),
            true => Some(SocketSubject::Packet),
            false => {
                reader.error(node.span, format!("`{key}: false` grants nothing"));
                None
            }
        },
        _ => {
            let kind = number(&KINDS, key)?;
            read_place(reader, node, kind).map(|place| SocketSubject::Ip(kind, place))
        }
    }
}

fn named(
    reader: &mut Reader,
    node: &Node,
    what: &str,
    table: &[(&'static str, u32)],
) -> Option<Vec<u32>> {
    let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    reader.words(node, what, &names, |word| number(table, word))
}

fn read_name(reader: &mut Reader, node: &Node) -> Option<SocketSubject> {
    let text = reader.text(node, "an abstract name")?;
    if (1..=NAME_BYTES).contains(&text.value.len()) && !text.value.contains('\0') {
        return Some(SocketSubject::Abstract(text.value.to_owned()));
    }
    let message = format!("an abstract name has 1 to {NAME_BYTES} bytes");
    reader.error(text.span, message);
    None
}

fn is_any(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar { text, .. } if text == "any")
}

fn read_place(reader: &mut Reader, node: &Node, kind: u32) -> Option<Place> {
    if is_any(node) {
        return Some(Place::default());
    }
    let known = if kind == kind::ICMP {
        &PLACE_KEYS[..2]
    } else {
        PLACE_KEYS
    };
    let fields = reader.fields(node, "the addresses of a line, or `any`", known)?;
    let (to, on) = (fields.find("to"), fields.find("on"));
    if let (Some(_), Some(second)) = (to, on) {
        reader.error(
            second.span,
            "`to` and `on` are of different sides: write two lines",
        );
        return None;
    }
    let ranges = match to.or(on) {
        Some(node) => several(reader, node, "address ranges", Cidr::read)?,
        None => Vec::new(),
    };
    let ports = read_ports(reader, &fields, 65535)?;
    if ranges.is_empty() && ports.is_empty() {
        reader.error(
            node.span,
            "no address is named: write `any` if every one is meant",
        );
        return None;
    }
    let on = on.is_some();
    Some(Place { ranges, on, ports })
}

fn read_ports(reader: &mut Reader, fields: &Fields<'_>, most: u32) -> Option<Vec<Ports>> {
    match fields.find("ports") {
        Some(node) => several(reader, node, "ports", |reader, node| {
            Ports::read(reader, node, most)
        }),
        None => Some(Vec::new()),
    }
}

/// A list that is not empty.
fn several<T>(
    reader: &mut Reader,
    node: &Node,
    what: &str,
    mut read: impl FnMut(&mut Reader, &Node) -> Option<T>,
) -> Option<Vec<T>> {
    let items = reader.list(node, what)?;
    if items.is_empty() {
        let error = Diagnostic::error(node.span, format!("the list of {what} is empty"));
        reader
            .out
            .push(error.help("name at least one, or leave the key out"));
        return None;
    }
    items.iter().map(|item| read(reader, item)).collect()
}

fn read_vsock(reader: &mut Reader, node: &Node) -> Option<SocketSubject> {
    if is_any(node) {
        return Some(SocketSubject::Vsock(Vec::new(), Vec::new()));
    }
    let fields = reader.fields(node, "the addresses of a line, or `any`", VSOCK_KEYS)?;
    let cids = match fields.find("cid") {
        Some(node) => several(reader, node, "context ids", |reader, node| {
            let word = reader.word(node, "a context id")?;
            let number = word.value.parse().ok();
            if number.is_none() {
                reader.error(word.span, format!("`{}` is not a context id", word.value));
            }
            number
        })?,
        None => Vec::new(),
    };
    let ports = read_ports(reader, &fields, u32::MAX)?;
    Some(SocketSubject::Vsock(cids, ports))
}
