//! Hooks on sockets with addresses: making, binding, connecting, listening, sending.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::Verdict;
use ebpf_common::abi::{NO_RULE, PolicyId, Section};
use ebpf_common::decide::Reason;
use ebpf_common::decide::socket::{
    Network, decide_route, decide_socket, leads_elsewhere, message_leads_elsewhere, owns_network,
};
use ebpf_common::errno::EACCES;
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::lookup::Lookup;
use ebpf_common::socket::{
    Address, Asked, SOCKADDR_WORDS, family, has_addresses, kind, kind_of, right,
};

use crate::field::{load, offset, probe};
use crate::maps::NETWORKS;
use crate::report::{Refusal, refuse};
use crate::subject::{self, when_enforced};
use crate::tables::Tables;
use crate::verifier::{forget_all, repeat};

/// `MSG_FASTOPEN`: the message connects the socket.
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// `SCTP_SOCKOPT_BINDX_ADD` and the primary addresses of this side.
const SCTP_OF_THIS_SIDE: [u32; 3] = [100, 6, 5];
/// `SCTP_PARAM_ADD_IP`, `SCTP_PARAM_SET_PRIMARY`: said by the other side, in any task's time.
const SCTP_OF_OTHER_SIDE: [u32; 2] = [0xc001, 0xc004];
/// Control messages of one message that are looked at.
const MESSAGES: u32 = 32;
/// Bytes of a `struct cmsghdr`.
const CMSG_HEADER: u64 = 16;
/// Addresses of one SCTP call that are looked at: each costs the verifier a whole decision.
const SCTP_ADDRESSES: u32 = 4;
/// Bytes of the shortest of them, a `struct sockaddr_in`.
const SOCKADDR_LEAST: i64 = 16;

/// A network namespace, as the decision sees it.
#[inline(always)]
fn network(net: *const u8) -> Network {
    // SAFETY: the callers hand in network namespaces; the number has 32 bits.
    let number: u32 = unsafe { load(net, Field::NetNumber) };
    // SAFETY: as above; the field is a pointer, never null.
    let owner: *const u8 = unsafe { load(net, Field::NetUserNs) };
    // SAFETY: the pointer is a user namespace.
    let level: u32 = unsafe { load(owner, Field::UserNsLevel) };
    // SAFETY: `current` is trusted; the field is a pointer.
    let credentials: u64 = unsafe { load(subject::current(), Field::TaskCred) };
    let acting: u64 = probe(credentials, Field::CredUserNs).unwrap_or(0);
    Network {
        number,
        of_own_user_namespace: level != 0 && acting == owner as u64,
    }
}

/// The network namespace of the current task; null where it has none any more.
#[inline(always)]
fn current_net() -> *const u8 {
    // SAFETY: `current` is trusted; the field is a pointer.
    let namespaces: *const u8 = unsafe { load(subject::current(), Field::TaskNsproxy) };
    if namespaces.is_null() {
        return core::ptr::null();
    }
    // SAFETY: the pointer is an `nsproxy`.
    unsafe { load(namespaces, Field::NamespacesNet) }
}

/// Whether a network namespace is the container's own.
#[inline(always)]
pub(crate) fn own_network(policy: PolicyId, net: *const u8) -> bool {
    if net.is_null() {
        return false;
    }
    match Tables.policy(policy) {
        Some(header) => owns_network(&Tables, policy, &header, &network(net)),
        None => false,
    }
}

/// The network namespace that a container's first process is in when its policy comes into force;
/// it counts as its own where the runtime knows that it is not the host's.
#[inline(always)]
pub(crate) fn remember_network(policy: PolicyId) {
    let net = current_net();
    if net.is_null() {
        return;
    }
    let number = network(net).number;
    // Processes that join later find it there; without an entry nothing is its own.
    let _ = NETWORKS.insert(&policy, &number, u64::from(BPF_NOEXIST));
}

/// A `struct sock` by kind, with what tells its protocol.
pub(crate) struct Sock {
    pub(crate) sk: *const u8,
    pub(crate) kind: u32,
    detail: u32,
}

impl Sock {
    /// The protocol part of a `struct socket`; `None` for one that is being taken apart.
    ///
    /// # Safety
    /// `socket` is a `struct socket` that the verifier trusts.
    #[inline(always)]
    pub(crate) unsafe fn of(socket: *const u8) -> Option<Self> {
        // SAFETY: as above.
        let sk: *const u8 = unsafe { load(socket, Field::SocketSock) };
        if sk.is_null() {
            return None;
        }
        // SAFETY: the pointer is a `sock`.
        Some(unsafe { Self::of_sk(sk) })
    }

