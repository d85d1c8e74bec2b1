//! Sockets: kinds, rights, addresses, and the table of a policy's rules for them.
//!
//! An address is 128 bits in host byte order with a version beside it, so that one comparison under
//! a mask serves IPv4, IPv6 and vsock. An IPv4-mapped IPv6 address is the IPv4 address that it
//! stands for.

use crate::abi::NO_RULE;

/// What a socket is; the numbers are bits of [`SocketRules::kinds`].
pub mod kind {
    /// TCP and MPTCP.
    pub const TCP: u32 = 0;
    /// UDP and UDP-Lite.
    pub const UDP: u32 = 1;
    /// SCTP.
    pub const SCTP: u32 = 2;
    /// ICMP echo (`SOCK_DGRAM` with `IPPROTO_ICMP` or `IPPROTO_ICMPV6`).
    pub const ICMP: u32 = 3;
    /// Channels between a virtual machine and its host.
    pub const VSOCK: u32 = 4;
    /// Raw IP, and IP protocols that have no kind of their own.
    pub const RAW: u32 = 5;
    /// Packets of a link.
    pub const PACKET: u32 = 6;
    /// Netlink; which protocol is in [`super::SocketRules::netlink`].
    pub const NETLINK: u32 = 7;
    /// Unix sockets, which are decided by their peer.
    pub const UNIX: u32 = 8;
    /// Any other family.
    pub const OTHER: u32 = 9;
}

/// What may be done with a socket, as bits.
pub mod right {
    /// Make one.
    pub const CREATE: u32 = 1 << 0;
    /// Give it an address of this side.
    pub const BIND: u32 = 1 << 1;
    /// Connect it to an address.
    pub const CONNECT: u32 = 1 << 2;
    /// Take connections.
    pub const LISTEN: u32 = 1 << 3;
    /// Send to an address without a connection.
    pub const SEND: u32 = 1 << 4;

    /// Name and bit of each right, in the order in which they are documented.
    pub const NAMES: [(&str, u32); 5] = [
        ("create", CREATE),
        ("bind", BIND),
        ("listen", LISTEN),
        ("connect", CONNECT),
        ("send", SEND),
    ];
}

/// Address families (`include/linux/socket.h`).
pub mod family {
    /// `AF_UNSPEC`.
    pub const UNSPEC: u32 = 0;
    /// `AF_UNIX`.
    pub const UNIX: u32 = 1;
    /// `AF_INET`.
    pub const INET: u32 = 2;
    /// `AF_INET6`.
    pub const INET6: u32 = 10;
    /// `AF_NETLINK`.
    pub const NETLINK: u32 = 16;
    /// `AF_PACKET`.
    pub const PACKET: u32 = 17;
    /// `AF_VSOCK`.
    pub const VSOCK: u32 = 40;
}

/// Versions of an address.
pub mod version {
    /// None: a socket that has no address yet.
    pub const NONE: u32 = 0;
    /// IPv4.
    pub const V4: u32 = 4;
    /// IPv6.
    pub const V6: u32 = 6;
    /// A context id of vsock.
    pub const CID: u32 = 1;
}

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_SEQPACKET: u32 = 5;

/// The kind of a socket by what `socket(2)` is given.
#[inline(always)]
pub const fn kind_of(family: u32, socket_type: u32, protocol: u32) -> u32 {
    match family {
        family::UNIX => kind::UNIX,
        family::NETLINK => kind::NETLINK,
        family::PACKET => kind::PACKET,
        family::VSOCK => kind::VSOCK,
        family::INET | family::INET6 => match (socket_type, protocol) {
            (SOCK_STREAM, 0 | 6 | 262) => kind::TCP,
            (SOCK_DGRAM, 0 | 17 | 136) => kind::UDP,
            (SOCK_STREAM | SOCK_SEQPACKET, 132) => kind::SCTP,
            (SOCK_DGRAM, 1 | 58) => kind::ICMP,
            _ => kind::RAW,
        },
        _ => kind::OTHER,
    }
}

/// Whether sockets of this kind belong to a network namespace, and so to a container that has one.
#[inline(always)]
pub const fn of_network(kind: u32) -> bool {
    !matches!(kind, kind::VSOCK | kind::OTHER)
}

