//! The client with the server of this crate behind a link that is cut and garbled on purpose, and
//! with replies that no honest server gives.

mod hostile;
mod link;
mod loss;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tempfile::TempDir;

use super::{Options, Remote, Target};
use crate::disk::Disk;
use crate::disk::memory::Memory;
use crate::engine::{IoBuf, IoBufMut, Listener, Stream, run, spawn};
use crate::nbd::server::{Export, Options as ServerOptions, Server};

pub(super) const SIZE: u64 = 1 << 20;

/// What happens to the bytes that the server sends.
#[derive(Debug, Default)]
pub(super) struct Mischief {
    /// Counts bytes from the server, over all connections.
    pub(super) passed: Cell<u64>,
    /// The connection that passes this byte is cut before it; then the next is waited for.
    pub(super) cuts: RefCell<Vec<u64>>,
    /// Bytes that are changed, by their count, and what they are mixed with.
    pub(super) flips: RefCell<Vec<(u64, u8)>>,
    /// Nothing is passed any more, and nothing is cut.
    pub(super) silent_from: Cell<Option<u64>>,
    pub(super) connections: Cell<usize>,
    /// Connections are refused from now on.
    pub(super) deaf: Cell<bool>,
}

/// A server behind a link.
#[derive(Debug)]
pub(super) struct Rig {
    dir: TempDir,
    pub(super) server: Rc<RefCell<Server>>,
    pub(super) link: Rc<Mischief>,
}

impl Rig {
    pub(super) fn new(disk: Rc<dyn Disk>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Rc::new(RefCell::new(server_of(disk)));
        let link = Rc::new(Mischief::default());
        let listener = Listener::unix(&dir.path().join("s")).unwrap();
        spawn(accept(listener, Rc::clone(&server), Rc::clone(&link))).detach();
        Self { dir, server, link }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(super) async fn open(&self, options: Options) -> crate::disk::Result<Remote> {
        Remote::open(Target::unix(self.socket(), "d"), options).await
    }
}

pub(super) fn server_of(disk: Rc<dyn Disk>) -> Server {
    let server = Server::new(ServerOptions::default());
    server.add(Export::new("d", disk)).unwrap();
    server
}

/// Short waits, and one connection whose order of bytes is known.
pub(super) fn quick() -> Options {
    Options {
        connections: 1,
        reconnect_delay: Duration::from_secs(4),
        connect_timeout: Duration::from_secs(2),
        ..Options::default()
    }
}

pub(super) fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| ((at + seed) % 251) as u8 + 1).collect()
}

pub(super) fn memory() -> Rc<Memory> {
    Rc::new(Memory::with_content(pattern(SIZE as usize, 0)))
}

pub(super) async fn read(disk: &dyn Disk, at: u64, len: usize) -> crate::disk::Result<Vec<u8>> {
    let buf = disk.read(at, IoBufMut::zeroed(len)).await?;
    Ok(buf.to_vec())
}

pub(super) fn on_engine(test: impl Future<Output = ()>) {
    run(test).unwrap();
}

async fn accept(listener: Listener, server: Rc<RefCell<Server>>, link: Rc<Mischief>) {
    while let Ok(client) = listener.accept().await {
        if link.deaf.get() {
            client.shutdown();
            continue;
        }
        link.connections.set(link.connections.get() + 1);
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        server
            .borrow()
            .connect(Stream::from_fd(far.into()).unwrap());
        let near = Stream::from_fd(near.into()).unwrap();
        spawn(forward(client.clone(), near.clone())).detach();
        spawn(back(near, client, Rc::clone(&link))).detach();
    }
}

async fn forward(from: Stream, to: Stream) {
    while let Ok(buf) = from.recv(IoBufMut::zeroed(64 << 10)).await {
        if buf.is_empty() || to.send_all(&[buf.freeze()]).await.is_err() {
            break;
        }
    }
    to.shutdown();
}

/// Passes what the server says, with mischief.
async fn back(from: Stream, to: Stream, link: Rc<Mischief>) {
    while let Ok(buf) = from.recv(IoBufMut::zeroed(64 << 10)).await {
        if buf.is_empty() {
            break;
        }
        let start = link.passed.get();
        let mut bytes = buf.to_vec();
        for &(at, mix) in link.flips.borrow().iter() {
            if let Some(byte) = at
                .checked_sub(start)
                .and_then(|at| bytes.get_mut(at as usize))
            {
                *byte ^= mix;
            }
        }
        let end = start + bytes.len() as u64;
        if link.silent_from.get().is_some_and(|from| end > from) {
            continue;
        }
        let cut = link
            .cuts
            .borrow()
            .iter()
            .copied()
            .find(|cut| (start..end).contains(cut));
        if let Some(cut) = cut {
            link.cuts.borrow_mut().retain(|other| *other != cut);
            bytes.truncate((cut - start) as usize);
            link.passed.set(cut);
            let _ = to.send_all(&[IoBuf::copy_of(&bytes)]).await;
            break;
        }
        link.passed.set(end);
        if to.send_all(&[IoBuf::copy_of(&bytes)]).await.is_err() {
            break;
        }
    }
    to.shutdown();
    from.shutdown();
}
