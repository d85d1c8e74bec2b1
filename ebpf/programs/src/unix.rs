//! Hooks on unix sockets: who listens decides, by inode or by abstract name.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel as bpf_probe_read_kernel_raw, bpf_sk_storage_get, bpf_skc_to_unix_sock,
};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use ebpf_common::Rights;
use ebpf_common::abi::{PolicyId, Section, file_flags};
use ebpf_common::decide::FileObject;
use ebpf_common::decide::socket::{decide_unix_name, decide_unix_path};
use ebpf_common::errno::EACCES;
use ebpf_common::event::Action;
use ebpf_common::fields::Field;
use ebpf_common::hooks::Hook;
use ebpf_common::socket::{NAME_BYTES, NAME_WORDS, kind, name_hash, right};

use crate::field::{load, probe};
use crate::maps::SOCKET_OWNERS;
use crate::object::{Ancestors, Dentry, super_identity};
use crate::report::{Refusal, refuse};
use crate::sockets::{Sock, own_network, within};
use crate::subject::when_enforced;

/// `BPF_SK_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;
/// Family and the NUL that an abstract name begins with.
const BEFORE_NAME: u32 = 3;

/// Notes whose a unix socket is: containers reach their own, whatever its name.
#[lsm(hook = "socket_post_create")]
pub fn socket_post_create(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 5);
    // SAFETY: the hook's argument is trusted.
    let Some(sock) = (unsafe { Sock::of(ctx.arg(0)) }) else {
        return 0;
    };
    if sock.kind == kind::UNIX {
        let mut owner = policy;
        // A failure leaves it without an owner, which is less.
        // SAFETY: the socket is trusted, and the value is of the map's type.
        unsafe {
            bpf_sk_storage_get(
                SOCKET_OWNERS.as_ptr(),
                sock.sk.cast_mut().cast(),
                core::ptr::from_mut(&mut owner).cast(),
                CREATE,
            )
        };
    }
    0
}

/// Whether the container made the socket.
///
/// # Safety
/// `sk` is a `struct sock` that the verifier trusts.
#[inline(always)]
unsafe fn made_by(policy: PolicyId, sk: *const u8) -> bool {
    let (map, none) = (SOCKET_OWNERS.as_ptr(), core::ptr::null_mut());
    // SAFETY: as above; without the create flag the helper only looks up.
    let found = unsafe { bpf_sk_storage_get(map, sk.cast_mut().cast(), none, 0) };
    if found.is_null() {
        return false;
    }
    // SAFETY: the helper returned a live value of this type.
    unsafe { *found.cast::<PolicyId>() == policy }
}

/// Binding: a path is decided where its entry is made; an abstract name is taken from everybody in
/// the network namespace. A name that the kernel picks is nobody's.
#[inline(always)]
pub(crate) fn bind(
    ctx: &LsmContext,
    policy: PolicyId,
    sock: &Sock,
    address: u64,
    length: u32,
) -> i32 {
    // SAFETY: the helper reads any address and reports a fault.
    let Ok([_, _, first]) = (unsafe { bpf_probe_read_kernel(address as *const [u8; 3]) }) else {
        return -EACCES;
    };
    if length < BEFORE_NAME || first != 0 {
        return 0;
    }
    let name = Name {
        address,
        length,
        right: right::BIND,
    };
    decide_name(ctx, Hook::SocketBind, policy, sock.net(), name)
}

/// An abstract name as `sockaddr_un`.
struct Name {
    address: u64,
    length: u32,
    right: u32,
}

