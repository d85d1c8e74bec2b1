//! Sockets: making, binding, connecting, sending, by every call that can.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use crate::act::{Action, Done, Failure, action, done, number};
use crate::detours::uring;
use crate::sys::{Arg, call, descriptor};

pub(crate) const ACTIONS: &[Action] = &[
    action("socket", "FAMILY TYPE PROTOCOL", socket_action),
    action("net", "HOW KIND ADDRESS", net),
    action("net-fd", "DESCRIPTOR HOW ADDRESS", net_on_descriptor),
    action("net-received", "UNIX-SOCKET HOW ADDRESS", net_on_received),
    action("sctp", "bindx|connectx|send ADDRESS ...", sctp),
    action("unix-connect", "PATH|@NAME", |words| {
        unix(words, libc::SOCK_STREAM)
    }),
    action("unix-send", "PATH|@NAME", |words| {
        unix(words, libc::SOCK_DGRAM)
    }),
    action("unix-bind", "PATH|@NAME", unix_bind),
    action("unix-own", "PATH|@NAME", unix_own),
    action("ip-options", "", ip_options),
    action("send-routed", "ADDRESS", send_routed),
];

/// `MSG_FASTOPEN`.
const MSG_FASTOPEN: i64 = 0x2000_0000;
/// `SCTP_SOCKOPT_BINDX_ADD`.
const SCTP_BINDX_ADD: i64 = 100;
/// `SCTP_SOCKOPT_CONNECTX`.
const SCTP_CONNECTX: i64 = 110;
/// A control message.
const SCTP_DSTADDRV4: i32 = 7;

fn make(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Failure> {
    let arguments = [family, kind, protocol].map(|number| Arg::Int(number.into()));
    descriptor("socket", libc::SYS_socket, arguments)
}

fn socket_action(words: &[&str]) -> Done {
    let [family, kind, protocol] = words else {
        return Err(Failure::Usage);
    };
    let small = |word: &str| i32::try_from(number(word)?).map_err(|_| Failure::Usage);
    make(small(family)?, small(kind)?, small(protocol)?)?;
    done()
}

/// An address as `sockaddr` bytes. `unspec/` in front gives its family as `AF_UNSPEC`, `v6/` puts
/// it on a socket of IPv6.
struct Target {
    family: i32,
    bytes: Vec<u8>,
}

fn target(word: &str) -> Result<Target, Failure> {
    let (prefix, word) = word.split_once('/').unwrap_or(("", word));
    let address: SocketAddr = word.parse().map_err(|_| Failure::Usage)?;
    let mut bytes = Vec::new();
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let said = if prefix == "unspec" {
        libc::AF_UNSPEC
    } else {
        family
    };
    bytes.extend((said as u16).to_ne_bytes());
    bytes.extend(address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend([0; 4]);
            bytes.extend(v6.ip().octets());
            bytes.extend([0; 4]);
        }
    }
    let family = if prefix == "v6" {
        libc::AF_INET6
    } else {
        family
    };
    Ok(Target { family, bytes })
}

fn net(words: &[&str]) -> Done {
    let [how, kind, address] = words else {
        return Err(Failure::Usage);
    };
    let target = target(address)?;
    let (kind, protocol) = match *kind {
        "tcp" => (libc::SOCK_STREAM, 0),
        "mptcp" => (libc::SOCK_STREAM, 262),
        "sctp" => (libc::SOCK_STREAM, 132),
        "udp" => (libc::SOCK_DGRAM, 0),
        _ => return Err(Failure::Usage),
    };
    let socket = make(target.family, kind, protocol)?;
    act_on(&socket, how, &target)
}

fn net_on_descriptor(words: &[&str]) -> Done {
    let [number_word, how, address] = words else {
        return Err(Failure::Usage);
    };
    let raw = Arg::Int(number(number_word)?);
    let socket = descriptor("dup", libc::SYS_dup, [raw])?;
    act_on(&socket, how, &target(address)?)
}

fn act_on(socket: &OwnedFd, how: &str, target: &Target) -> Done {
    let at = crate::files::fd(socket.as_fd());
    let name = Arg::In(&target.bytes);
    let length = || Arg::Int(target.bytes.len() as i64);
    match how {
        "bind" => call("bind", libc::SYS_bind, [at, name, length()])?,
        "connect" => call("connect", libc::SYS_connect, [at, name, length()])?,
        "listen" => {
            let bound = [crate::files::fd(socket.as_fd()), name, length()];
            call("bind", libc::SYS_bind, bound)?;
            call("listen", libc::SYS_listen, [at, Arg::Int(1)])?
        }
        "listen-unbound" => call("listen", libc::SYS_listen, [at, Arg::Int(1)])?,
        "sendto" => send_to(socket, target, 0)?,
        "fastopen" => send_to(socket, target, MSG_FASTOPEN)?,
        "sendmsg" => send_message(socket, &target.bytes, &[], false)?,
        "sendmmsg" => send_message(socket, &target.bytes, &[], true)?,
        "uring-connect" => uring::connect(socket, &target.bytes)?,
        "connect-twice" => {
            call("connect", libc::SYS_connect, [at, name, length()])?;
            // Ends the connection: nothing to refuse.
            let unspec = [0u8; 16];
            let at = crate::files::fd(socket.as_fd());
            let again = [at, Arg::In(&unspec), Arg::Int(16)];
            call("connect", libc::SYS_connect, again)?
        }
        _ => return Err(Failure::Usage),
    };
    done()
}

