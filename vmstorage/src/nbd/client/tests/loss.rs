//! Links that break, servers that stop answering, come back, or come back as another.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::{Rig, SIZE, memory, on_engine, pattern, quick, read, server_of};
use crate::disk::memory::Memory;
use crate::disk::{Answer, Disk, Durability, Extent, Geometry, Result, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut, sleep, spawn};
use crate::nbd::client::{Options, Remote};

/// One request of each kind; what is read is right.
async fn all_kinds(remote: &Remote) -> Result<()> {
    let data = pattern(5000, 9);
    remote
        .write(100, IoBuf::copy_of(&data), Durability::Durable)
        .await?;
    assert_eq!(read(remote, 100, 5000).await?, data);
    let zeroes = Zeroes {
        durability: Durability::Volatile,
        may_unmap: false,
        fast_only: false,
    };
    remote.write_zeroes(Extent::new(200, 100), zeroes).await?;
    remote.discard(Extent::new(65536, 65536)).await?;
    remote.status(Extent::new(0, SIZE), 8).await?;
    remote.flush().await?;
    assert_eq!(read(remote, 150, 200).await?[..50], data[50..100]);
    Ok(())
}

#[test]
fn the_link_is_cut_at_every_reply() {
    on_engine(async {
        // How many bytes the handshake and all replies have.
        let rig = Rig::new(memory());
        let remote = rig.open(quick()).await.unwrap();
        let handshake = rig.link.passed.get();
        all_kinds(&remote).await.unwrap();
        let end = rig.link.passed.get();
        assert!(handshake > 100 && end > handshake + 5000);
        // Data is cut now and then, all else at every byte.
        let inside =
            (handshake..end).filter(|at| (at - handshake).is_multiple_of(101) || at + 100 > end);
        let content = memory().content();
        for cut in inside {
            let disk = Rc::new(Memory::with_content(content.clone()));
            let rig = Rig::new(disk.clone());
            rig.link.cuts.borrow_mut().push(cut);
            let remote = rig.open(quick()).await.unwrap();
            let done = all_kinds(&remote).await;
            done.unwrap_or_else(|error| panic!("cut at byte {cut}: {error}"));
            assert_eq!(rig.link.connections.get(), 2, "cut at byte {cut}");
            assert_eq!(disk.content()[100..200], pattern(100, 9)[..]);
        }
    });
}

#[test]
fn many_requests_survive_many_cuts() {
    on_engine(async {
        let disk = Rc::new(Memory::new(SIZE));
        let rig = Rig::new(disk.clone());
        rig.link.cuts.borrow_mut().extend((1..8).map(|n| n * 1500));
        let remote = rig.open(quick()).await.unwrap();
        let writes = (0..256).map(|n| {
            let data = IoBuf::copy_of(&pattern(4096, n));
            remote.write(n as u64 * 4096, data, Durability::Volatile)
        });
        for written in futures_util::future::join_all(writes).await {
            written.unwrap();
        }
        let expected: Vec<u8> = (0..256).flat_map(|n| pattern(4096, n)).collect();
        assert!(disk.content() == expected);
    });
}

#[test]
fn waiting_for_a_server_ends() {
    on_engine(async {
        let rig = Rig::new(memory());
        let options = Options {
            reconnect_delay: Duration::from_millis(150),
            ..quick()
        };
        let remote = rig.open(options).await.unwrap();
        rig.link.deaf.set(true);
        rig.link.cuts.borrow_mut().push(rig.link.passed.get() + 3);
        let error = read(&remote, 0, 512).await.unwrap_err();
        assert!(
            error.to_string().contains("no connection for 150ms"),
            "{error}"
        );
        // Once it is back, all is as before.
        rig.link.deaf.set(false);
        let mut again = read(&remote, 0, 512).await;
        for _ in 0..100 {
            if again.is_ok() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
            again = read(&remote, 0, 512).await;
        }
        assert_eq!(again.unwrap(), pattern(512, 0));
    });
}

/// A disk whose reads of a certain byte never end while it is held.
#[derive(Debug)]
struct Holding {
    memory: Rc<Memory>,
    held: Cell<bool>,
    waiting: Cell<usize>,
}

impl Disk for Holding {
    fn name(&self) -> String {
        "holding".into()
    }

    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn read(&self, at: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            self.waiting
                .set(self.waiting.get() + usize::from(at == 4096));
            while at == 4096 && self.held.get() {
                sleep(Duration::from_millis(5)).await;
            }
            self.memory.read(at, buf).await
        })
    }

    fn write(&self, at: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        self.memory.write(at, data, how)
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

#[test]
fn a_request_that_outlasts_one_loss_is_given_all_of_the_time_at_the_next() {
    on_engine(async {
        let disk = Rc::new(Holding {
            memory: memory(),
            held: Cell::new(true),
            waiting: Cell::new(0),
        });
        let rig = Rig::new(Rc::clone(&disk) as Rc<dyn Disk>);
        let options = Options {
            reconnect_delay: Duration::from_secs(1),
            ..quick()
        };
        let remote = Rc::new(rig.open(options).await.unwrap());
        let asking = Rc::clone(&remote);
        let slow = spawn(async move { read(&*asking, 4096, 512).await });
        for waiting in 1..=3 {
            while disk.waiting.get() < waiting {
                sleep(Duration::from_millis(1)).await;
            }
            // Others are answered meanwhile, for longer than a loss may last.
            sleep(Duration::from_millis(600)).await;
            read(&*remote, 0, 512).await.unwrap();
            rig.link.cuts.borrow_mut().push(rig.link.passed.get() + 1);
            read(&*remote, 0, 512).await.unwrap();
        }
        disk.held.set(false);
        assert_eq!(slow.await.unwrap(), pattern(SIZE as usize, 0)[4096..4608]);
    });
}

#[test]
fn a_silent_server_is_given_up() {
    on_engine(async {
        let rig = Rig::new(memory());
        let options = Options {
            reply_timeout: Some(Duration::from_millis(60)),
            reconnect_delay: Duration::from_millis(100),
            connect_timeout: Duration::from_millis(60),
            ..quick()
        };
        let remote = rig.open(options).await.unwrap();
        rig.link.silent_from.set(Some(rig.link.passed.get()));
        read(&remote, 0, 512).await.unwrap_err();
        rig.link.silent_from.set(None);
    });
}

#[test]
fn another_disk_in_its_place_is_refused() {
    let others: [Rc<dyn Disk>; 2] = [
        Rc::new(Memory::new(SIZE * 2)),
        Rc::new(Memory::new(SIZE).read_only()),
    ];
    on_engine(async {
        for other in others {
            let rig = Rig::new(memory());
            let remote = rig.open(quick()).await.unwrap();
            rig.server.replace(server_of(other));
            rig.link.cuts.borrow_mut().push(rig.link.passed.get() + 1);
            for _ in 0..2 {
                let error = read(&remote, 0, 512).await.unwrap_err();
                assert!(error.to_string().contains("not what it was"), "{error}");
            }
        }
    });
}

#[test]
fn closing_does_not_wait_for_a_lost_server() {
    on_engine(async {
        let rig = Rig::new(memory());
        let options = Options {
            reconnect_delay: Duration::ZERO,
            ..quick()
        };
        let remote = rig.open(options).await.unwrap();
        rig.link.deaf.set(true);
        rig.link.cuts.borrow_mut().push(rig.link.passed.get() + 1);
        read(&remote, 0, 512).await.unwrap_err();
        remote.close().await;
    });
}
