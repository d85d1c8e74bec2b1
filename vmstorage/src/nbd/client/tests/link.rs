//! Requests over a link that holds.

use std::rc::Rc;
use std::time::Duration;

use super::{Rig, SIZE, memory, on_engine, pattern, quick, read};
use crate::disk::memory::Memory;
use crate::disk::{Disk, Durability, ErrorKind, Extent, Zeroes};
use crate::engine::IoBuf;
use crate::nbd::client::{Options, Target, list_contexts, list_exports};

const ZEROES: Zeroes = Zeroes {
    durability: Durability::Volatile,
    may_unmap: true,
    fast_only: false,
};

#[test]
fn a_remote_disk_is_the_disk() {
    on_engine(async {
        let disk = memory();
        let rig = Rig::new(disk.clone());
        let remote = rig.open(Options::default()).await.unwrap();
        assert_eq!(remote.geometry().size_bytes, SIZE);
        assert!(remote.connections() > 1, "the server promises multi-conn");
        let data = pattern(10_000, 7);
        let durable = Durability::Durable;
        remote
            .write(777, IoBuf::copy_of(&data), durable)
            .await
            .unwrap();
        assert_eq!(read(&remote, 777, data.len()).await.unwrap(), data);
        remote
            .write_zeroes(Extent::new(1000, 3000), ZEROES)
            .await
            .unwrap();
        remote.discard(Extent::new(8192, 4096)).await.unwrap();
        remote.cache(Extent::new(0, SIZE)).await.unwrap();
        remote.flush().await.unwrap();
        assert_eq!(
            read(&remote, 0, SIZE as usize).await.unwrap(),
            disk.content()
        );
        let status = remote.status(Extent::new(5, SIZE - 5), 9).await.unwrap();
        assert_eq!(status[0].extent.offset_bytes, 5);
        assert_eq!(status.last().unwrap().extent.end_bytes(), SIZE);
        remote.close().await;
        let error = read(&remote, 0, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shutdown);
    });
}

#[test]
fn requests_beside_each_other_are_told_apart() {
    on_engine(async {
        let rig = Rig::new(memory());
        let options = Options {
            in_flight: 5,
            ..quick()
        };
        let remote = rig.open(options).await.unwrap();
        let content = pattern(SIZE as usize, 0);
        let reads = (0..200).map(|n| {
            let (remote, content) = (&remote, &content);
            async move {
                let (at, len) = (n * 4099, 100 + n * 17);
                let got = read(remote, at as u64, len).await.unwrap();
                assert!(got == content[at..at + len], "read {n}");
            }
        });
        futures_util::future::join_all(reads).await;
    });
}

#[test]
fn ranges_beyond_the_disk_and_writes_to_a_read_only_one_are_refused() {
    on_engine(async {
        let rig = Rig::new(Rc::new(Memory::new(SIZE).read_only()));
        let remote = rig.open(quick()).await.unwrap();
        let kind = read(&remote, SIZE - 1, 2).await.unwrap_err().kind();
        assert_eq!(kind, ErrorKind::OutOfRange);
        let write = remote
            .write(0, IoBuf::zeroed(1), Durability::Volatile)
            .await;
        assert_eq!(write.unwrap_err().kind(), ErrorKind::ReadOnly);
        let resize = remote.resize(1).await;
        assert_eq!(resize.unwrap_err().kind(), ErrorKind::Unsupported);
        let huge = remote.status(Extent::new(u64::MAX, 1), 1).await;
        assert_eq!(huge.unwrap_err().kind(), ErrorKind::OutOfRange);
    });
}

#[test]
fn what_is_not_there_is_refused_on_opening() {
    on_engine(async {
        let rig = Rig::new(memory());
        let other = Target::unix(rig.socket(), "other");
        let error = crate::nbd::client::Remote::open(other, quick())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("`other`"), "{error}");
        let options = Options {
            contexts: vec!["x:y".into()],
            ..quick()
        };
        let error = rig.open(options).await.unwrap_err();
        assert!(error.to_string().contains("`x:y`"), "{error}");
    });
}

#[test]
fn exports_and_contexts_are_listed() {
    on_engine(async {
        let rig = Rig::new(memory());
        let target = Target::unix(rig.socket(), "d");
        let exports = list_exports(&target, &quick()).await.unwrap();
        assert_eq!(exports[0].name, "d");
        let contexts = list_contexts(&target, &quick(), &[]).await.unwrap();
        assert_eq!(contexts, ["base:allocation"]);
    });
}

#[test]
fn a_dropped_request_leaves_the_connection_whole() {
    on_engine(async {
        let rig = Rig::new(memory());
        let remote = rig.open(quick()).await.unwrap();
        for _ in 0..20 {
            let dropped = std::pin::pin!(read(&remote, 0, 100_000));
            let brief = std::pin::pin!(crate::engine::sleep(Duration::from_micros(50)));
            futures_util::future::select(dropped, brief).await;
        }
        assert_eq!(read(&remote, 3, 100).await.unwrap(), pattern(100, 3));
    });
}