fn send_to(socket: &OwnedFd, target: &Target, flags: i64) -> Result<i64, Failure> {
    let arguments = [
        crate::files::fd(socket.as_fd()),
        Arg::In(b"x"),
        Arg::Int(1),
        Arg::Int(flags),
        Arg::In(&target.bytes),
        Arg::Int(target.bytes.len() as i64),
    ];
    call("sendto", libc::SYS_sendto, arguments)
}

fn at(bytes: &[u8]) -> [u8; 8] {
    (bytes.as_ptr().expose_provenance() as u64).to_ne_bytes()
}

/// `struct msghdr` or an array of one `struct mmsghdr`, with one byte to send.
fn send_message(socket: &OwnedFd, name: &[u8], control: &[u8], many: bool) -> Result<i64, Failure> {
    let data = [b'x'];
    let mut vector = [0u8; 16];
    vector[..8].copy_from_slice(&at(&data));
    vector[8] = 1;
    let mut header = [0u8; 64];
    header[..8].copy_from_slice(&at(name));
    header[8..12].copy_from_slice(&(name.len() as u32).to_ne_bytes());
    header[16..24].copy_from_slice(&at(&vector));
    header[24] = 1;
    if !control.is_empty() {
        header[32..40].copy_from_slice(&at(control));
        header[40..48].copy_from_slice(&(control.len() as u64).to_ne_bytes());
    }
    let socket = crate::files::fd(socket.as_fd());
    let message = Arg::In(&header);
    match many {
        false => call("sendmsg", libc::SYS_sendmsg, [socket, message, Arg::Int(0)]),
        true => {
            let arguments = [socket, message, Arg::Int(1), Arg::Int(0)];
            call("sendmmsg", libc::SYS_sendmmsg, arguments)
        }
    }
}

/// Gives a socket several addresses at once, of either side; sends to one and names a second in a
/// control message.
fn sctp(words: &[&str]) -> Done {
    let [how, addresses @ ..] = words else {
        return Err(Failure::Usage);
    };
    let addresses: Vec<Target> = addresses
        .iter()
        .map(|word| target(word))
        .collect::<Result<_, _>>()?;
    let first = addresses.first().ok_or(Failure::Usage)?;
    let socket = make(first.family, libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP)?;
    let packed: Vec<u8> = addresses.iter().flat_map(|one| one.bytes.clone()).collect();
    let option = match *how {
        "bindx" => SCTP_BINDX_ADD,
        "connectx" => SCTP_CONNECTX,
        "send" => {
            let also = addresses
                .get(1)
                .map(|second| control_address(&second.bytes));
            send_message(&socket, &first.bytes, &also.unwrap_or_default(), false)?;
            return done();
        }
        _ => return Err(Failure::Usage),
    };
    let arguments = [
        crate::files::fd(socket.as_fd()),
        Arg::Int(libc::IPPROTO_SCTP.into()),
        Arg::Int(option),
        Arg::In(&packed),
        Arg::Int(packed.len() as i64),
    ];
    call("setsockopt", libc::SYS_setsockopt, arguments)?;
    done()
}

/// A control message with one more IPv4 address.
fn control_address(address: &[u8]) -> Vec<u8> {
    let mut control = 20u64.to_ne_bytes().to_vec();
    control.extend(libc::IPPROTO_SCTP.to_ne_bytes());
    control.extend(SCTP_DSTADDRV4.to_ne_bytes());
    control.extend(&address[4..8]);
    control.extend([0; 4]);
    control
}

