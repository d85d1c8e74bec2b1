//! Sockets, case by case: what a kind is, how an address is read, whose a network is.

use super::socket::*;
use super::*;
use crate::abi::*;
use crate::errno::{EACCES, EPERM};
use crate::lookup::{CapabilityUse, Lookup};
use crate::socket::*;

const P: PolicyId = PolicyId(7);
const OWN_NET: u32 = 4_026_532_000;

/// One unix rule at inode 20, one of the container's own files at 30, the core at 40; `kinds` for
/// all else.
#[derive(Default)]
struct Tables {
    kinds: SocketKinds,
}

impl Lookup for Tables {
    fn policy(&self, _: PolicyId) -> Option<PolicyHeader> {
        Some(PolicyHeader::default())
    }
    fn file(&self, key: InodeKey) -> Option<FileRule> {
        let flags = match key.ino {
            30 => file_flags::OWN,
            40 => file_flags::CORE,
            50 => file_flags::BACKING,
            _ => return None,
        };
        let rights = Rights::NONE;
        Some(FileRule {
            rights,
            flags,
            rule: NO_RULE,
            ..FileRule::default()
        })
    }
    fn super_block(&self, _: SuperKey) -> Option<SuperRule> {
        None
    }
    fn device(&self, _: DeviceKey) -> Option<RightsRule> {
        None
    }
    fn mount(&self, _: MountKey) -> Option<MountRule> {
        None
    }
    fn capability(&self, _: CapabilityKey, _: Option<u32>) -> Option<CapabilityUse> {
        None
    }
    fn process(&self, _: ProcessKey) -> Option<ProcessRule> {
        None
    }
    fn module(&self, _: InodeKey) -> Option<RightsRule> {
        None
    }
    fn grant(&self, _: GrantKey) -> Option<RightsRule> {
        None
    }
    fn ioctl(&self, _: IoctlKey) -> bool {
        false
    }
    fn uses_of_device(&self, _: u32) -> u32 {
        0
    }
    fn socket(&self, _: PolicyId, asked: &Asked) -> Option<SocketAnswer> {
        (!asked.by_address()).then(|| self.kinds.answer(asked))
    }
    fn unix_path(&self, key: InodeKey) -> Option<UnixRule> {
        (key.ino == 20).then_some(UnixRule {
            rights: right::CONNECT,
            rule: 3,
            ..UnixRule::default()
        })
    }
    fn unix_name(&self, key: NameKey) -> Option<UnixRule> {
        (key.hash == name_hash_of("known")).then_some(UnixRule {
            rights: right::CONNECT,
            rule: 4,
            ..UnixRule::default()
        })
    }
    fn network(&self, _: PolicyId) -> Option<u32> {
        Some(OWN_NET)
    }
}

#[test]
fn kinds_are_told_by_family_type_and_protocol() {
    for (given, kind) in [
        ((2, 1, 0), kind::TCP),
        ((10, 1, 262), kind::TCP),
        ((2, 2, 136), kind::UDP),
        ((2, 5, 132), kind::SCTP),
        ((10, 2, 58), kind::ICMP),
        ((2, 3, 1), kind::RAW),
        ((2, 1, 33), kind::RAW),
        ((2, 2, 115), kind::RAW),
        ((16, 3, 0), kind::NETLINK),
        ((17, 3, 0), kind::PACKET),
        ((40, 1, 0), kind::VSOCK),
        ((1, 2, 0), kind::UNIX),
        ((43, 1, 0), kind::OTHER),
    ] {
        let (family, socket_type, protocol) = given;
        assert_eq!(kind_of(family, socket_type, protocol), kind, "{given:?}");
    }
}

/// `struct sockaddr` with a family, a port and what follows.
fn words(family: u16, port: u16, rest: [u32; 6]) -> [u32; SOCKADDR_WORDS] {
    let first = u32::from(family) | u32::from(port.to_be()) << 16;
    let [a, b, c, d, e, f] = rest.map(u32::to_be);
    [first, a, b, c, d, e, f]
}

#[test]
fn addresses_are_read_as_the_kernel_takes_them() {
    let v4 = words(2, 80, [0x7f00_0001, 0, 0, 0, 0, 0]);
    let loopback = Some(Address::v4(0x7f00_0001, 80));
    assert_eq!(Address::read(kind::TCP, &v4, 16), loopback);
    let unspec = words(0, 80, [0x7f00_0001, 0, 0, 0, 0, 0]);
    assert_eq!(Address::read(kind::UDP, &unspec, 16), loopback);
    let mapped = words(10, 80, [0, 0, 0, 0xffff, 0x7f00_0001, 0]);
    assert_eq!(Address::read(kind::TCP, &mapped, 28), loopback);
    let v6 = words(10, 80, [0, 0, 0, 0, 1, 0]);
    let read = Address::read(kind::TCP, &v6, 24).expect("an address");
    assert_eq!(
        (read.version, read.bits, read.port),
        (version::V6, [0, 1], 80)
    );
    assert_eq!(Address::read(kind::TCP, &v6, 23), None);
    assert_eq!(Address::read(kind::TCP, &v4, 7), None);
    assert_eq!(Address::read(kind::TCP, &words(1, 0, [0; 6]), 28), None);
    let vsock = [40, 1024, 2, 0, 0, 0, 0];
    let read = Address::read(kind::VSOCK, &vsock, 16).expect("an address");
    assert_eq!(
        (read.version, read.bits, read.port),
        (version::CID, [0, 2], 1024)
    );
    assert_eq!(Address::read(kind::VSOCK, &v4, 16), None);
}

