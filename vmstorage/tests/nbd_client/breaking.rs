//! Servers that fail, are slow, end, are killed and come back.

use std::time::Duration;

use futures_util::future::join_all;
use vmstorage::disk::{Disk, Durability, ErrorKind};
use vmstorage::engine::{IoBuf, IoBufMut};
use vmstorage::nbd::client::{Options, Remote};

use crate::servers::{MIB, Place, noise, on_engine, open, read};

#[test]
fn errors_of_the_server_are_those_of_the_disk() {
    for (error, kind) in [
        ("EIO", ErrorKind::Io),
        ("ENOSPC", ErrorKind::NoSpace),
        ("EPERM", ErrorKind::ReadOnly),
        ("ESHUTDOWN", ErrorKind::Shutdown),
    ] {
        let place = Place::new();
        let which = format!("error-pwrite={error}");
        let _server = place.nbdkit(&[
            "--filter=error",
            "memory",
            "1M",
            &which,
            "error-pwrite-rate=1",
        ]);
        on_engine(async {
            let remote = open(place.target("")).await;
            let write = remote
                .write(0, IoBuf::zeroed(4096), Durability::Volatile)
                .await;
            assert_eq!(write.unwrap_err().kind(), kind, "{error}");
            // The connection is as good as before.
            read(&remote, 0, MIB).await;
        });
    }
}

#[test]
fn many_requests_at_once_to_a_slow_server_are_answered() {
    let place = Place::new();
    let _server = place.nbdkit(&["--filter=delay", "memory", "16M", "delay-read=100ms"]);
    on_engine(async {
        let remote = open(place.target("")).await;
        let reads = (0..64).map(|n| read(&remote, n * 4096, 4096));
        assert_eq!(join_all(reads).await.len(), 64);
    });
}

#[test]
fn a_killed_server_comes_back() {
    let place = Place::new();
    let file = place.file("disk", &vec![0; 4 * MIB as usize]);
    let args = ["-f", "raw", &file];
    on_engine(async {
        let mut server = place.qemu_nbd(&args);
        let remote = open(place.target("d")).await;
        let expected = noise(4 * MIB, 8);
        for round in 0..4 {
            let writes = (0..16).map(|n| {
                let at = (round * 16 + n) * 65536;
                let data = &expected[at..at + 65536];
                remote.write(at as u64, IoBuf::copy_of(data), Durability::Volatile)
            });
            // Killed while requests are in flight, or right after: either way none is lost.
            drop(server);
            let again = async {
                let (place, args) = (&place, &args);
                place.qemu_nbd(args)
            };
            let (written, started) = futures_util::future::join(join_all(writes), again).await;
            written.into_iter().for_each(|written| written.unwrap());
            server = started;
        }
        remote.flush().await.unwrap();
        assert!(read(&remote, 0, 4 * MIB).await == expected);
        remote.close().await;
        drop(server);
        assert!(std::fs::read(&file).unwrap() == expected);
    });
}

#[test]
fn a_server_that_comes_back_larger_is_refused() {
    let place = Place::new();
    on_engine(async {
        let server = place.nbdkit(&["memory", "1M"]);
        let remote = open(place.target("")).await;
        drop(server);
        let _server = place.nbdkit(&["memory", "2M"]);
        let error = remote.read(0, IoBufMut::zeroed(512)).await.unwrap_err();
        assert!(error.to_string().contains("not what it was"), "{error}");
    });
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let place = Place::new();
    on_engine(async {
        let opened = Remote::open(place.target("disk"), Options::default()).await;
        let error = opened.unwrap_err().to_string();
        assert!(
            error.contains("connect") && error.contains("disk"),
            "{error}"
        );
    });
}

#[test]
fn a_stopped_server_is_given_up_in_time() {
    let place = Place::new();
    let _server = place.nbdkit(&["--filter=delay", "memory", "1M", "delay-read=3600"]);
    on_engine(async {
        let options = Options {
            reply_timeout: Some(Duration::from_millis(200)),
            reconnect_delay: Duration::from_millis(300),
            ..Options::default()
        };
        let remote = Remote::open(place.target(""), options).await.unwrap();
        let error = remote.read(0, IoBufMut::zeroed(512)).await.unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
    });
}
