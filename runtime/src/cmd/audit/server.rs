//! `reeve audit --serve`: the counters over HTTP, for reading only.
//!
//! Whoever can connect may be anybody, so everything has a bound: clients at a time, bytes of a
//! request, and how long either side may take. Nothing of a request is used but its first line.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::totals::Totals;
use crate::audit::Counted;
use crate::failure::{Called as _, Failure};

/// Where it listens unless told otherwise.
pub(super) const DEFAULT: &str = "127.0.0.1:9470";

const CLIENTS_MAX: usize = 16;
const REQUEST_BYTES_MAX: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// Parses `PORT`, `:PORT` or `ADDRESS:PORT`; without an address it is the loopback one.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    match port.parse() {
        Ok(port) => Ok((IpAddr::from(Ipv4Addr::LOCALHOST), port).into()),
        Err(_) => text
            .parse()
            .map_err(|_| "a port, or an IP address with a port, such as 127.0.0.1:9470".to_owned()),
    }
}

/// Somebody who asks.
struct Client {
    stream: TcpStream,
    since: Instant,
    request: Vec<u8>,
    /// The answer, and how much of it has been sent.
    answer: Option<(Vec<u8>, usize)>,
}

/// The server, and what it counts.
pub(super) struct Server {
    listener: TcpListener,
    clients: Vec<Client>,
    /// What it tells.
    pub(super) totals: Totals,
}

impl Server {
    /// Listens.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).called(|| format!("bind({address})"))?;
        listener
            .set_nonblocking(true)
            .called(|| format!("ioctl({address}, FIONBIO)"))?;
        Ok(Self {
            listener,
            clients: Vec::new(),
            totals: Totals::default(),
        })
    }

    /// What to wait for before [`Server::serve`] has something to do.
    pub(super) fn waits_for(&self) -> impl Iterator<Item = PollFd<'_>> {
        let full = self.clients.len() >= CLIENTS_MAX;
        let listener =
            (!full).then(|| PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN));
        let clients = self.clients.iter().map(|client| {
            let flags = match client.answer {
                Some(_) => PollFlags::OUT,
                None => PollFlags::IN,
            };
            PollFd::from_borrowed_fd(client.stream.as_fd(), flags)
        });
        listener.into_iter().chain(clients)
    }

    /// Does what can be done without waiting.
    pub(super) fn serve(&mut self, living: impl Fn() -> Vec<Counted>) {
        while self.clients.len() < CLIENTS_MAX {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client {
                    stream,
                    since: Instant::now(),
                    request: Vec::new(),
                    answer: None,
                });
            }
        }
        let page = || self.totals.page(&living());
        self.clients.retain_mut(|client| {
            client.since.elapsed() < PATIENCE && client.go_on(&page).unwrap_or(false)
        });
    }
}

impl Client {
    /// Reads and writes; answers whether there is more to do.
    fn go_on(&mut self, page: &impl Fn() -> String) -> io::Result<bool> {
        if self.answer.is_none() {
            let mut more = [0; 1024];
            match self.stream.read(&mut more) {
                Ok(0) => return Ok(false),
                Ok(read) => self.request.extend(&more[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            let whole = self.request.windows(4).any(|part| part == b"\r\n\r\n");
            if whole || self.request.len() > REQUEST_BYTES_MAX {
                self.answer = Some((answer(&self.request, whole, page), 0));
            }
        }
        let Some((answer, sent)) = &mut self.answer else {
            return Ok(true);
        };
        match self.stream.write(&answer[*sent..]) {
            Ok(written) => *sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(*sent < answer.len())
    }
}

fn answer(request: &[u8], whole: bool, page: &impl Fn() -> String) -> Vec<u8> {
    let line = request.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    let mut words = line.split(' ');
    let (status, body) = match (words.next(), words.next()) {
        _ if !whole => ("431 Request Header Fields Too Large", String::new()),
        (Some("GET"), Some("/metrics")) => ("200 OK", page()),
        (Some("GET"), _) => ("404 Not Found", "see /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample;

    fn ask(request: &[u8]) -> String {
        let mut server = Server::bind(address("0").expect("any port")).expect("bind");
        server.totals.add(&sample("web", "/a"));
        let place = server.listener.local_addr().expect("bound");
        assert!(place.ip().is_loopback());
        let mut client = TcpStream::connect(place).expect("connect");
        client.write_all(request).expect("ask");
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            server.serve(Vec::new);
            if server.clients.is_empty() && !request.is_empty() {
                let mut text = String::new();
                if client.read_to_string(&mut text).is_ok() && !text.is_empty() {
                    return text;
                }
            }
        }
        panic!("no answer");
    }

    #[test]
    fn metrics_are_for_reading_and_nothing_else_is_there() {
        let page = ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(
            page.contains("reeve_audit_entries_total{container=\"web\""),
            "{page}"
        );
        assert!(ask(b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert!(ask(&[b'x'; 9 << 10]).starts_with("HTTP/1.1 431"));
    }

    #[test]
    fn clients_are_bounded() {
        let mut server = Server::bind(address(":0").expect("any port")).expect("bind");
        let place = server.listener.local_addr().expect("bound");
        let connect = |_| TcpStream::connect(place).expect("connect");
        let clients: Vec<_> = (0..CLIENTS_MAX + 4).map(connect).collect();
        std::thread::sleep(Duration::from_millis(50));
        server.serve(Vec::new);
        assert_eq!(server.clients.len(), CLIENTS_MAX);
        assert_eq!(server.waits_for().count(), CLIENTS_MAX);
        drop(clients);
        server.serve(Vec::new);
        server.serve(Vec::new);
        assert!(server.clients.len() <= 4);
    }

    #[test]
    fn without_an_address_it_is_loopback() {
        let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(address("9470"), Ok(loopback(9470)));
        assert_eq!(address(":1"), Ok(loopback(1)));
        assert_eq!(
            address("[::1]:2"),
            Ok("[::1]:2".parse().expect("an address"))
        );
        assert!(address("somewhere").is_err());
    }
}
