//! Sockets of the host's network, by kind, address and port. Every container here shares the host's
//! network namespace unless it says otherwise.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use libc::{EACCES, EPERM};
use reeve_tests::PolicyText;
use reeve_tests::bundle::Config;

use crate::support::Contained;

/// Connections to it are taken by the kernel, whoever asks.
fn listener(address: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind(address).expect("listen");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

#[test]
fn socket_granted() {
    let policy = PolicyText::new("kinds")
        .socket("tcp: any, allow: [connect]")
        .socket("udp: any, allow: [send]")
        .socket("netlink: [route], allow: [create]")
        .socket("raw: true")
        .socket("packet: true")
        .socket("families: [key]");
    let mut contained = Contained::start(policy);
    let hook = "socket_create";
    for action in [
        "socket 2 1 0",
        "socket 10 1 6",
        "socket 2 1 262",
        "socket 2 2 0",
        "socket 10 2 17",
        "socket 16 3 0",
        "raw-socket",
        "packet-socket",
        "socket 1 1 0",
    ] {
        contained.allowed(hook, action);
    }
    contained.end();
}

#[test]
fn socket_refused() {
    let policy = PolicyText::new("kinds")
        .socket("icmp: any, allow: [send]")
        .socket("netlink: [route], allow: [create]")
        .capability_all("NET_RAW");
    let mut contained = Contained::start(policy);
    let hook = "socket_create";
    for action in [
        "socket 2 1 0",
        "socket 10 1 6",
        "socket 2 1 262",
        "socket 2 2 0",
        "socket 10 2 136",
        "socket 16 3 16",
        "socket 38 5 0",
        "socket 40 1 0",
        "fork socket 2 1 0",
    ] {
        contained.refused(hook, EACCES, action);
    }
    for action in ["raw-socket", "packet-socket", "socket 2 10 0"] {
        contained.refused(hook, EPERM, action);
    }
    contained.end();
}

#[test]
fn bind_granted() {
    let policy = PolicyText::new("binds")
        .socket("tcp: { on: [127.0.0.0/8, \"::1\"], ports: [0, 80, \"8000-8100\"] }, allow: [bind]")
        .socket("udp: { ports: [53] }, allow: [bind]");
    let mut contained = Contained::start(policy);
    for action in [
        "net bind tcp 127.0.0.1:80",
        "net bind tcp 127.1.2.3:8100",
        "net bind tcp 127.0.0.1:0",
        "net bind tcp [::1]:8000",
        "net bind tcp [::ffff:127.0.0.1]:80",
        "net bind udp 0.0.0.0:53",
    ] {
        contained.allowed("socket_bind", action);
    }
    contained.end();
}

#[test]
fn bind_refused() {
    let policy = PolicyText::new("binds")
        .socket("tcp: { on: [127.0.0.1], ports: [80, \"8000-8100\"] }, allow: [bind]")
        .socket("udp: any, allow: [connect]");
    let mut contained = Contained::start(policy);
    for action in [
        "net bind tcp 127.0.0.1:81",
        "net bind tcp 127.0.0.1:8101",
        "net bind tcp 127.0.0.1:0",
        "net bind tcp 127.0.0.2:80",
        "net bind tcp 0.0.0.0:80",
        "net bind tcp unspec/0.0.0.0:80",
        "net bind tcp [::]:80",
        "net bind tcp [::ffff:127.0.0.2]:80",
        "net bind mptcp 0.0.0.0:80",
        "net bind udp 127.0.0.1:80",
    ] {
        contained.refused("socket_bind", EACCES, action);
    }
    contained.end();
}

#[test]
fn listen_granted() {
    let line = "tcp: { on: [127.0.0.1], ports: [8080] }, allow: [bind, listen]";
    let policy = PolicyText::new("listens").socket(line);
    let mut contained = Contained::start(policy);
    contained.allowed("socket_listen", "net listen tcp 127.0.0.1:8080");
    contained.end();
}

#[test]
fn listen_refused() {
    let policy = PolicyText::new("listens")
        .socket("tcp: { on: [127.0.0.1] }, allow: [bind]")
        .socket("tcp: { on: [127.0.0.1], ports: [8080] }, allow: [listen]");
    let mut contained = Contained::start(policy);
    let hook = "socket_listen";
    contained.refused(hook, EACCES, "net listen tcp 127.0.0.1:8081");
    // Without an address the kernel takes any, and a port of its choice.
    contained.refused(hook, EACCES, "net listen-unbound tcp 127.0.0.1:8080");
    contained.end();
}

#[test]
fn connect_granted() {
    let (v4, port) = listener("127.0.0.1:0");
    let (v6, other) = listener("[::1]:0");
    let policy = PolicyText::new("connects")
        .socket(&format!(
            "tcp: {{ to: [127.0.0.1], ports: [{port}] }}, allow: [connect]"
        ))
        .socket(&format!(
            "tcp: {{ to: [\"::/0\"], ports: [{other}] }}, allow: [connect]"
        ))
        .socket("udp: { to: [127.0.0.0/8] }, allow: [connect]");
    let mut contained = Contained::start(policy);
    for action in [
        format!("net connect tcp 127.0.0.1:{port}"),
        format!("net connect mptcp 127.0.0.1:{port}"),
        format!("net connect tcp [::ffff:127.0.0.1]:{port}"),
        format!("net connect tcp [::1]:{other}"),
        format!("net uring-connect tcp 127.0.0.1:{port}"),
        "net connect udp v6/127.0.0.1:9".to_owned(),
        "net connect-twice udp 127.0.0.5:9".to_owned(),
    ] {
        contained.allowed("socket_connect", action);
    }
    drop((v4, v6));
    contained.end();
}

#[test]
fn connect_refused() {
    let (listening, port) = listener("127.0.0.1:0");
    let policy = PolicyText::new("connects")
        .socket(&format!(
            "tcp: {{ to: [127.0.0.2], ports: [{port}] }}, allow: [connect]"
        ))
        .socket("tcp: { to: [\"::/0\"] }, allow: [connect]")
        .socket("udp: { to: [127.0.0.2] }, allow: [connect]");
    let mut contained = Contained::start(policy);
    for action in [
        format!("net connect tcp 127.0.0.1:{port}"),
        format!("net connect tcp 0.0.0.0:{port}"),
        format!("net connect mptcp 127.0.0.1:{port}"),
        format!("net connect tcp [::ffff:127.0.0.1]:{port}"),
        "net connect tcp 127.0.0.2:1".to_owned(),
        format!("net uring-connect tcp 127.0.0.1:{port}"),
        "net connect udp 127.0.0.1:9".to_owned(),
        "net connect udp v6/127.0.0.1:9".to_owned(),
        "net connect udp [::ffff:127.0.0.1]:9".to_owned(),
        "net connect udp [::1]:9".to_owned(),
        format!("fork net connect tcp 127.0.0.1:{port}"),
    ] {
        contained.refused("socket_connect", EPERM, action);
    }
    drop(listening);
    contained.end();
}

#[test]
fn send_granted() {
    let (listening, port) = listener("127.0.0.1:0");
    let policy = PolicyText::new("sends")
        .socket(&format!(
            "tcp: {{ to: [127.0.0.1], ports: [{port}] }}, allow: [connect]"
        ))
        .socket("udp: { to: [127.0.0.1], ports: [9] }, allow: [send]");
    let mut contained = Contained::start(policy);
    for action in [
        "net sendto udp 127.0.0.1:9".to_owned(),
        "net sendmsg udp 127.0.0.1:9".to_owned(),
        "net sendmmsg udp 127.0.0.1:9".to_owned(),
        "net sendto udp unspec/127.0.0.1:9".to_owned(),
        "net sendto udp v6/127.0.0.1:9".to_owned(),
        "net sendto udp [::ffff:127.0.0.1]:9".to_owned(),
        format!("net fastopen tcp 127.0.0.1:{port}"),
    ] {
        contained.allowed("socket_sendmsg", action);
    }
    drop(listening);
    contained.end();
}

#[test]
fn send_refused() {
    let (listening, port) = listener("127.0.0.1:0");
    let policy = PolicyText::new("sends")
        .socket("tcp: { to: [127.0.0.2] }, allow: [connect]")
        .socket("udp: { to: [127.0.0.2], ports: [9] }, allow: [send]")
        .socket("udp: { to: [127.0.0.1] }, allow: [connect]");
    let mut contained = Contained::start(policy);
    for action in [
        "net sendto udp 127.0.0.1:9".to_owned(),
        "net sendto udp 127.0.0.2:10".to_owned(),
        "net sendmsg udp 127.0.0.1:9".to_owned(),
        "net sendmmsg udp 127.0.0.1:9".to_owned(),
        "net sendto udp unspec/127.0.0.1:9".to_owned(),
        "net sendto udp v6/127.0.0.1:9".to_owned(),
        "net sendto udp [::ffff:127.0.0.1]:9".to_owned(),
        "net sendto udp [::1]:9".to_owned(),
        format!("net fastopen tcp 127.0.0.1:{port}"),
        format!("net fastopen mptcp 127.0.0.1:{port}"),
    ] {
        contained.refused("socket_sendmsg", EPERM, action);
    }
    drop(listening);
    contained.end();
}

/// In a network of its own a container leads packets as it likes, where it has the capability, and
/// everything else of IP too.
#[test]
fn route_own() {
    let config = Config {
        own_net: true,
        ..Config::default()
    };
    let policy = PolicyText::new("own").capability_all("NET_RAW");
    let mut contained = Contained::with(config, policy);
    for action in [
        "ip-options",
        "socket 16 3 16",
        "net listen tcp 0.0.0.0:80",
        "net bind udp 0.0.0.0:53",
    ] {
        contained.allowed("socket_setsockopt", action);
    }
    contained.refused("socket_create", EACCES, "socket 40 1 0");
    contained.end();
}

#[test]
fn route_refused() {
    let policy = PolicyText::new("routes").socket("udp: any, allow: [send]");
    let mut contained = Contained::start(policy);
    contained.refused("socket_setsockopt", EPERM, "ip-options");
    contained.refused("socket_sendmsg", EPERM, "send-routed 127.0.0.1:9");
    contained.end();
}

/// A network that the container makes with a user namespace is its own.
#[test]
fn a_network_of_a_user_namespace_is_own() {
    let mut contained = Contained::start(PolicyText::new("unshared"));
    contained.refused("socket_create", EACCES, "socket 2 1 0");
    let action = "unshare user,net net bind udp 0.0.0.0:53";
    contained.allowed("socket_bind", action);
    contained.end();
}

/// The namespace that counts is the socket's, wherever its user is.
#[test]
fn an_inherited_socket_is_the_hosts() {
    let host = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let file = File::from(OwnedFd::from(host));
    let config = Config {
        own_net: true,
        ..Config::default()
    };
    let container = crate::support::prepared(config, PolicyText::new("inherits"));
    let mut contained = Contained::with_stderr(container, &file);
    contained.allowed("socket_sendmsg", "net bind udp 0.0.0.0:53");
    contained.refused("socket_sendmsg", EPERM, "net-fd 2 sendto 127.0.0.1:9");
    contained.refused("socket_connect", EPERM, "net-fd 2 connect 127.0.0.1:9");
    contained.end();
    let policy = PolicyText::new("inherits").socket("udp: { ports: [9] }, allow: [connect]");
    let mut contained = Contained::with_descriptor(&file, policy);
    contained.allowed("socket_connect", "net-fd 2 connect 127.0.0.1:9");
    contained.end();
}

/// What reaches a host's service says who it is: the audit names address and line.
#[test]
fn a_refused_connection_is_explained() {
    let policy = PolicyText::new("explained")
        .socket("tcp: { to: [127.0.0.2], ports: [80] }, allow: [connect]");
    let mut contained = Contained::start(policy);
    contained.refused("socket_connect", EPERM, "net connect tcp 127.0.0.1:80");
    let events = reeve_tests::audit::events(contained.running().id()).expect("the audit");
    let event = events.last().expect("an event");
    assert_eq!(event.text("action"), "connect", "{event:?}");
    assert_eq!(event.text("object"), "tcp 127.0.0.1:80", "{event:?}");
    assert_eq!(
        event.text("allow"),
        "sockets: - { tcp: { to: [127.0.0.1], ports: [80] }, allow: [connect] }"
    );
    contained.end();
}

/// A connection that stands is not looked at again.
#[test]
fn a_granted_connection_carries_data() {
    let (listening, port) = listener("127.0.0.1:0");
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let file = File::from(OwnedFd::from(stream));
    let mut contained = Contained::with_descriptor(&file, PolicyText::new("carries"));
    contained.allowed("socket_sendmsg", "syscall 1 2 0 0");
    drop(listening);
    contained.end();
}