#[inline(always)]
fn decide_name(ctx: &LsmContext, hook: Hook, policy: PolicyId, net: *const u8, name: Name) -> i32 {
    let Name {
        address,
        length,
        right,
    } = name;
    let at = address.wrapping_add(u64::from(BEFORE_NAME));
    let length = length.wrapping_sub(BEFORE_NAME);
    let Some(words) = name_words(at, length) else {
        return -EACCES;
    };
    let hash = name_hash(&words, length);
    let own = own_network(policy, net);
    let verdict = decide_unix_name(&crate::tables::Tables, policy, hash, right, own);
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: Rights(right),
        name: at,
        ..Refusal::of(hook, Action::UnixName, Section::Sockets)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// The bytes of a name, and zeroes after them; `None` for one that cannot be.
#[inline(always)]
fn name_words(at: u64, length: u32) -> Option<[u64; NAME_WORDS]> {
    let mut words = [0; NAME_WORDS];
    // Opaque, so that the verifier sees the mask that bounds what it has just seen compared.
    let bytes = core::hint::black_box(length) & 127;
    if length > NAME_BYTES as u32 || bytes > NAME_BYTES as u32 {
        return None;
    }
    // SAFETY: the words have room for that many bytes; the helper reads any address.
    let failed =
        unsafe { bpf_probe_read_kernel_raw(words.as_mut_ptr().cast(), bytes, at as *const c_void) };
    (failed == 0).then_some(words)
}

/// Decides on the socket at the other end.
///
/// # Safety
/// `peer` is a `struct sock` that the verifier trusts.
#[inline(always)]
unsafe fn decide_peer(
    ctx: &LsmContext,
    hook: Hook,
    policy: PolicyId,
    peer: *const u8,
    right: u32,
) -> i32 {
    // SAFETY: as above.
    if unsafe { made_by(policy, peer) } {
        return 0;
    }
    // SAFETY: as above.
    let unix = unsafe { bpf_skc_to_unix_sock(peer.cast_mut().cast()) } as *const u8;
    if unix.is_null() {
        return -EACCES;
    }
    // SAFETY: the pointer is a `unix_sock`.
    let dentry = Dentry(unsafe { load(unix, Field::UnixDentry) });
    if !dentry.0.is_null() {
        return decide_entry(ctx, hook, policy, dentry, right);
    }
    // SAFETY: as above.
    let address: u64 = unsafe { load(unix, Field::UnixAddress) };
    if address == 0 {
        // Without a name it is reached through a descriptor only, which somebody gave.
        return 0;
    }
    let name = Name {
        address: within(address, Field::UnixName),
        length: probe(address, Field::UnixLength).unwrap_or(0),
        right,
    };
    // SAFETY: the pointer is a `sock`; the field is a pointer.
    let net: *const u8 = unsafe { load(peer, Field::SockNet) };
    decide_name(ctx, hook, policy, net, name)
}

#[inline(always)]
fn decide_entry(ctx: &LsmContext, hook: Hook, policy: PolicyId, dentry: Dentry, right: u32) -> i32 {
    let super_block = dentry.super_block();
    let (dev, magic, super_flags) = super_identity(super_block);
    let object = FileObject {
        dev,
        super_block: super_block as u64,
        magic,
        super_flags,
        of_process: false,
        passes_over: file_flags::BACKING,
    };
    let mut chain = Ancestors(dentry.0);
    let tables = &crate::tables::Tables;
    let verdict = decide_unix_path(tables, policy, &object, &mut chain, right);
    if verdict.allowed() {
        return 0;
    }
    let refusal = Refusal {
        rights: Rights(right),
        dentry: dentry.0 as u64,
        dev,
        ino: dentry.ino(),
        magic,
        ..Refusal::of(hook, Action::UnixPath, Section::Sockets)
    };
    refuse(ctx, policy, verdict, &refusal)
}

/// Connecting to a unix socket.
#[lsm(hook = "unix_stream_connect")]
pub fn unix_stream_connect(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 3);
    let hook = Hook::UnixStreamConnect;
    // SAFETY: the hook's argument is trusted.
    unsafe { decide_peer(&ctx, hook, policy, ctx.arg(1), right::CONNECT) }
}

/// Sending datagrams to a unix socket, and naming it as where they go.
#[lsm(hook = "unix_may_send")]
pub fn unix_may_send(ctx: LsmContext) -> i32 {
    let policy = when_enforced!(ctx, 2);
    let other: *const u8 = ctx.arg(1);
    // SAFETY: the hook's argument is trusted.
    let peer: *const u8 = unsafe { load(other, Field::SocketSock) };
    if peer.is_null() {
        return -EACCES;
    }
    // SAFETY: the pointer is the socket's `sock`.
    unsafe { decide_peer(&ctx, Hook::UnixMaySend, policy, peer, right::SEND) }
}
