//! Rounds of checkpoints that go wrong.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::config::{RawConfig, RawDisk, check};
use super::control::Kind;
use super::host::{Host, Shared, TlsConfig};
use crate::disk::Durability;
use crate::engine::{IoBuf, run, sleep, spawn};

/// A thread's disks: two in memory.
async fn host(scratch: &Path) -> Rc<Host> {
    let disk = |name: &str| RawDisk {
        name: name.into(),
        source: "memory:1M".into(),
        ..RawDisk::default()
    };
    let raw = RawConfig {
        disks: vec![disk("a"), disk("b")],
        ..RawConfig::default()
    };
    let host = Rc::new(Host::default());
    for disk in check(raw, Path::new("/")).unwrap().disks {
        let shared = Shared {
            scratch: scratch.into(),
            socket_mode: 0o600,
            tls: TlsConfig::Off,
        };
        Rc::clone(&host).add(disk, shared).await.unwrap();
    }
    host
}

fn names() -> Vec<String> {
    vec!["a".into(), "b".into()]
}

#[test]
fn a_round_that_takes_too_long_is_void_and_writes_go_on() {
    let scratch = tempfile::tempdir().unwrap();
    run(async {
        let host = host(scratch.path()).await;
        let (limit, long) = (Duration::from_millis(30), Duration::from_millis(90));
        let hold = |round| Rc::clone(&host).hold(names(), round, limit);
        let cut = |round| Rc::clone(&host).cut(names(), "c".into(), round);
        let void = |round| Rc::clone(&host).release(names(), "c".into(), round, true);
        host.prepare(&names(), "c").await.unwrap();
        // A write that does not end.
        let b = host.disk("b").unwrap();
        let stuck = b.gate.enter().await;
        assert_eq!(hold(1).await.unwrap_err().kind, Kind::Timeout);
        void(1).await.unwrap();
        assert!(!host.disk("a").unwrap().gate.is_held());
        drop(stuck);
        // A control plane that does not come back in time: the holds end by themselves.
        hold(2).await.unwrap();
        let top = b.top();
        let data = IoBuf::copy_of(b"x");
        let write = spawn(async move { top.write(0, data, Durability::Volatile).await });
        sleep(long).await;
        write.await.unwrap();
        assert_eq!(cut(2).await.unwrap_err().kind, Kind::Timeout);
        void(2).await.unwrap();
        assert!(b.checkpoint_reports().is_empty());
        assert_eq!(b.snapshots.numbers().images, 0);
        // An old round's timer does not end a newer hold.
        hold(3).await.unwrap();
        cut(3).await.unwrap();
        let kept = Rc::clone(&host).release(names(), "c".into(), 3, false);
        assert_eq!(kept.await.unwrap().len(), 2);
        let taken = host.prepare(&names(), "c").await.unwrap_err();
        assert_eq!(taken.kind, Kind::Exists);
        for name in names() {
            Rc::clone(&host).remove(name).await.unwrap();
        }
    })
    .unwrap();
}
