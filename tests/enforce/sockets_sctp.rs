//! SCTP, whose sockets have several addresses on either side.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::Command;

use libc::{EACCES, EPERM};
use reeve_tests::{PolicyText, tools};
use rustix::net::{AddressFamily, SocketType, ipproto};

use crate::support::Contained;

/// Who takes associations, and at which port.
fn listener() -> (OwnedFd, u16) {
    tools::output(Command::new("modprobe").arg("sctp")).expect("load sctp");
    let kind = (AddressFamily::INET, SocketType::SEQPACKET);
    let socket = rustix::net::socket(kind.0, kind.1, Some(ipproto::SCTP)).expect("a socket");
    let any_port = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    rustix::net::bind(&socket, &any_port).expect("bind");
    rustix::net::listen(&socket, 8).expect("listen");
    let name = rustix::net::getsockname(&socket).expect("its address");
    let address = SocketAddrV4::try_from(name).expect("an IPv4 address");
    (socket, address.port())
}

#[test]
fn sctp_granted() {
    let (listening, port) = listener();
    let on = "sctp: { on: [127.0.0.0/8, \"::1\"], ports: [8080] }, allow: [bind, listen]";
    let to = format!("sctp: {{ to: [127.0.0.0/8], ports: [{port}] }}, allow: [connect, send]");
    let policy = PolicyText::new("sctp").socket(on).socket(&to);
    let mut contained = Contained::start(policy);
    for action in [
        "net listen sctp 127.0.0.1:8080".to_owned(),
        "sctp bindx 127.0.0.1:8080".to_owned(),
        "sctp bindx 127.0.0.1:8080 127.0.0.2:8080 127.0.0.3:8080 127.0.0.4:8080".to_owned(),
        "sctp bindx [::1]:8080 127.0.0.1:8080".to_owned(),
        format!("sctp connectx 127.0.0.1:{port} 127.0.0.2:{port}"),
        format!("sctp send 127.0.0.1:{port}"),
    ] {
        contained.allowed("sctp_bind_connect", action);
    }
    drop(listening);
    contained.end();
}

#[test]
fn sctp_refused() {
    let (listening, port) = listener();
    let policy = PolicyText::new("sctp")
        .socket("sctp: { on: [127.0.0.1, \"::1\"] }, allow: [bind]")
        .socket("sctp: { to: [127.0.0.1] }, allow: [connect, send]");
    let mut contained = Contained::start(policy);
    contained.refused("socket_bind", EACCES, "net bind sctp 127.0.0.2:8080");
    contained.refused("socket_connect", EPERM, "net connect sctp 127.0.0.2:80");
    contained.refused("socket_sendmsg", EPERM, "sctp send 127.0.0.2:80");
    let hook = "sctp_bind_connect";
    for action in [
        "sctp bindx 127.0.0.2:8080".to_owned(),
        "sctp bindx 127.0.0.1:8080 127.0.0.2:8080".to_owned(),
        "sctp bindx [::1]:8080 127.0.0.2:8080".to_owned(),
        // More than are looked at.
        format!("sctp bindx{}", " 127.0.0.1:8080".repeat(5)),
    ] {
        contained.refused(hook, EACCES, action);
    }
    let both = format!("127.0.0.1:{port} 127.0.0.2:{port}");
    contained.refused(hook, EPERM, format!("sctp connectx {both}"));
    contained.refused("socket_sendmsg", EPERM, format!("sctp send {both}"));
    drop(listening);
    contained.end();
}