    /// # Safety
    /// `sk` is a `struct sock` that the verifier trusts or walks.
    #[inline(always)]
    unsafe fn of_sk(sk: *const u8) -> Self {
        // SAFETY (each): as above; the fields have 16 bits.
        let family = u32::from(unsafe { load::<u16>(sk, Field::SockFamily) });
        // SAFETY: as above.
        let socket_type = u32::from(unsafe { load::<u16>(sk, Field::SockType) });
        // SAFETY: as above.
        let protocol = u32::from(unsafe { load::<u16>(sk, Field::SockProtocol) });
        let kind = kind_of(family, socket_type, protocol);
        Self {
            sk,
            kind,
            detail: detail(kind, family, protocol),
        }
    }

    /// What it asks for with an address.
    #[inline(always)]
    fn asks(&self, right: u32, address: Address) -> Asked {
        Asked {
            kind: self.kind,
            right,
            detail: self.detail,
            address,
        }
    }

    /// Its network namespace.
    #[inline(always)]
    pub(crate) fn net(&self) -> *const u8 {
        // SAFETY: the pointer is a `sock`; the field is a pointer.
        unsafe { load(self.sk, Field::SockNet) }
    }

    /// Its own address.
    #[inline(always)]
    fn local(&self) -> Address {
        // SAFETY: the pointer is a `sock`; the field has 16 bits.
        let family = u32::from(unsafe { load::<u16>(self.sk, Field::SockFamily) });
        // SAFETY: as above.
        let port = u32::from(unsafe { load::<u16>(self.sk, Field::SockPort) });
        match family {
            family::INET => {
                // SAFETY: as above; the field has 32 bits.
                let address: u32 = unsafe { load(self.sk, Field::SockV4) };
                Address::v4(u32::from_be(address), port)
            }
            family::INET6 => {
                // An array of bytes in the kernel's types: not for loads of eight bytes.
                let words: [u64; 2] = probe(self.sk as u64, Field::SockV6).unwrap_or([1; 2]);
                Address::v6([u64::from_be(words[0]), u64::from_be(words[1])], port)
            }
            _ => Address::default(),
        }
    }
}

/// Netlink protocol or address family, for the kinds that are told apart by it.
#[inline(always)]
fn detail(kind: u32, family: u32, protocol: u32) -> u32 {
    match kind {
        kind::NETLINK => protocol,
        kind::OTHER => family,
        _ => 0,
    }
}

/// The words of an address that the kernel has copied; of no family where there are none.
#[inline(always)]
fn words_at(address: u64) -> [u32; SOCKADDR_WORDS] {
    // SAFETY: the helper reads any address and reports a fault.
    unsafe { bpf_probe_read_kernel(address as *const [u32; SOCKADDR_WORDS]) }
        .unwrap_or([u32::MAX; SOCKADDR_WORDS])
}

/// Decides and refuses for `hook`.
#[inline(always)]
fn settle(ctx: &LsmContext, hook: Hook, policy: PolicyId, asked: &Asked, net: *const u8) -> i32 {
    let Some(asked) = forget_all(asked) else {
        return -EACCES;
    };
    let verdict = decide_socket(&Tables, policy, &asked, own_network(policy, net));
    if verdict.allowed() {
        return 0;
    }
    refuse_socket(ctx, hook, policy, &asked, verdict)
}

