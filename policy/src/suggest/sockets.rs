//! Lines of the section `sockets`.

use ebpf_common::socket::{Address, NAME_BYTES, kind, right};

use super::Denied;
use crate::model::HostPath;
use crate::model::sockets::ip_of;
use crate::model::value::quoted;
use crate::names::socket::{FAMILIES, KINDS, NETLINK, name, right_names};

/// The line for a refusal about sockets.
pub(super) fn suggest(denied: &Denied) -> Option<String> {
    match denied {
        Denied::Socket {
            kind,
            right,
            detail,
            address,
        } => suggest_socket(*kind, *right, *detail, address),
        Denied::UnixPath { path, right } => {
            let path = quoted(HostPath::parse(path).ok()?.as_str());
            Some(line(&format!("unix: {path}"), *right))
        }
        Denied::UnixName { name, right } => {
            let name = quoted_name(name)?;
            Some(line(&format!("abstract: {name}"), *right))
        }
        _ => None,
    }
}

/// A line with what it is about and one right.
fn line(subject: &str, right: u32) -> String {
    let rights = right_names(right).join(", ");
    format!("sockets: - {{ {subject}, allow: [{rights}] }}")
}

/// An abstract name as a policy can hold it.
fn quoted_name(name: &str) -> Option<String> {
    let fits = (1..=NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    // What looks like a number or a word of YAML is a name here.
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let text = if plain && !matches!(name, "true" | "false" | "null") {
        quoted(name)
    } else {
        format!("'{}'", name.replace('\'', "''"))
    };
    fits.then_some(text)
}

fn suggest_socket(kind: u32, right: u32, detail: u32, address: &Address) -> Option<String> {
    match kind {
        kind::NETLINK => {
            let protocol = name(&NETLINK, detail)?;
            return Some(line(&format!("netlink: [{protocol}]"), right::CREATE));
        }
        kind::OTHER => {
            let family = name(&FAMILIES, detail)?;
            return Some(line(&format!("families: [{family}]"), right::CREATE));
        }
        kind::RAW => return Some("sockets: - { raw: true }".to_owned()),
        kind::PACKET => return Some("sockets: - { packet: true }".to_owned()),
        _ => {}
    }
    let named = name(&KINDS, kind)?;
    if right == right::CREATE {
        // Making one is granted with any use; connecting is what most are for.
        return Some(line(&format!("{named}: any"), right::CONNECT));
    }
    let ports = format!("ports: [{}]", address.port);
    if kind == kind::VSOCK {
        let place = match right {
            right::CONNECT => format!("{{ cid: [{}], {ports} }}", address.bits[1]),
            right::LISTEN => "any".to_owned(),
            _ => format!("{{ {ports} }}"),
        };
        return Some(line(&format!("vsock: {place}"), right));
    }
    let ip = ip_of(address)?;
    let ip = if ip.is_ipv4() {
        ip.to_string()
    } else {
        format!("\"{ip}\"")
    };
    let side = match right {
        right::CONNECT | right::SEND => "to",
        _ => "on",
    };
    let place = match kind {
        kind::ICMP => format!("{side}: [{ip}]"),
        _ => format!("{side}: [{ip}], {ports}"),
    };
    Some(line(&format!("{named}: {{ {place} }}"), right))
}

/// One refusal of each kind.
#[cfg(test)]
pub(super) fn samples() -> Vec<Denied> {
    let v6 = Address::v6([0xfd00 << 48, 1], 53);
    let cid = Address {
        version: ebpf_common::socket::version::CID,
        bits: [0, 2],
        port: 1024,
    };
    let one = |kind, right, detail, address| Denied::Socket {
        kind,
        right,
        detail,
        address,
    };
    vec![
        one(kind::TCP, right::CONNECT, 0, Address::v4(0x0a00_0001, 80)),
        one(kind::UDP, right::SEND, 0, v6),
        one(kind::TCP, right::LISTEN, 0, v6),
        one(kind::ICMP, right::SEND, 0, v6),
        one(kind::SCTP, right::CREATE, 0, Address::default()),
        one(kind::VSOCK, right::CONNECT, 0, cid),
        one(kind::VSOCK, right::BIND, 0, cid),
        one(kind::VSOCK, right::LISTEN, 0, Address::default()),
        one(kind::NETLINK, right::CREATE, 16, Address::default()),
        one(kind::OTHER, right::BIND, 38, Address::default()),
        one(kind::RAW, right::SEND, 0, Address::default()),
        one(kind::PACKET, right::CREATE, 0, Address::default()),
        Denied::UnixPath {
            path: "/run/a b".to_owned(),
            right: right::CONNECT,
        },
        Denied::UnixName {
            name: "12".to_owned(),
            right: right::BIND,
        },
        Denied::UnixName {
            name: "/tmp/.X11-unix/X0".to_owned(),
            right: right::CONNECT,
        },
    ]
}
