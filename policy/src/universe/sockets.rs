//! Questions about sockets: the ends of each range that a line names, and what lies next to them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ebpf_common::socket::right;

use crate::explain::Question;
use crate::model::Policy;
use crate::model::sockets::{Cidr, Ports, SocketSubject};
use crate::names::socket::{FAMILIES, KINDS, NETLINK, name};

/// Of a range and around it.
fn addresses(range: &Cidr) -> Vec<IpAddr> {
    match range.address {
        IpAddr::V4(first) => {
            let first = u32::from(first);
            let last = first | u32::MAX.checked_shr(range.prefix.into()).unwrap_or(0);
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                .map(|one| Ipv4Addr::from(one).into())
                .to_vec()
        }
        IpAddr::V6(first) => {
            let first = u128::from(first);
            let last = first | u128::MAX.checked_shr(range.prefix.into()).unwrap_or(0);
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                .map(|one| Ipv6Addr::from(one).into())
                .to_vec()
        }
    }
}

fn ports(range: &Ports) -> [u32; 4] {
    let (first, last) = (range.first, range.last);
    [first.saturating_sub(1), first, last, last.saturating_add(1)]
}

/// What the lines of `policy` are about.
pub(super) fn ask(policy: &Policy, all: &mut Vec<Question>) {
    let mut texts = BTreeSet::new();
    let verbs = right::NAMES.map(|(name, _)| name);
    for grant in &policy.sockets {
        let mut every = |kind: &str, at: String| {
            texts.extend(verbs.map(|verb| format!("{verb} {kind} {at}")));
        };
        match &grant.subject {
            SocketSubject::Ip(kind, place) => {
                let kind = name(&KINDS, *kind).unwrap_or_default();
                let any = [IpAddr::from([192, 0, 2, 1]), Ipv6Addr::LOCALHOST.into()];
                let hosts: Vec<_> = match place.ranges.is_empty() {
                    true => any.to_vec(),
                    false => place.ranges.iter().flat_map(addresses).collect(),
                };
                let numbers: Vec<_> = match place.ports.is_empty() {
                    true => vec![0, 1, 65535],
                    false => place.ports.iter().flat_map(ports).collect(),
                };
                for host in hosts {
                    let ports = numbers.iter().filter_map(|port| u16::try_from(*port).ok());
                    ports.for_each(|port| every(kind, SocketAddr::new(host, port).to_string()));
                }
                texts.insert(format!("create-socket {kind}"));
            }
            SocketSubject::Vsock(cids, numbers) => {
                let any = [0, 2, 1024];
                let cids = if cids.is_empty() { &any[..] } else { cids };
                let numbers: Vec<_> = match numbers.is_empty() {
                    true => any.to_vec(),
                    false => numbers.iter().flat_map(ports).collect(),
                };
                for cid in cids {
                    numbers
                        .iter()
                        .for_each(|port| every("vsock", format!("{cid}:{port}")));
                }
            }
            SocketSubject::Unix(path) => every("unix", format!("'{}'", path.value)),
            SocketSubject::Abstract(name) => every("abstract", format!("'{name}'")),
            SocketSubject::Netlink(protocols) => {
                let names = protocols.iter().filter_map(|one| name(&NETLINK, *one));
                texts.extend(names.map(|name| format!("create-socket netlink {name}")));
            }
            SocketSubject::Families(families) => {
                let names = families.iter().filter_map(|one| name(&FAMILIES, *one));
                texts.extend(names.map(|name| format!("create-socket family {name}")));
            }
            SocketSubject::Raw => drop(texts.insert("create-socket raw".to_owned())),
            SocketSubject::Packet => drop(texts.insert("create-socket packet".to_owned())),
        }
    }
    all.extend(texts.iter().filter_map(|text| text.parse().ok()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse;

    #[test]
    fn the_ends_of_ranges_and_what_is_next_to_them_are_asked_about() {
        let text = "reeve: v1\nname: a\nsockets:\n  \
                    - { tcp: { to: [10.1.0.0/16], ports: [80] }, allow: [connect] }\n  \
                    - { udp: any, allow: [send] }\n  - { netlink: [route] }\n  \
                    - { unix: /run/a b, allow: [connect] }\n";
        let policy = parse("p.yaml", text).unwrap_or_else(|found| panic!("{found}"));
        let mut all = Vec::new();
        ask(&policy, &mut all);
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        for text in [
            "connect tcp 10.0.255.255:80",
            "connect tcp 10.1.0.0:79",
            "connect tcp 10.1.255.255:81",
            "connect tcp 10.2.0.0:80",
            "create-socket udp",
            "create-socket netlink route",
        ] {
            assert!(
                all.iter().any(|one| one == text),
                "{text} is not in {all:#?}"
            );
        }
        assert!(all.iter().any(|one| one.starts_with("connect unix")));
    }
}