/// Takes a descriptor from whoever listens on a unix socket, and goes on with that.
fn net_on_received(words: &[&str]) -> Done {
    let [path, how, address] = words else {
        return Err(Failure::Usage);
    };
    let socket = make(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    reach(&socket, path)?;
    let (mut data, mut control, mut vector) = ([0u8; 1], [0u8; 64], [0u8; 16]);
    vector[..8].copy_from_slice(&at(&data));
    vector[8] = 1;
    let mut header = [0u8; 56];
    header[16..24].copy_from_slice(&at(&vector));
    header[24] = 1;
    header[32..40].copy_from_slice(&at(&control));
    header[40..48].copy_from_slice(&(control.len() as u64).to_ne_bytes());
    let from = crate::files::fd(socket.as_fd());
    let arguments = [from, Arg::Out(&mut header), Arg::Int(0)];
    call("recvmsg", libc::SYS_recvmsg, arguments)?;
    std::hint::black_box((&mut data, &mut control));
    let raw = i32::from_ne_bytes([control[16], control[17], control[18], control[19]]);
    let raw = raw.to_string();
    net_on_descriptor(&[&raw, how, address])
}

/// `sockaddr_un`; `@` stands for the NUL of an abstract name.
fn unix_address(word: &str) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    match word.strip_prefix('@') {
        Some(name) => {
            bytes.push(0);
            bytes.extend(name.bytes());
        }
        None => {
            bytes.extend(word.bytes());
            bytes.push(0);
        }
    }
    bytes
}

fn reach(socket: &OwnedFd, word: &str) -> Done {
    let address = unix_address(word);
    let at = crate::files::fd(socket.as_fd());
    let arguments = [at, Arg::In(&address), Arg::Int(address.len() as i64)];
    call("connect", libc::SYS_connect, arguments)?;
    done()
}

fn unix(words: &[&str], kind: i32) -> Done {
    let [word] = words else {
        return Err(Failure::Usage);
    };
    let socket = make(libc::AF_UNIX, kind, 0)?;
    if kind == libc::SOCK_STREAM {
        return reach(&socket, word);
    }
    let target = Target {
        family: libc::AF_UNIX,
        bytes: unix_address(word),
    };
    send_to(&socket, &target, 0)?;
    done()
}

fn listening(word: &str, kind: i32) -> Result<OwnedFd, Failure> {
    let socket = make(libc::AF_UNIX, kind, 0)?;
    let address = unix_address(word);
    let at = || crate::files::fd(socket.as_fd());
    let arguments = [at(), Arg::In(&address), Arg::Int(address.len() as i64)];
    call("bind", libc::SYS_bind, arguments)?;
    if kind == libc::SOCK_STREAM {
        call("listen", libc::SYS_listen, [at(), Arg::Int(1)])?;
    }
    Ok(socket)
}

fn unix_bind(words: &[&str]) -> Done {
    let [word] = words else {
        return Err(Failure::Usage);
    };
    listening(word, libc::SOCK_STREAM)?;
    done()
}

/// Listens and connects to itself, by stream and by datagram.
fn unix_own(words: &[&str]) -> Done {
    let [word] = words else {
        return Err(Failure::Usage);
    };
    let stream = listening(word, libc::SOCK_STREAM)?;
    unix(&[word], libc::SOCK_STREAM)?;
    drop(stream);
    let other = format!("{word}-datagram");
    let _datagram = listening(&other, libc::SOCK_DGRAM)?;
    unix(&[&other], libc::SOCK_DGRAM)?;
    let mut pair = [0u8; 8];
    let kind = Arg::Int(libc::SOCK_DGRAM.into());
    let arguments = [
        Arg::Int(libc::AF_UNIX.into()),
        kind,
        Arg::Int(0),
        Arg::Out(&mut pair),
    ];
    call("socketpair", libc::SYS_socketpair, arguments)?;
    let first = i32::from_ne_bytes([pair[0], pair[1], pair[2], pair[3]]);
    let first = Arg::Int(first.into());
    let arguments = [
        first,
        Arg::In(b"x"),
        Arg::Int(1),
        Arg::Int(0),
        Arg::Int(0),
        Arg::Int(0),
    ];
    call("sendto", libc::SYS_sendto, arguments)?;
    done()
}

/// A loose source route over 127.0.0.2 to 127.0.0.1.
const ROUTE: [u8; 12] = [1, 131, 11, 4, 127, 0, 0, 2, 127, 0, 0, 1];

fn ip_options(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let socket = make(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let arguments = [
        crate::files::fd(socket.as_fd()),
        Arg::Int(libc::IPPROTO_IP.into()),
        Arg::Int(libc::IP_OPTIONS.into()),
        Arg::In(&ROUTE),
        Arg::Int(ROUTE.len() as i64),
    ];
    call("setsockopt", libc::SYS_setsockopt, arguments)?;
    done()
}

/// The same by a control message.
fn send_routed(words: &[&str]) -> Done {
    let [address] = words else {
        return Err(Failure::Usage);
    };
    let target = target(address)?;
    let socket = make(target.family, libc::SOCK_DGRAM, 0)?;
    let mut control = 28u64.to_ne_bytes().to_vec();
    control.extend(libc::IPPROTO_IP.to_ne_bytes());
    control.extend(libc::IP_RETOPTS.to_ne_bytes());
    control.extend(ROUTE);
    control.extend([0; 4]);
    send_message(&socket, &target.bytes, &control, false)?;
    done()
}
