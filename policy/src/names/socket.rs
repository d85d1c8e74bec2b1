//! Kinds of sockets, netlink protocols and address families by name
//! (`include/uapi/linux/netlink.h`, `include/linux/socket.h`).

use ebpf_common::socket::kind;

/// Kinds whose lines say with which addresses.
pub const KINDS: [(&str, u32); 5] = [
    ("tcp", kind::TCP),
    ("udp", kind::UDP),
    ("sctp", kind::SCTP),
    ("icmp", kind::ICMP),
    ("vsock", kind::VSOCK),
];

/// Netlink protocols.
pub const NETLINK: [(&str, u32); 16] = [
    ("route", 0),
    ("usersock", 2),
    ("sock_diag", 4),
    ("xfrm", 6),
    ("selinux", 7),
    ("iscsi", 8),
    ("audit", 9),
    ("fib_lookup", 10),
    ("connector", 11),
    ("netfilter", 12),
    ("kobject_uevent", 15),
    ("generic", 16),
    ("scsitransport", 18),
    ("rdma", 20),
    ("crypto", 21),
    ("smc", 22),
];

/// Address families that are granted as a whole.
pub const FAMILIES: [(&str, u32); 11] = [
    ("key", 15),
    ("rds", 21),
    ("can", 29),
    ("tipc", 30),
    ("bluetooth", 31),
    ("rxrpc", 33),
    ("alg", 38),
    ("nfc", 39),
    ("qipcrtr", 42),
    ("smc", 43),
    ("xdp", 44),
];

/// The number of a name.
pub fn number(table: &[(&str, u32)], name: &str) -> Option<u32> {
    let mut rows = table.iter();
    rows.find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// The name of a number.
pub fn name(table: &[(&'static str, u32)], number: u32) -> Option<&'static str> {
    let mut rows = table.iter();
    rows.find(|(_, known)| *known == number)
        .map(|(name, _)| *name)
}

/// The names of the rights in a set, in documented order.
pub fn right_names(rights: u32) -> Vec<&'static str> {
    let all = ebpf_common::socket::right::NAMES.into_iter();
    all.filter(|(_, bit)| rights & bit != 0)
        .map(|(name, _)| name)
        .collect()
}
