//! Unix sockets: of the host by the identity of who listens, of the container freely.

use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;

use libc::{EACCES, EPERM};
use reeve_tests::PolicyText;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;

use crate::support::{Contained, Grounds, open_to_all};

fn listen(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).expect("listen");
    open_to_all(path);
    listener
}

fn receive(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("bind");
    open_to_all(path);
    socket
}

fn listen_abstract(name: &str) -> UnixListener {
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    UnixListener::bind_addr(&address).expect("listen")
}

#[test]
fn unix_granted() {
    let grounds = Grounds::new();
    let plot = grounds.plot("services");
    let _service = listen(&plot.join("service"));
    let _inner = listen(&plot.join("directory/inner"));
    let _named = listen_abstract("reeve-test-granted");
    let path = plot.display();
    let policy = PolicyText::new("services")
        .socket(&format!("unix: {path}, allow: [connect]"))
        .socket("abstract: reeve-test-granted, allow: [connect]");
    let mut contained = Contained::start(policy);
    let at = in_container(&plot);
    for action in [
        format!("unix-connect {at}/service"),
        format!("unix-connect {at}/directory/inner"),
        "unix-connect @reeve-test-granted".to_owned(),
    ] {
        contained.allowed("unix_stream_connect", action);
    }
    contained.end();
}

#[test]
fn unix_refused() {
    let grounds = Grounds::new();
    let plot = grounds.plot("services");
    let _service = listen(&plot.join("service"));
    let _closed = listen(&plot.join("directory/closed"));
    let _named = listen_abstract("reeve-test-refused");
    std::os::unix::fs::symlink("directory/closed", plot.join("alias")).expect("symlink");
    // Reading and writing the files says nothing about who listens behind them.
    let policy = PolicyText::new("services")
        .file(&plot, "read, write, create, mknod, link, rename, delete")
        .socket(&format!(
            "unix: {}/service, allow: [connect]",
            plot.display()
        ))
        .socket("abstract: reeve-test-other, allow: [connect, bind]");
    let mut contained = Contained::start(policy);
    let at = in_container(&plot);
    contained.allowed("unix_stream_connect", format!("unix-connect {at}/service"));
    contained.allowed(
        "path_link",
        format!("link {at}/directory/closed {at}/linked"),
    );
    for action in [
        format!("unix-connect {at}/directory/closed"),
        format!("unix-connect {at}/alias"),
        format!("unix-connect {at}/linked"),
        "unix-connect @reeve-test-refused".to_owned(),
    ] {
        contained.refused("unix_stream_connect", EACCES, action);
    }
    contained.refused("socket_bind", EACCES, "unix-bind @reeve-test-refused-too");
    contained.allowed("socket_bind", "unix-bind @reeve-test-other");
    contained.end();
}

#[test]
fn unix_datagram_granted() {
    let grounds = Grounds::new();
    let plot = grounds.plot("log");
    let log = receive(&plot.join("log"));
    let line = format!("unix: {}/log, allow: [send]", plot.display());
    let mut contained = Contained::start(PolicyText::new("log").socket(&line));
    contained.allowed(
        "unix_may_send",
        format!("unix-send {}/log", in_container(&plot)),
    );
    assert_eq!(log.recv(&mut [0; 8]).expect("a message"), 1);
    contained.end();
}

#[test]
fn unix_datagram_refused() {
    let grounds = Grounds::new();
    let plot = grounds.plot("log");
    let _log = receive(&plot.join("log"));
    let line = format!("unix: {}/log, allow: [connect]", plot.display());
    let mut contained = Contained::start(PolicyText::new("log").socket(&line));
    let action = format!("unix-send {}/log", in_container(&plot));
    contained.refused("unix_may_send", EACCES, action);
    contained.end();
}

/// What the container itself listens on is its own: in its root, in a granted directory of the
/// host, and without a file in a network of its own.
#[test]
fn unix_own() {
    let grounds = Grounds::new();
    let plot = grounds.plot("shared");
    let policy = || PolicyText::new("own").file(&plot, "read, create, mknod");
    let mut contained = Contained::start(policy());
    contained.allowed("unix_stream_connect", "unix-own /own/socket");
    let action = format!("unix-own {}/socket", in_container(&plot));
    contained.allowed("unix_stream_connect", action);
    contained.end();
    let config = Config {
        own_net: true,
        ..Config::default()
    };
    let mut contained = Contained::with(config, policy());
    contained.allowed("unix_stream_connect", "unix-own @reeve-test-own");
    contained.end();
}

/// A container in a network of its own still meets the host's services in the file system.
#[test]
fn a_network_of_its_own_hides_no_unix_socket() {
    let grounds = Grounds::new();
    let plot = grounds.plot("services");
    let _service = listen(&plot.join("service"));
    let config = Config {
        own_net: true,
        ..Config::default()
    };
    let mut contained = Contained::with(config, PolicyText::new("hidden"));
    let action = format!("unix-connect {}/service", in_container(&plot));
    contained.refused("unix_stream_connect", EACCES, action);
    contained.end();
}

/// A socket that came over another one is decided like any.
#[test]
fn a_passed_socket_is_the_hosts() {
    let grounds = Grounds::new();
    let plot = grounds.plot("passes");
    let service = listen(&plot.join("service"));
    let given = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let passing = std::thread::spawn(move || {
        for _ in 0..2 {
            let (peer, _) = service.accept().expect("accept");
            let mut space = [std::mem::MaybeUninit::uninit(); 64];
            let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
            let fds = [std::os::fd::AsFd::as_fd(&given)];
            control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
            let data = [std::io::IoSlice::new(b"x")];
            let flags = rustix::net::SendFlags::empty();
            rustix::net::sendmsg(&peer, &data, &mut control, flags).expect("send");
        }
        given.as_raw_fd()
    });
    let line = format!("unix: {}/service, allow: [connect]", plot.display());
    let policy = PolicyText::new("passed")
        .socket(&line)
        .socket("udp: { ports: [9] }, allow: [send]");
    let mut contained = Contained::start(policy);
    let at = in_container(&plot);
    let action = |port| format!("net-received {at}/service sendto 127.0.0.1:{port}");
    contained.allowed("socket_sendmsg", action(9));
    contained.refused("socket_sendmsg", EPERM, action(10));
    passing.join().expect("the passing thread");
    contained.end();
}
