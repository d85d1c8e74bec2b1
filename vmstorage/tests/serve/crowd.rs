//! Ten thousand clients that do nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::service::{Service, World, run};

const CROWD: usize = 10_000;
/// What a connection may take of the server's memory.
const CONNECTION_BYTES: u64 = 16 << 10;

/// Lets this process have as many descriptors as it may.
fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let enough = maximum.is_none_or(|most| most as usize > CROWD + 200);
    assert!(enough, "`ulimit -Hn` is {maximum:?}: too few for the test");
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

fn connect(socket: &Path) -> UnixStream {
    UnixStream::connect(socket).unwrap()
}

/// Says what a client says until it may send requests (fixed newstyle, `NBD_OPT_GO`).
fn shake(stream: &mut UnixStream) {
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting[..8], b"NBDMAGIC");
    let mut said = 3_u32.to_be_bytes().to_vec();
    said.extend(b"IHAVEOPT");
    said.extend(7_u32.to_be_bytes());
    said.extend(7_u32.to_be_bytes());
    said.extend(1_u32.to_be_bytes());
    said.extend(b"d\0\0");
    stream.write_all(&said).unwrap();
    loop {
        let mut reply = [0; 20];
        stream.read_exact(&mut reply).unwrap();
        let number = |at: usize| u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
        std::io::copy(&mut stream.take(number(16).into()), &mut std::io::sink()).unwrap();
        match number(12) {
            1 => return, // NBD_REP_ACK
            kind => assert_eq!(kind, 3, "it is no NBD_REP_INFO"),
        }
    }
}

/// Bytes that the service has in memory.
fn memory(service: &Service) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

#[test]
fn ten_thousand_idle_clients_are_no_burden() {
    raise_limit();
    let world = World::new();
    world.raw("d.raw", 8 << 20);
    let most = (CROWD + 8).to_string();
    let args = ["d.raw", "--listen", "unix:nbd", "--max-clients", &most];
    let service = world.serve(&args);
    let (socket, uri) = (world.path("nbd"), world.uri("nbd", "d"));
    // Whatever the first one brings about is not the crowd's.
    assert!(run("nbdinfo", &[&uri]).contains("export-size"));
    let before = memory(&service);
    let mut crowd = Vec::new();
    for index in 0..CROWD {
        let mut stream = connect(&socket);
        match index % 3 {
            0 => shake(&mut stream),
            1 => stream.write_all(b"\0\0\0").unwrap(), // half of what comes first
            _ => {}
        }
        crowd.push(stream);
    }
    let io = [
        "-f",
        "raw",
        "-c",
        "write -P 3 0 1M",
        "-c",
        "read -P 3 0 1M",
        &uri,
    ];
    run("qemu-io", &io);
    let grown = memory(&service).saturating_sub(before);
    assert!(
        grown < CROWD as u64 * CONNECTION_BYTES,
        "{} bytes for a connection",
        grown / CROWD as u64
    );
    drop(crowd);
    run("qemu-io", &io);
    service.stop();
}

#[test]
fn one_client_too_many_is_sent_away() {
    let world = World::new();
    world.raw("d.raw", 8 << 20);
    let service = world.serve(&["d.raw", "--listen", "unix:nbd", "--max-clients", "3"]);
    let socket = world.path("nbd");
    let mut clients: Vec<UnixStream> = (0..3).map(|_| connect(&socket)).collect();
    clients.iter_mut().for_each(shake);
    let greeted = connect(&socket).read(&mut [0; 18]).unwrap();
    assert_eq!(greeted, 0, "it was greeted");
    // Nobody else is, and there is room again when one has left.
    clients.pop();
    let uri = world.uri("nbd", "d");
    while !Command::new("nbdinfo")
        .arg(&uri)
        .output()
        .unwrap()
        .status
        .success()
    {}
    drop(clients);
    service.stop();
}