/// Whether lines about this kind say with which addresses.
#[inline(always)]
pub const fn has_addresses(kind: u32) -> bool {
    kind <= kind::VSOCK
}

/// An address and port, of either side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// One of [`version`].
    pub version: u32,
    /// The address; IPv4 and a context id in the lowest 32 bits of the second word.
    pub bits: [u64; 2],
    /// The port, 0 for none.
    pub port: u32,
}

impl Address {
    /// An IPv4 address.
    #[inline(always)]
    pub const fn v4(address: u32, port: u32) -> Self {
        Self {
            version: version::V4,
            bits: [0, address as u64],
            port,
        }
    }

    /// An IPv6 address, or the IPv4 address that it stands for.
    #[inline(always)]
    pub const fn v6(bits: [u64; 2], port: u32) -> Self {
        if bits[0] == 0 && bits[1] >> 32 == 0xffff {
            return Self::v4(bits[1] as u32, port);
        }
        Self {
            version: version::V6,
            bits,
            port,
        }
    }

    /// The address of a `sockaddr` whose bytes lie in words of 32 bits, as the kernel's memory
    /// holds them. `None` if it is of a family that the kind does not use, or cut short.
    ///
    /// `AF_UNSPEC` is `AF_INET` to `bind` and to sending over IPv4.
    #[inline(always)]
    pub fn read(kind: u32, words: &[u32; SOCKADDR_WORDS], length: u32) -> Option<Self> {
        let family = u32::from(words[0] as u16);
        let port = u32::from(u16::from_be((words[0] >> 16) as u16));
        if kind == kind::VSOCK {
            // `struct sockaddr_vm`: reserved, port, context id, in host byte order.
            return (length >= 16 && family == family::VSOCK).then_some(Self {
                version: version::CID,
                bits: [0, words[2] as u64],
                port: words[1],
            });
        }
        match family {
            family::INET | family::UNSPEC if length >= 8 => {
                Some(Self::v4(u32::from_be(words[1]), port))
            }
            // `struct sockaddr_in6`: port, flow information, address.
            family::INET6 if length >= 24 => {
                let pair = |at: usize| {
                    let high = u64::from(u32::from_be(words[at])) << 32;
                    high | u64::from(u32::from_be(words[at + 1]))
                };
                Some(Self::v6([pair(2), pair(4)], port))
            }
            _ => None,
        }
    }
}

/// Words of the longest `sockaddr` that is read (`struct sockaddr_in6`).
pub const SOCKADDR_WORDS: usize = 7;

/// Rules that one policy may have: lines, times their addresses, times their ranges of ports.
pub const RULES_MAX: usize = 128;

/// One address range with one range of ports.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketRule {
    /// Bits of the address that count.
    pub mask: [u64; 2],
    /// What they must be.
    pub value: [u64; 2],
    /// [`selector`] of the kind and version.
    pub selector: u32,
    /// First port.
    pub first_port: u32,
    /// Last port.
    pub last_port: u32,
    /// Bits of [`right`].
    pub rights: u32,
    /// Index into the policy's table of grants.
    pub rule: u32,
    /// Zero.
    pub reserved: u32,
}

impl SocketRule {
    /// A place in the table that holds no rule.
    pub const EMPTY: Self = Self {
        mask: [0; 2],
        value: [0; 2],
        selector: 0,
        first_port: 0,
        last_port: 0,
        rights: 0,
        rule: NO_RULE,
        reserved: 0,
    };
}

/// Kind and version of a rule in one number, never 0.
#[inline(always)]
pub const fn selector(kind: u32, version: u32) -> u32 {
    1 << 16 | kind << 8 | version
}

/// Value of `SOCKETS`, by policy: all that its lines say of sockets but unix ones. A decision looks
/// through at most [`RULES_MAX`] rules, however many containers there are.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketRules {
    /// Bit `n`: sockets of kind `n` may be made.
    pub kinds: u32,
    /// Bit `n`: netlink protocol `n`.
    pub netlink: u32,
    /// Bit `n`: address family `n` as a whole.
    pub families: u64,
    /// Grant behind each kind, or [`NO_RULE`].
    pub kind_rules: [u32; 10],
    /// Rules used.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// The rules, in the order of the policy's lines.
    pub rules: [SocketRule; RULES_MAX],
}

