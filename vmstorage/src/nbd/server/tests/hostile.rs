//! Clients that want to harm: the server and the others do not notice.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::{Raw, SIZE, disk, on_engine, server_of, server_with};
use crate::disk::memory::Memory;
use crate::engine::{sleep, yield_now};
use crate::nbd::proto::{Headers, Request, command, errno};
use crate::nbd::server::{Export, Limits, Options, Server};

fn read(cookie: u64, len_bytes: u64) -> Request {
    Request {
        flags: 0,
        command: command::READ,
        cookie,
        offset_bytes: 0,
        len_bytes,
    }
}

/// Waits until only so many are connected.
async fn until_left(server: &Server, left: usize) {
    for _ in 0..2000 {
        if server.connections() <= left {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("{} connections are left", server.connections());
}

#[test]
fn clients_that_leave_in_the_middle_are_forgotten() {
    on_engine(async {
        let server = server_of(vec![Export::new("disk", disk())]);
        let mut good = Raw::open(&server, "disk", Headers::Structured).await;
        let mut whole = Vec::new();
        let write = Request {
            command: command::WRITE,
            ..read(1, 40_000)
        };
        write.encode(Headers::Simple, &mut whole).unwrap();
        whole.extend([7; 40_000]);
        for len in [0, 1, 4, 27, 28, 29, 5000, 39_000, 40_027] {
            let mut raw = Raw::open(&server, "disk", Headers::Simple).await;
            raw.send(&whole[..len]).await;
            drop(raw);
            assert_eq!(good.ask(command::READ, 0, 0, 2, &[]).await.data, [0, 1]);
        }
        // Gone with replies on their way.
        for _ in 0..10 {
            let mut raw = Raw::open(&server, "disk", Headers::Simple).await;
            for cookie in 0..100 {
                raw.request(&read(cookie, 65536), &[]).await;
            }
            drop(raw);
        }
        until_left(&server, 1).await;
        assert_eq!(good.ask(command::READ, 0, 0, 2, &[]).await.data, [0, 1]);
        assert_eq!(server.statistics()["disk"].written_bytes, 0);
    });
}

#[test]
fn requests_without_magic_end_the_session() {
    on_engine(async {
        let server = server_of(vec![Export::new("disk", disk())]);
        for headers in [Headers::Simple, Headers::Structured, Headers::Extended] {
            let mut raw = Raw::open(&server, "disk", headers).await;
            raw.send(&[0x25; 64]).await;
            assert!(raw.is_over().await);
            // The magic of the other kind of headers is as wrong.
            let mut raw = Raw::open(&server, "disk", headers).await;
            raw.headers = match headers {
                Headers::Extended => Headers::Structured,
                _ => Headers::Extended,
            };
            raw.request(&read(0, 1), &[0; 8]).await;
            assert!(raw.is_over().await);
        }
        until_left(&server, 0).await;
    });
}

#[test]
fn clients_that_read_no_replies_stop_only_themselves() {
    on_engine(async {
        let limits = Limits {
            pool_bytes: 1,
            connection_bytes: 1,
            payload_bytes: 1 << 20,
            own_bytes: 1 << 18,
            linger: Duration::from_millis(20),
            farewell: Duration::from_millis(20),
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..Options::default()
        };
        let server = server_with(vec![Export::new("disk", disk())], options);
        let mut greedy = Vec::new();
        for _ in 0..8 {
            let mut raw = Raw::open(&server, "disk", Headers::Simple).await;
            let mut requests = Vec::new();
            for cookie in 0..1000 {
                read(cookie, SIZE)
                    .encode(Headers::Simple, &mut requests)
                    .unwrap();
            }
            raw.send(&requests).await;
            greedy.push(raw);
        }
        // And one that announces a payload which never comes.
        let mut raw = Raw::open(&server, "disk", Headers::Simple).await;
        let write = Request {
            command: command::WRITE,
            ..read(1, SIZE)
        };
        raw.request(&write, &[]).await;
        let mut good = Raw::open(&server, "disk", Headers::Structured).await;
        for _ in 0..100 {
            assert_eq!(
                good.ask(command::READ, 0, 0, 4096, &[]).await.data.len(),
                4096
            );
        }
        // Once somebody reads, it gets all of its replies.
        let mut patient = greedy.pop().unwrap();
        drop((greedy, raw));
        for _ in 0..20 {
            let answer = patient.answer(&read(0, SIZE)).await;
            assert_eq!((answer.error, answer.data.len() as u64), (0, SIZE));
        }
        // A shutdown does not wait for those who do not read.
        let statistics = server.statistics()["disk"];
        assert!(statistics.reads < 3000, "{statistics:?}");
        drop(good);
        server.shutdown().await.unwrap();
    });
}

/// Two clients that have asked for all of the pool, and take or send nothing any more.
async fn hoard(server: &Server, command: u16) -> Vec<Raw> {
    let mut greedy = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::open(server, "disk", Headers::Simple).await;
        let request = Request {
            command,
            ..read(1, SIZE)
        };
        raw.request(&request, &[]).await;
        greedy.push(raw);
    }
    for _ in 0..200 {
        yield_now().await;
    }
    greedy
}

#[test]
fn clients_that_take_no_replies_let_go_of_the_pool_when_others_need_it() {
    the_pool_comes_back_from(command::READ);
}

#[test]
fn clients_that_send_no_payload_let_go_of_the_pool_when_others_need_it() {
    the_pool_comes_back_from(command::WRITE);
}

fn the_pool_comes_back_from(command: u16) {
    on_engine(async move {
        let limits = Limits {
            pool_bytes: 3 << 19,
            payload_bytes: 1 << 20,
            connection_bytes: 1 << 20,
            own_bytes: 1 << 18,
            patience: Duration::from_millis(50),
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..Options::default()
        };
        let server = server_with(vec![Export::new("disk", disk())], options);
        let greedy = hoard(&server, command).await;
        // As long as nobody needs it they may have it.
        sleep(Duration::from_millis(200)).await;
        assert_eq!(server.connections(), 2);
        let mut good = Raw::open(&server, "disk", Headers::Structured).await;
        let (asked, limit) = (good.ask(command::READ, 0, 0, SIZE, &[]), async {
            sleep(Duration::from_secs(20)).await;
        });
        match select(pin!(asked), pin!(limit)).await {
            Either::Left((answer, _)) => assert_eq!(answer.data.len() as u64, SIZE),
            Either::Right(_) => panic!("others have the pool for ever"),
        }
        // The one who was too slow, or both.
        until_left(&server, greedy.len()).await;
    });
}

#[test]
fn thousands_of_idle_clients_are_no_burden() {
    let clients = 2200;
    // Both ends of each connection are in this process.
    let wanted = rustix::process::Rlimit {
        current: Some(2 * 3 * clients + 200),
        maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted)
        .expect("as many descriptors as `ulimit -Hn` says are too few");
    on_engine(async move {
        let server = server_of(vec![Export::new("disk", Rc::new(Memory::new(SIZE)))]);
        let mut idle = Vec::new();
        for index in 0..clients {
            let mut raw = Raw::silent(&server);
            if index % 8 == 0 {
                raw.send(b"half").await; // and some begin to say something
            }
            idle.push(raw);
        }
        for _ in 0..10 {
            idle.push(Raw::open(&server, "disk", Headers::Structured).await);
        }
        let mut good = Raw::open(&server, "disk", Headers::Structured).await;
        for at in 0..50 {
            assert_eq!(good.ask(command::WRITE, 0, at, 1, b"x").await.error, 0);
        }
        assert_eq!(
            good.ask(command::READ, 0, 0, 50, &[]).await.data,
            [b'x'; 50]
        );
        drop(idle);
        until_left(&server, 1).await;
        assert_eq!(
            good.ask(command::READ, 0, SIZE, 1, &[]).await.error,
            errno::EINVAL
        );
        yield_now().await;
    });
}
