//! Sockets: the oracle on the model, with the standard library's addresses bit by bit, and the
//! property that the decision over compiled tables agrees.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ebpf_common::abi::PolicyId;
use ebpf_common::decide::socket::decide_socket;
use ebpf_common::socket::{Asked, kind, right};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::compile::compile;
use crate::facts::Facts;
use crate::model::sockets::{Cidr, Place, Ports, address};
use crate::model::{Policy, SocketSubject, parse};

fn bits(ip: IpAddr) -> Vec<bool> {
    let octets = match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let of_octet = |octet: u8| (0..8).rev().map(move |at| octet >> at & 1 == 1);
    octets.into_iter().flat_map(of_octet).collect()
}

/// Whether the address begins with the range's bits. One that stands for an IPv4 address is that.
fn in_range(range: &Cidr, ip: IpAddr) -> bool {
    let (range_bits, ip_bits) = (bits(range.address), bits(ip.to_canonical()));
    let prefix = usize::from(range.prefix);
    range_bits.len() == ip_bits.len() && range_bits[..prefix] == ip_bits[..prefix]
}

fn port_fits(ports: &[Ports], port: u32) -> bool {
    ports.is_empty()
        || ports
            .iter()
            .any(|range| (range.first..=range.last).contains(&port))
}

fn place_fits(place: &Place, ip: IpAddr, port: u32) -> bool {
    let by_range = place.ranges.iter().any(|range| in_range(range, ip));
    (place.ranges.is_empty() || by_range) && port_fits(&place.ports, port)
}

/// Whether some line gives the right; each line stands for itself.
fn allowed(policy: &Policy, kind: u32, right: u32, ip: IpAddr, port: u32) -> bool {
    policy.sockets.iter().any(|line| match &line.subject {
        SocketSubject::Ip(of, place) if *of == kind => match right {
            right::CREATE => true,
            right => line.allow & right != 0 && place_fits(place, ip, port),
        },
        SocketSubject::Raw => kind == kind::RAW,
        SocketSubject::Packet => kind == kind::PACKET,
        _ => false,
    })
}

fn places() -> impl Strategy<Value = String> {
    let ranges = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "0.0.0.0/0",
        "10.1.2.3",
        "0.0.0.0",
        "\"fd00::/8\"",
        "\"::/0\"",
        "\"::1\"",
        "\"fd00:0:0:1::/64\"",
        "\"::\"",
    ];
    let ports = ["80", "\"8000-8100\"", "0", "\"0-65535\"", "65535"];
    (
        vec(select(ranges.to_vec()), 0..4),
        vec(select(ports.to_vec()), 0..3),
    )
        .prop_map(|(ranges, ports)| {
            let part = |key: &str, items: Vec<&str>| match items.is_empty() {
                true => String::new(),
                false => format!("{key}: [{}], ", items.join(", ")),
            };
            let inner = part("RANGE", ranges) + &part("ports", ports);
            match inner.trim_end_matches(", ") {
                "" => "any".to_owned(),
                inner => format!("{{ {inner} }}"),
            }
        })
}

fn line() -> impl Strategy<Value = String> {
    let sides = [
        ("on", "bind"),
        ("on", "bind, listen"),
        ("to", "connect"),
        ("on", "listen"),
    ];
    let of_tcp = (places(), select(sides.to_vec())).prop_map(|(place, (key, allow))| {
        format!("tcp: {}, allow: [{allow}]", place.replace("RANGE", key))
    });
    let of_udp =
        (places(), select(vec!["connect", "send", "connect, send"])).prop_map(|(place, allow)| {
            format!("udp: {}, allow: [{allow}]", place.replace("RANGE", "to"))
        });
    prop_oneof![
        4 => of_tcp,
        4 => of_udp,
        1 => Just("raw: true".to_owned()),
        1 => Just("packet: true".to_owned()),
    ]
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    let near = select(vec![
        "10.1.2.3",
        "10.1.2.4",
        "10.2.0.1",
        "11.0.0.1",
        "0.0.0.0",
        "127.0.0.1",
        "::1",
        "::",
        "fd00::1",
        "fd00:0:0:1::5",
        "fe80::1",
        "::ffff:10.1.2.3",
        "::ffff:127.0.0.1",
        "::10.1.2.3",
    ]);
    prop_oneof![
        4 => near.prop_map(|text| text.parse().expect("an address")),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        1 => any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ]
}

const PORTS: [u32; 8] = [0, 80, 443, 8000, 8050, 8100, 8101, 65535];

fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(600)
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn addresses_and_ports(
        lines in vec(line(), 1..5),
        asked in vec((addresses(), select(PORTS.to_vec())), 12),
    ) {
        let lines = lines.join(" }\n  - { ");
        let text = format!("reeve: v1\nname: a\nsockets:\n  - {{ {lines} }}\n");
        let policy = parse("p.yaml", &text).unwrap_or_else(|found| panic!("{text}\n{found}"));
        let compiled = compile(&policy, &Facts::lexical(&policy, []));
        let compiled = match compiled {
            Ok(compiled) => compiled,
            // More than a look-up can hold is refused as a whole.
            Err(found) => {
                prop_assert!(found.to_string().contains("too many rules"), "{}", found);
                return Ok(());
            }
        };
        for (ip, port) in asked {
            for kind in [kind::TCP, kind::UDP, kind::SCTP, kind::RAW, kind::PACKET, kind::VSOCK] {
                for (name, right) in right::NAMES {
                    let question = Asked { kind, right, detail: 0, address: address(ip, port) };
                    let found = decide_socket(&compiled.tables, PolicyId(1), &question, false);
                    let meant = allowed(&policy, kind, right, ip, port);
                    let what = format!("{name} {kind} {ip} {port} in {text}");
                    prop_assert_eq!(found.allowed(), meant, "{}", what);
                    let own = decide_socket(&compiled.tables, PolicyId(1), &question, true);
                    prop_assert_eq!(own.allowed(), meant || kind != kind::VSOCK);
                }
            }
        }
    }
}