#[inline(always)]
fn refuse_socket(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    asked: &Asked,
    verdict: Verdict,
) -> i32 {
    let Asked { kind, address, .. } = *asked;
    let port = match has_addresses(kind) {
        true => address.port,
        false => asked.detail,
    };
    let refusal = Refusal {
        rights: ebpf_common::Rights(asked.right),
        ino: address.bits[0],
        dev: (address.bits[1] >> 32) as u32,
        magic: address.bits[1] as u32,
        detail: u64::from(kind) << 32 | u64::from(port),
        target_pid: address.version,
        ..Refusal::of(hook, Action::Socket, Section::Sockets)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Making a socket, in the network namespace that the caller is in.
#[lsm(hook = "socket_create")]
pub fn socket_create(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 4);
    let (family, socket_type, protocol): (u32, u32, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let of_kernel: u32 = ctx.arg(3);
    let kind = kind_of(family, socket_type, protocol);
    if of_kernel != 0 || kind == kind::UNIX {
        return 0;
    }
    let asked = Asked {
        kind,
        right: right::CREATE,
        detail: detail(kind, family, protocol),
        address: Address::default(),
    };
    settle(&ctx, Hook::SocketCreate, policy, &asked, current_net())
}

/// Binding to an address.
#[lsm(hook = "socket_bind")]
pub fn socket_bind(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    let (address, length): (u64, u32) = (ctx.arg(1), ctx.arg(2));
    // SAFETY: the hook's argument is trusted.
    let Some(sock) = (unsafe { Sock::of(ctx.arg(0)) }) else {
        return -EACCES;
    };
    if sock.kind == kind::UNIX {
        return crate::unix::bind(&ctx, policy, &sock, address, length);
    }
    let words = words_at(address);
    decide_address(
        &ctx,
        Hook::SocketBind,
        policy,
        &sock,
        right::BIND,
        &words,
        length,
    )
}

/// Connecting to an address.
#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    let (address, length): (u64, u32) = (ctx.arg(1), ctx.arg(2));
    // SAFETY: the hook's argument is trusted.
    let Some(sock) = (unsafe { Sock::of(ctx.arg(0)) }) else {
        return -EACCES;
    };
    let words = words_at(address);
    // Unix sockets are decided where their peer is known; `AF_UNSPEC` ends a connection.
    if sock.kind == kind::UNIX || u32::from(words[0] as u16) == family::UNSPEC {
        return 0;
    }
    decide_address(
        &ctx,
        Hook::SocketConnect,
        policy,
        &sock,
        right::CONNECT,
        &words,
        length,
    )
}

#[inline(always)]
fn decide_address(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    sock: &Sock,
    right: u32,
    words: &[u32; SOCKADDR_WORDS],
    length: u32,
) -> i32 {
    // What is no address matches no rule.
    let address = Address::read(sock.kind, words, length).unwrap_or_default();
    let asked = sock.asks(right, address);
    settle(ctx, hook, policy, &asked, sock.net())
}

/// Taking connections, at the address that the socket has by now.
#[lsm(hook = "socket_listen")]
pub fn socket_listen(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    // SAFETY: the hook's argument is trusted.
    let Some(sock) = (unsafe { Sock::of(ctx.arg(0)) }) else {
        return -EACCES;
    };
    if sock.kind == kind::UNIX {
        return 0;
    }
    let asked = sock.asks(right::LISTEN, sock.local());
    settle(&ctx, Hook::SocketListen, policy, &asked, sock.net())
}

/// Sending. A message without an address goes where the socket is connected to, which was decided;
/// what is granted as a whole is asked for each time, wherever the descriptor came from.
#[lsm(hook = "socket_sendmsg")]
pub fn socket_sendmsg(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    // SAFETY: the hook's argument is trusted.
    let Some(sock) = (unsafe { Sock::of(ctx.arg(0)) }) else {
        return 0;
    };
    // SAFETY: the hook's argument is trusted; the field is a pointer.
    let file: u64 = unsafe { load(ctx.arg::<*const u8>(0), Field::SocketFile) };
    if file == 0 {
        // The kernel's own, as of a file system over the network.
        return 0;
    }
    let message: *const u8 = ctx.arg(1);
    // SAFETY (each): the hook's argument is trusted; a pointer, an int, an int.
    let name: u64 = unsafe { load(message, Field::MessageName) };
    // SAFETY: as above.
    let length: u32 = unsafe { load(message, Field::MessageNameLength) };
    // SAFETY: as above.
    let flags: u32 = unsafe { load(message, Field::MessageFlags) };
    let connects = sock.kind == kind::TCP && flags & MSG_FASTOPEN != 0;
    let asks = match sock.kind {
        kind::UNIX => return 0,
        kind::TCP => connects && name != 0,
        kind::RAW | kind::PACKET | kind::NETLINK => true,
        _ => name != 0,
    };
    if sock.kind != kind::TCP && routed(message) && !own_network(policy, sock.net()) {
        return refuse_route(&ctx, Hook::SocketSendmsg, policy, u64::MAX);
    }
    if !asks {
        return 0;
    }
    let right = if connects {
        right::CONNECT
    } else {
        right::SEND
    };
    let words = words_at(name);
    decide_address(
        &ctx,
        Hook::SocketSendmsg,
        policy,
        &sock,
        right,
        &words,
        length,
    )
}

/// Whether a message's control data leads it elsewhere, or is more than is looked at.
#[inline(always)]
fn routed(message: *const u8) -> bool {
    // SAFETY: the caller hands in the hook's message; the field is a `size_t`.
    let length: u64 = unsafe { load(message, Field::MessageControlLength) };
    if length == 0 {
        return false;
    }
    // SAFETY: as above; the field is a pointer.
    let mut at: u64 = unsafe { load(message, Field::MessageControl) };
    let end = at.wrapping_add(length);
    let mut found = true;
    repeat(MESSAGES, &mut || {
        let left = end.wrapping_sub(at);
        // `struct cmsghdr`: length, level, type.
        if left < CMSG_HEADER {
            found = false;
            return true;
        }
        // SAFETY: the helper reads any address and reports a fault.
        let Ok([length, about]) = (unsafe { bpf_probe_read_kernel(at as *const [u64; 2]) }) else {
            return true;
        };
        if message_leads_elsewhere(about as u32, (about >> 32) as u32) {
            return true;
        }
        let step = (length.wrapping_add(7)) & !7;
        if length < CMSG_HEADER || step >= left {
            found = false;
            return true;
        }
        at = at.wrapping_add(step);
        false
    });
    found
}

#[inline(always)]
fn refuse_route(ctx: &LsmContext, hook: Hook, policy: PolicyId, detail: u64) -> i32 {
    let verdict = decide_route(false);
    let refusal = Refusal {
        detail,
        ..Refusal::of(hook, Action::Route, Section::Sockets)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Options that lead packets another way.
#[lsm(hook = "socket_setsockopt")]
pub fn socket_setsockopt(ctx: LsmContext) -> i32 {
    let previous: i32 = ctx.arg(3);
    let (level, option): (u32, u32) = (ctx.arg(1), ctx.arg(2));
    if previous != 0 || !leads_elsewhere(level, option) {
        return previous;
    }
    let policy = when_enforced!(ctx, 3);
    // SAFETY: the hook's argument is trusted.
    let Some(sock) = (unsafe { Sock::of(ctx.arg(0)) }) else {
        return -EACCES;
    };
    if own_network(policy, sock.net()) {
        return 0;
    }
    let detail = u64::from(level) << 32 | u64::from(option);
    refuse_route(&ctx, Hook::SocketSetsockopt, policy, detail)
}

/// Further addresses of an SCTP socket, of either side: each must be granted.
#[lsm(hook = "sctp_bind_connect")]
pub fn sctp_bind_connect(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 4);
    let option: u32 = ctx.arg(1);
    if SCTP_OF_OTHER_SIDE.contains(&option) {
        return 0;
    }
    // SAFETY: the hook's argument is trusted.
    let sock = unsafe { Sock::of_sk(ctx.arg(0)) };
    let right = match SCTP_OF_THIS_SIDE.contains(&option) {
        true => right::BIND,
        false => right::CONNECT,
    };
    let own = own_network(policy, sock.net());
    let asked = sock.asks(right, Address::default());
    // The address of the addresses too: a place in what the verifier takes for one `sockaddr` is
    // another one for each of them.
    let Some((mut at, mut asked)) = forget_all(&(ctx.arg::<u64>(2), asked)) else {
        return -EACCES;
    };
    let end = at.wrapping_add(u64::from(ctx.arg::<u32>(3)));
    // Stands where there are more addresses than are looked at.
    let mut verdict = Verdict::refuse(EACCES, Reason::TooDeep, NO_RULE);
    // No `repeat`: what one address leaves for the next never becomes the same to the verifier.
    let mut seen = 0;
    while seen < SCTP_ADDRESSES {
        let left = end.wrapping_sub(at);
        let words = words_at(at);
        let address = Address::read(asked.kind, &words, left as u32).unwrap_or_default();
        let next = at.wrapping_add(match u32::from(words[0] as u16) {
            family::INET6 => 28,
            _ => 16,
        });
        let Some(now) = forget_all(&(next, Asked { address, ..asked })) else {
            return -EACCES;
        };
        (at, asked) = now;
        let answer = decide_socket(&Tables, policy, &asked, own);
        if !answer.allowed() {
            verdict = answer;
            break;
        }
        if (end.wrapping_sub(at) as i64) < SOCKADDR_LEAST {
            return 0;
        }
        seen += 1;
    }
    let Some((asked, verdict)) = forget_all(&(asked, verdict)) else {
        return -EACCES;
    };
    refuse_socket(&ctx, Hook::SctpBindConnect, policy, &asked, verdict)
}

/// Address of a field of a structure that the verifier does not know.
#[inline(always)]
pub(crate) fn within(base: u64, field: Field) -> u64 {
    base.wrapping_add(offset(field) as u64)
}