#[test]
fn the_bytes_of_an_address_begin_with_what_a_range_compares() {
    assert_eq!(Address::v4(0x0a01_0203, 0).bytes()[..5], [10, 1, 2, 3, 0]);
    let v6 = Address::v6([0xfd00 << 48, 1], 0).bytes();
    assert_eq!((v6[0], v6[15]), (0xfd, 1));
}

#[test]
fn a_network_is_own_by_number_or_by_user_namespace() {
    let mut header = PolicyHeader::default();
    let network = |number, of_own_user_namespace| Network {
        number,
        of_own_user_namespace,
    };
    let owns =
        |header: &PolicyHeader, network| owns_network(&Tables::default(), P, header, &network);
    assert!(
        !owns(&header, network(OWN_NET, false)),
        "shared with the host"
    );
    assert!(owns(&header, network(1, true)));
    header.kernel = crate::abi::kernel::PRIVATE_NET;
    assert!(owns(&header, network(OWN_NET, false)));
    assert!(!owns(&header, network(OWN_NET + 1, false)), "another's");
    assert!(!owns(&header, network(0, false)), "not known");
}

fn asked(kind: u32, right: u32) -> Asked {
    Asked {
        kind,
        right,
        detail: 0,
        address: Address::default(),
    }
}

#[test]
fn an_own_network_frees_what_belongs_to_networks() {
    let tables = Tables::default();
    for kind in [kind::TCP, kind::RAW, kind::PACKET, kind::NETLINK] {
        assert!(decide_socket(&tables, P, &asked(kind, right::CREATE), true).allowed());
    }
    for kind in [kind::VSOCK, kind::OTHER] {
        assert!(!decide_socket(&tables, P, &asked(kind, right::CREATE), true).allowed());
    }
}

#[test]
fn refusals_carry_the_errno_of_an_unprivileged_caller() {
    let tables = Tables::default();
    for (kind, right, errno) in [
        (kind::TCP, right::CREATE, EACCES),
        (kind::TCP, right::BIND, EACCES),
        (kind::TCP, right::LISTEN, EACCES),
        (kind::TCP, right::CONNECT, EPERM),
        (kind::UDP, right::SEND, EPERM),
        (kind::RAW, right::CREATE, EPERM),
        (kind::PACKET, right::BIND, EPERM),
        (kind::NETLINK, right::CREATE, EACCES),
    ] {
        let verdict = decide_socket(&tables, P, &asked(kind, right), false);
        assert_eq!(verdict, Verdict::no_grant(errno));
    }
}

#[test]
fn netlink_and_families_are_told_apart() {
    let mut tables = Tables::default();
    tables.kinds.netlink = 1 << 16;
    tables.kinds.families = 1 << 38;
    tables.kinds.rules[kind::NETLINK as usize] = 2;
    let ask = |kind, detail| {
        let asked = Asked {
            detail,
            ..asked(kind, right::CREATE)
        };
        decide_socket(&tables, P, &asked, false)
    };
    assert_eq!(ask(kind::NETLINK, 16), Verdict::allow(2));
    let other = Verdict::refuse(EACCES, Reason::NotInGrant, 2);
    assert_eq!(ask(kind::NETLINK, 0), other);
    assert_eq!(ask(kind::NETLINK, 48), other);
    assert!(ask(kind::OTHER, 38).allowed());
    assert!(!ask(kind::OTHER, 102).allowed());
}

#[test]
fn unix_sockets_are_decided_by_the_nearest_inode() {
    let object = FileObject {
        dev: 1,
        super_block: 1,
        magic: 0xef53,
        super_flags: 0,
        of_process: false,
        passes_over: file_flags::BACKING,
    };
    let decide = |chain: &[u64], right| {
        let mut chain = chain.iter().copied().peekable();
        decide_unix_path(&Tables::default(), P, &object, &mut chain, right)
    };
    assert_eq!(decide(&[21, 20, 2], right::CONNECT), Verdict::allow(3));
    let lacking = Verdict::refuse(EACCES, Reason::NotInGrant, 3);
    assert_eq!(decide(&[21, 20, 2], right::SEND), lacking);
    assert_eq!(decide(&[31, 30, 20], right::SEND), Verdict::allow(NO_RULE));
    assert_eq!(decide(&[41, 40, 20], right::CONNECT).reason, Reason::Core);
    // A layer behind the root is no file of the container's by itself.
    assert_eq!(decide(&[50, 2], right::CONNECT).reason, Reason::NoGrant);
    assert_eq!(decide(&[9; 80], right::CONNECT).reason, Reason::TooDeep);
}

#[test]
fn abstract_names_are_the_networks() {
    let tables = Tables::default();
    let decide = |name, right, own| decide_unix_name(&tables, P, name_hash_of(name), right, own);
    assert_eq!(decide("known", right::CONNECT, false), Verdict::allow(4));
    assert!(!decide("known", right::BIND, false).allowed());
    assert!(!decide("knowm", right::CONNECT, false).allowed());
    assert!(!decide("known\0", right::CONNECT, false).allowed());
    assert!(decide("other", right::BIND, true).allowed());
}

#[test]
fn source_routes_are_found() {
    assert!(leads_elsewhere(0, 4) && leads_elsewhere(0, 7) && leads_elsewhere(41, 57));
    assert!(!leads_elsewhere(0, 2) && !leads_elsewhere(41, 26) && !leads_elsewhere(1, 4));
    assert!(message_leads_elsewhere(41, 57) && message_leads_elsewhere(132, 7));
    assert!(!message_leads_elsewhere(132, 1) && !leads_elsewhere(132, 7));
    assert!(decide_route(true).allowed() && !decide_route(false).allowed());
}
