//! What a connection has under way when it is lost, and its client comes back over another one.

use std::cell::Cell;
use std::rc::Rc;

use super::{Raw, on_engine, server_with};
use crate::disk::memory::Memory;
use crate::disk::{Answer, Disk, Durability, Extent, Geometry, Status, Zeroes};
use crate::engine::Notify;
use crate::engine::{IoBuf, IoBufMut, Task, spawn, yield_now};
use crate::nbd::proto::{Headers, Request, command};
use crate::nbd::server::{Export, Limits, Options, Server};

const BLOCK: usize = 4096;

/// A disk whose first write waits until it is let go.
#[derive(Debug)]
struct Stuck {
    memory: Memory,
    first: Cell<bool>,
    begun: Cell<bool>,
    free: Cell<bool>,
    freed: Notify,
}

impl Stuck {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            memory: Memory::new(1 << 20),
            first: Cell::new(true),
            begun: Cell::new(false),
            free: Cell::new(false),
            freed: Notify::default(),
        })
    }

    fn let_go(&self) {
        self.free.set(true);
        self.freed.wake();
    }
}

impl Disk for Stuck {
    fn name(&self) -> String {
        "stuck".into()
    }

    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn read(&self, at: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.memory.read(at, buf)
    }

    fn write(&self, at: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            if self.first.replace(false) {
                self.begun.set(true);
                self.freed.when(|| self.free.get()).await;
            }
            self.memory.write(at, data, how).await
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        self.memory.write_zeroes(extent, how)
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.memory.discard(extent)
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.memory.flush()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.memory.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        self.memory.resize(size_bytes)
    }
}

fn write(cookie: u64, block: u64) -> Request {
    Request {
        flags: 0,
        command: command::WRITE,
        cookie,
        offset_bytes: block * BLOCK as u64,
        len_bytes: BLOCK as u64,
    }
}

async fn turns() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// A client that does what is asked of it, each time waiting for the answer.
fn client(server: &Server, writes: Vec<(u64, u8)>) -> Task<()> {
    let server = server.clone();
    spawn(async move {
        let mut raw = Raw::open(&server, "disk", Headers::Simple).await;
        for (block, byte) in writes {
            let at = block * BLOCK as u64;
            let done = raw
                .ask(command::WRITE, 0, at, BLOCK as u64, &[byte; BLOCK])
                .await;
            assert_eq!(done.error, 0);
        }
        assert_eq!(raw.ask(command::FLUSH, 0, 0, 0, &[]).await.error, 0);
    })
}

#[test]
fn a_write_of_a_lost_connection_is_not_done_after_one_of_the_next() {
    on_engine(async {
        let disk = Stuck::new();
        let export = Export::new("disk", Rc::clone(&disk) as Rc<dyn Disk>);
        let server = server_with(vec![export], Options::default());
        let mut lost = Raw::open(&server, "disk", Headers::Simple).await;
        lost.request(&write(1, 0), &[1; BLOCK]).await;
        while !disk.begun.get() {
            yield_now().await;
        }
        drop(lost);
        // It is sent again, and then overwritten.
        let again = client(&server, vec![(1, 9), (0, 1), (0, 2)]);
        turns().await;
        disk.let_go();
        again.await;
        turns().await;
        let content = disk.memory.content();
        assert!(content[..BLOCK] == [2; BLOCK], "{}", content[0]);
        assert!(content[BLOCK..2 * BLOCK] == [9; BLOCK]);
    });
}

#[test]
fn what_a_lost_connection_left_unread_is_not_done() {
    what_is_left_unread_is_not_done(|_| None);
}

#[test]
fn what_was_left_unread_by_one_who_came_back_is_not_done() {
    // Over TCP nothing more may be known of one that has gone.
    what_is_left_unread_is_not_done(|lost| {
        lost.finish();
        Some(lost)
    });
}

fn what_is_left_unread_is_not_done(lose: impl FnOnce(Raw) -> Option<Raw> + 'static) {
    on_engine(async move {
        let disk = Stuck::new();
        let limits = Limits {
            requests: 1,
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..Options::default()
        };
        let export = Export::new("disk", Rc::clone(&disk) as Rc<dyn Disk>);
        let server = server_with(vec![export], options);
        let mut lost = Raw::open(&server, "disk", Headers::Simple).await;
        // The second one waits for the first, whose answer nobody takes any more.
        lost.request(&write(1, 0), &[1; BLOCK]).await;
        lost.request(&write(2, 5), &[1; BLOCK]).await;
        while !disk.begun.get() {
            yield_now().await;
        }
        let _half = lose(lost);
        client(&server, vec![(5, 1), (5, 2)]).await;
        disk.let_go();
        while server.connections() > 0 {
            turns().await;
        }
        let content = disk.memory.content();
        assert!(content[5 * BLOCK..6 * BLOCK] == [2; BLOCK]);
    });
}
