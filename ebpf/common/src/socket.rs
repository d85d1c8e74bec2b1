//! Sockets: kinds, rights, addresses, and the table of a policy's rules for them.
//!
//! An address is 128 bits with a version beside it, so that one trie serves IPv4, IPv6 and vsock.
//! An IPv4-mapped IPv6 address is the IPv4 address that it stands for.

use crate::abi::NO_RULE;

/// What a socket is; the numbers are bits of [`SocketKinds::kinds`].
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
    /// Netlink; which protocol is in [`super::SocketKinds::netlink`].
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

    /// The address's bytes, the first ones of which a range compares.
    #[inline(always)]
    pub const fn bytes(&self) -> [u8; 16] {
        let [high, low] = match self.version {
            version::V6 => self.bits,
            _ => [self.bits[1] << 32, 0],
        };
        let (high, low) = (high.to_be_bytes(), low.to_be_bytes());
        let mut all = [0; 16];
        let mut at = 0;
        while at < 8 {
            all[at] = high[at];
            all[at + 8] = low[at];
            at += 1;
        }
        all
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

/// Ranges of ports that one address range of a policy may have.
pub const PORTS_MAX: usize = 16;
/// Bits of [`PlaceKey`] before the address.
pub const PREFIX_BITS: u32 = 64;

/// Key of the trie `SOCKET_PLACES`: the longest range that holds an address is found in one
/// look-up, however many lines and containers there are.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlaceKey {
    /// Bits that count: [`PREFIX_BITS`] and those of the range.
    pub prefix: u32,
    /// Whose rule it is.
    pub policy: crate::abi::PolicyId,
    /// `kind << 8 | version`.
    pub selector: u32,
    /// The address, its first byte first.
    pub address: [u8; 16],
}

impl PlaceKey {
    /// The key under which an address is looked up.
    #[inline(always)]
    pub const fn of(policy: crate::abi::PolicyId, kind: u32, address: &Address) -> Self {
        Self {
            prefix: PREFIX_BITS + 128,
            policy,
            selector: kind << 8 | address.version,
            address: address.bytes(),
        }
    }
}

/// A range of ports with what is granted there.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRule {
    /// First port.
    pub first: u32,
    /// Last port.
    pub last: u32,
    /// Bits of [`right`].
    pub rights: u32,
    /// Index into the policy's table of grants.
    pub rule: u32,
}

/// Value of `SOCKET_PLACES`: everything that holds for an address range, that of the ranges around
/// it included.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlaceRules {
    /// Rules used.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// The rules, in the order of the policy's lines.
    pub ports: [PortRule; PORTS_MAX],
}

/// Value of `SOCKETS`, by policy: which kinds of sockets may be made.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketKinds {
    /// Bit `n`: sockets of kind `n` may be made.
    pub kinds: u32,
    /// Bit `n`: netlink protocol `n`.
    pub netlink: u32,
    /// Bit `n`: address family `n` as a whole.
    pub families: u64,
    /// First grant for each kind, or [`NO_RULE`].
    pub rules: [u32; 16],
}

impl Default for SocketKinds {
    fn default() -> Self {
        Self {
            kinds: 0,
            netlink: 0,
            families: 0,
            rules: [NO_RULE; 16],
        }
    }
}

/// What is asked of [`SocketKinds`] and [`PlaceRules`].
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

impl Asked {
    /// Whether the address decides, rather than the kind alone.
    #[inline(always)]
    pub const fn by_address(&self) -> bool {
        self.right != right::CREATE && has_addresses(self.kind)
    }
}

/// What the rules say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketAnswer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The grant that allows it or, failing that, one that names it.
    pub rule: u32,
}

impl PlaceRules {
    /// Whether a line gives the right at this port.
    #[inline(always)]
    pub fn answer(&self, asked: &Asked) -> SocketAnswer {
        let port = asked.address.port;
        let mut near = NO_RULE;
        let mut at = 0;
        while at < PORTS_MAX {
            if at as u32 >= self.count {
                break;
            }
            let found = &self.ports[at];
            if port >= found.first && port <= found.last {
                near = found.rule;
                if found.rights & asked.right != 0 {
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
}

impl SocketKinds {
    /// Making a socket, and everything about kinds that are granted as a whole.
    #[inline(always)]
    pub fn answer(&self, asked: &Asked) -> SocketAnswer {
        let allowed = match asked.kind {
            kind::NETLINK => asked.detail < 32 && self.netlink >> (asked.detail & 31) & 1 == 1,
            kind::OTHER => asked.detail < 64 && self.families >> (asked.detail & 63) & 1 == 1,
            kind => self.kinds >> (kind & 31) & 1 == 1,
        };
        // Opaque, so that the mask stays, as in `CapabilityRule::used_in`.
        let rule = self.rules[core::hint::black_box(asked.kind as usize) & 15];
        SocketAnswer { allowed, rule }
    }
}

/// Value of `UNIX_PATHS` and `UNIX_NAMES`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Default, Eq, Debug)]
pub struct UnixRule {
    /// Bits of [`right`].
    pub rights: u32,
    /// Index into the policy's table of grants.
    pub rule: u32,
    /// [`file_flags::COUNTED`](crate::abi::file_flags::COUNTED) or 0.
    pub flags: u32,
    /// As [`FileRule::generation`](crate::abi::FileRule::generation).
    pub generation: u32,
    /// As [`FileRule::use_count`](crate::abi::FileRule::use_count).
    pub use_count: u32,
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
/// Words of eight bytes that hold one.
pub const NAME_WORDS: usize = NAME_BYTES.div_ceil(8);

/// Hash of an abstract name and its length. `name` holds the name's bytes as they lie in memory,
/// and zeroes after them.
#[inline(always)]
pub fn name_hash(name: &[u64; NAME_WORDS], length: u32) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ u64::from(length);
    let mut at = 0;
    while at < NAME_WORDS {
        hash = (hash ^ name[at]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
        at += 1;
    }
    hash
}

/// [`name_hash`] of a string of at most [`NAME_BYTES`].
pub fn name_hash_of(name: &str) -> u64 {
    let mut bytes = [[0; 8]; NAME_WORDS];
    for (to, from) in bytes.as_flattened_mut().iter_mut().zip(name.bytes()) {
        *to = from;
    }
    name_hash(&bytes.map(u64::from_ne_bytes), name.len() as u32)
}

const _: () = {
    assert!(size_of::<PlaceKey>() == 28);
    assert!(size_of::<PortRule>() == 16);
    assert!(size_of::<PlaceRules>() == 8 + PORTS_MAX * 16);
    assert!(size_of::<SocketKinds>() == 80);
    assert!(size_of::<UnixRule>() == 20);
    assert!(size_of::<NameKey>() == 16);
};