impl Default for SocketRules {
    fn default() -> Self {
        Self {
            kinds: 0,
            netlink: 0,
            families: 0,
            kind_rules: [NO_RULE; 10],
            count: 0,
            reserved: 0,
            rules: [SocketRule::EMPTY; RULES_MAX],
        }
    }
}

/// What is asked of [`SocketRules`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// One of [`kind`].
    pub kind: u32,
    /// One bit of [`right`].
    pub right: u32,
    /// Netlink protocol or address family, for [`kind::NETLINK`] and [`kind::OTHER`].
    pub detail: u32,
    /// With which address; the other side's for `connect` and `send`, else this side's.
    pub address: Address,
}

/// What the rules say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketAnswer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The grant that allows it or, failing that, the last that names the address.
    pub rule: u32,
}

impl SocketRules {
    /// Whether a line gives the right.
    #[inline(always)]
    pub fn answer(&self, asked: &Asked) -> SocketAnswer {
        if asked.right == right::CREATE || !has_addresses(asked.kind) {
            return self.whole(asked);
        }
        let selector = selector(asked.kind, asked.address.version);
        let [high, low] = asked.address.bits;
        let port = asked.address.port;
        let mut near = NO_RULE;
        let mut at = 0;
        while at < RULES_MAX {
            let rule = &self.rules[at];
            if at as u32 >= self.count {
                break;
            }
            let differs =
                (high & rule.mask[0] ^ rule.value[0]) | (low & rule.mask[1] ^ rule.value[1]);
            if differs == 0
                && rule.selector == selector
                && port >= rule.first_port
                && port <= rule.last_port
            {
                near = rule.rule;
                if rule.rights & asked.right != 0 {
                    return SocketAnswer {
                        allowed: true,
                        rule: near,
                    };
                }
            }
            at += 1;
        }
        SocketAnswer {
            allowed: false,
            rule: near,
        }
    }

    /// Making a socket, and everything about kinds that are granted as a whole.
    #[inline(always)]
    fn whole(&self, asked: &Asked) -> SocketAnswer {
        let by_kind = self.kinds >> (asked.kind & 31) & 1 == 1;
        let allowed = match asked.kind {
            kind::NETLINK => asked.detail < 32 && self.netlink >> (asked.detail & 31) & 1 == 1,
            kind::OTHER => asked.detail < 64 && self.families >> (asked.detail & 63) & 1 == 1,
            _ => by_kind,
        };
        let mut rule = NO_RULE;
        let mut at = 0;
        // A constant index: the verifier of 6.1 loses the bound of a computed one.
        while at < self.kind_rules.len() {
            if at as u32 == asked.kind {
                rule = self.kind_rules[at];
            }
            at += 1;
        }
        SocketAnswer { allowed, rule }
    }
}

/// Value of `UNIX_PATHS` and `UNIX_NAMES`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnixRule {
    /// Bits of [`right`].
    pub rights: u32,
    /// Index into the policy's table of grants.
    pub rule: u32,
}

/// Key of `UNIX_NAMES`: an abstract name in the host's network namespace.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NameKey {
    /// [`name_hash`].
    pub hash: u64,
    /// Whose rule it is.
    pub policy: crate::abi::PolicyId,
    /// Zero.
    pub reserved: u32,
}

/// Longest abstract name, without its leading NUL.
pub const NAME_BYTES: usize = 107;

/// FNV-1a of an abstract name and its length.
#[inline(always)]
pub fn name_hash(name: &[u8; NAME_BYTES], length: usize) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut at = 0;
    while at < NAME_BYTES {
        if at >= length {
            break;
        }
        hash = (hash ^ name[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash ^ length as u64
}

/// [`name_hash`] of a string of at most [`NAME_BYTES`].
pub fn name_hash_of(name: &str) -> u64 {
    let mut bytes = [0; NAME_BYTES];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    name_hash(&bytes, name.len())
}

const _: () = {
    assert!(size_of::<SocketRule>() == 56);
    assert!(size_of::<SocketRules>() == 64 + RULES_MAX * 56);
    assert!(core::mem::offset_of!(SocketRules, rules) == 64);
    assert!(size_of::<UnixRule>() == 8);
    assert!(size_of::<NameKey>() == 16);
};
