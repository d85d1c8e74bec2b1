//! Sockets: those of the container's own network freely, the host's by kind, address and port; unix
//! sockets by who listens.

use super::file::{of_another_device, of_another_inode};
use super::{Reason, Verdict};
use crate::abi::{
    FileRule, InodeKey, NO_RULE, PolicyHeader, PolicyId, SuperKey, file_flags, kernel, super_kind,
};
use crate::decide::FileObject;
use crate::errno::{EACCES, EPERM};
use crate::lookup::{Chain, Lookup, Step, Walked};
use crate::magic;
use crate::socket::{Asked, NameKey, UnixRule, kind, of_network, right};

/// The network namespace that a socket is in, or that a new one would be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// `ns.inum`; 0 where it could not be read.
    pub number: u32,
    /// It belongs to the user namespace that the caller is in, and that is not the initial one: the
    /// container has made both.
    pub of_own_user_namespace: bool,
}

/// Whether a network namespace is the container's own: the one that it started in, if that is not
/// the host's, or one that it made together with a user namespace.
#[inline(always)]
pub fn owns_network<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    header: &PolicyHeader,
    network: &Network,
) -> bool {
    if network.of_own_user_namespace {
        return true;
    }
    let private = header.kernel & kernel::PRIVATE_NET != 0;
    private && network.number != 0 && tables.network(policy) == Some(network.number)
}

/// What an unprivileged caller gets: `EPERM` where a packet filter says no, and for sockets that
/// need a capability; `EACCES` for an address or kind that it may not have.
#[inline(always)]
const fn errno(asked: &Asked) -> i32 {
    match (asked.right, asked.kind) {
        (right::CONNECT | right::SEND, _) | (_, kind::RAW | kind::PACKET) => EPERM,
        _ => EACCES,
    }
}

/// Anything but unix sockets. `own_network`: [`owns_network`].
#[inline(always)]
pub fn decide_socket<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    asked: &Asked,
    own_network: bool,
) -> Verdict {
    if own_network && of_network(asked.kind) {
        return Verdict::allow(NO_RULE);
    }
    match tables.socket(policy, asked) {
        Some(found) if found.allowed => Verdict::allow(found.rule),
        Some(found) if found.rule != NO_RULE => {
            Verdict::refuse(errno(asked), Reason::NotInGrant, found.rule)
        }
        _ => Verdict::no_grant(errno(asked)),
    }
}

/// Options that lead packets another way than to the address that was decided.
#[inline(always)]
pub const fn leads_elsewhere(level: u32, option: u32) -> bool {
    const IPPROTO_IP: u32 = 0;
    const IPPROTO_IPV6: u32 = 41;
    const IP_OPTIONS: u32 = 4;
    const IP_RETOPTS: u32 = 7;
    const IPV6_2292RTHDR: u32 = 5;
    const IPV6_2292PKTOPTIONS: u32 = 6;
    const IPV6_RTHDR: u32 = 57;
    match level {
        IPPROTO_IP => matches!(option, IP_OPTIONS | IP_RETOPTS),
        IPPROTO_IPV6 => matches!(option, IPV6_2292RTHDR | IPV6_2292PKTOPTIONS | IPV6_RTHDR),
        _ => false,
    }
}

/// Control messages that do: the same options, and further addresses of an SCTP association
/// (`SCTP_DSTADDRV4`, `SCTP_DSTADDRV6`), for which the kernel asks no hook.
#[inline(always)]
pub const fn message_leads_elsewhere(level: u32, message: u32) -> bool {
    const IPPROTO_SCTP: u32 = 132;
    leads_elsewhere(level, message) || level == IPPROTO_SCTP && matches!(message, 7 | 8)
}

/// Source routes over the host's network: never.
#[inline(always)]
pub fn decide_route(own_network: bool) -> Verdict {
    match own_network {
        true => Verdict::allow(NO_RULE),
        false => Verdict::no_grant(EPERM),
    }
}

/// Connecting or sending to a unix socket that lies in a file system, by the identity of its inode
/// and of the directories above. `chain` begins at the socket.
#[inline(always)]
pub fn decide_unix_path<L: Lookup, C: Chain>(
    tables: &L,
    policy: PolicyId,
    object: &FileObject,
    chain: &mut C,
    right: u32,
) -> Verdict {
    let key = SuperKey {
        policy,
        dev: object.dev,
    };
    if let Some(found) = tables.super_block(key)
        && found.is(object.super_block, object.magic)
        && found.kind != super_kind::GRANTED
        && !magic::shows_kernel(object.magic)
    {
        return Verdict::allow(NO_RULE);
    }
    let (mut file, mut unix) = (FileRule::default(), UnixRule::default());
    let walked = chain.walk(&mut |step: Step| {
        let key = InodeKey {
            policy,
            dev: object.dev,
            ino: step.ino,
        };
        let decides = file_flags::CORE | file_flags::OWN;
        if let Some(found) = tables.file(key)
            && found.flags & decides != 0
            && of_another_inode(found.generation, step.generation) == 0
        {
            file = found;
            return true;
        }
        if let Some(found) = tables.unix_path(key)
            && of_another_inode(found.generation, step.generation) == 0
        {
            unix = found;
            return true;
        }
        false
    });
    match walked {
        Walked::Stopped => by_rules(tables, object.dev, &file, &unix, right),
        Walked::Top => Verdict::no_grant(EACCES),
        Walked::TooDeep => Verdict::refuse(EACCES, Reason::TooDeep, NO_RULE),
    }
}

/// What the nearest rule says: one of files that is the core or the container's own, or one of unix
/// sockets.
#[inline(always)]
fn by_rules<L: Lookup>(
    tables: &L,
    dev: u32,
    file: &FileRule,
    unix: &UnixRule,
    right: u32,
) -> Verdict {
    if file.flags & file_flags::CORE != 0 {
        return Verdict::refuse(EACCES, Reason::Core, NO_RULE);
    }
    let (flags, use_count) = (file.flags | unix.flags, file.use_count | unix.use_count);
    if of_another_device(tables, dev, flags, use_count) {
        return Verdict::no_grant(EACCES);
    }
    if file.flags & file_flags::OWN != 0 {
        return Verdict::allow(NO_RULE);
    }
    match unix.rights & right {
        0 => Verdict::refuse(EACCES, Reason::NotInGrant, unix.rule),
        _ => Verdict::allow(unix.rule),
    }
}

/// Binding, connecting or sending to an abstract name. `own_network`: the name is in a network
/// namespace of the container's own.
#[inline(always)]
pub fn decide_unix_name<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    hash: u64,
    right: u32,
    own_network: bool,
) -> Verdict {
    if own_network {
        return Verdict::allow(NO_RULE);
    }
    let key = NameKey {
        hash,
        policy,
        reserved: 0,
    };
    match tables.unix_name(key) {
        Some(found) if found.rights & right != 0 => Verdict::allow(found.rule),
        Some(found) => Verdict::refuse(EACCES, Reason::NotInGrant, found.rule),
        None => Verdict::no_grant(EACCES),
    }
}
