//! What is under way when clients, exports and servers go.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::recorder::Recorder;
use super::{Raw, disk, on_engine, server_of, server_with};
use crate::disk::Disk;
use crate::disk::memory::Memory;
use crate::engine::Notify;
use crate::engine::{spawn, yield_now};
use crate::nbd::proto::{Headers, Request, command, errno, option, reply};
use crate::nbd::server::link::Link;
use crate::nbd::server::{Export, Limits, Options};

#[test]
fn requests_run_beside_each_other_and_are_answered_before_the_end() {
    on_engine(async {
        let gate = Rc::new((Cell::new(false), Notify::default()));
        let disk = Recorder {
            gate: Some(Rc::clone(&gate)),
            ..Recorder::default()
        };
        let server = server_of(vec![Export::new("disk", Rc::new(disk))]);
        let mut raw = Raw::open(&server, "disk", Headers::Simple).await;
        let read = Request {
            flags: 0,
            command: command::READ,
            cookie: 1,
            offset_bytes: 0,
            len_bytes: 10,
        };
        raw.request(&read, &[]).await;
        // The flush overtakes the read, which waits.
        assert_eq!(raw.ask(command::FLUSH, 0, 0, 0, &[]).await.error, 0);
        let disconnect = Request {
            command: command::DISC,
            len_bytes: 0,
            ..read
        };
        raw.request(&disconnect, &[]).await;
        for _ in 0..100 {
            yield_now().await;
        }
        gate.0.set(true);
        gate.1.wake();
        assert_eq!(raw.answer(&read).await.cookie, 1);
        assert!(raw.is_over().await);
    });
}

#[test]
fn a_shutdown_finishes_what_is_under_way_and_refuses_the_rest() {
    on_engine(async {
        let gate = Rc::new((Cell::new(false), Notify::default()));
        let disk = Rc::new(Recorder {
            gate: Some(Rc::clone(&gate)),
            ..Recorder::default()
        });
        let limits = Limits {
            farewell: Duration::from_millis(20),
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..Options::default()
        };
        let export = Export::new("disk", Rc::clone(&disk) as Rc<dyn Disk>);
        let server = server_with(vec![export], options);
        let mut raw = Raw::open(&server, "disk", Headers::Structured).await;
        let mut shaking = Raw::greeted(&server).await;
        let read = Request {
            flags: 0,
            command: command::READ,
            cookie: 1,
            offset_bytes: 0,
            len_bytes: 10,
        };
        raw.request(&read, &[]).await;
        while server.statistics()["disk"].connections == 0 {
            yield_now().await;
        }
        assert_eq!(raw.ask(command::TRIM, 0, 0, 1, &[]).await.error, 0);
        let going = server.clone();
        let down = spawn(async move { going.shutdown().await });
        assert!(shaking.is_over().await);
        let late = raw.ask(command::TRIM, 0, 0, 2, &[]).await;
        assert_eq!(late.error, errno::ESHUTDOWN);
        gate.0.set(true);
        gate.1.wake();
        let answer = raw.answer(&read).await;
        assert_eq!((answer.error, answer.data.len()), (0, 10));
        assert!(raw.is_over().await);
        down.await.unwrap();
        assert_eq!(disk.calls.borrow().join("; "), "trim 0 1; flush");
        assert!(Raw::silent(&server).is_over().await);
    });
}

#[test]
fn an_export_is_replaced_and_removed_under_its_clients() {
    on_engine(async {
        let limits = Limits {
            farewell: Duration::from_millis(5),
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..Options::default()
        };
        let server = server_with(vec![Export::new("disk", disk())], options);
        let mut old = Raw::open(&server, "disk", Headers::Structured).await;
        let new = Memory::with_content(vec![9; 10]);
        server.replace(Export::new("disk", Rc::new(new))).unwrap();
        let mut young = Raw::open(&server, "disk", Headers::Structured).await;
        assert_eq!(young.ask(command::READ, 0, 0, 2, &[]).await.data, [9, 9]);
        server.remove("disk").await.unwrap();
        assert!(young.is_over().await);
        server.remove("disk").await.unwrap_err();
        assert_eq!(old.ask(command::READ, 0, 0, 2, &[]).await.data, [0, 1]);
        let mut late = Raw::greeted(&server).await;
        assert_eq!(late.refused(option::GO, &[0; 6]).await, reply::ERR_UNKNOWN);
        server.shutdown().await.unwrap();
        assert!(old.is_over().await);
    });
}

#[test]
#[should_panic(expected = "dropped without an answer")]
fn a_request_must_be_answered() {
    let served = crate::nbd::server::export::Served::new(Export::new("disk", disk()));
    let limits = Limits::default();
    let pool = crate::nbd::server::budget::Pool::new(0);
    let budget = crate::nbd::server::Budget::new(pool, limits);
    let link = Link::new(served, Headers::Simple, Vec::new(), budget, 1);
    let request = Request {
        flags: 0,
        command: command::READ,
        cookie: 1,
        offset_bytes: 0,
        len_bytes: 10,
    };
    drop(link.token(request, None));
}
