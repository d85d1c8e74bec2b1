//! Requests beside each other over a file whose answers come late and in another order.

use std::cell::{Cell, RefCell};

use futures_util::future::join_all;

use super::{content, pattern, shape, shapes};
use crate::disk::qcow2::Qcow2;
use crate::disk::{Answer, Disk, Durability, Extent, Geometry, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut};
use crate::engine::{run, yield_now};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::rc::Rc;

/// A disk that lets others run before and after each operation, as long as a seed decides.
#[derive(Debug)]
pub(super) struct Late {
    below: Rc<dyn Disk>,
    rng: RefCell<StdRng>,
    under_way: Cell<usize>,
    most: Cell<usize>,
    /// The next operation waits for long.
    stall: Cell<bool>,
    /// So does every read.
    pub(super) slow_reads: Cell<bool>,
}

impl Late {
    pub(super) fn new(below: Rc<dyn Disk>, seed: u64) -> Self {
        Self {
            below,
            rng: RefCell::new(StdRng::seed_from_u64(seed)),
            under_way: Cell::new(0),
            most: Cell::new(0),
            stall: Cell::new(false),
            slow_reads: Cell::new(false),
        }
    }

    async fn wait(&self) {
        let turns = self.rng.borrow_mut().random_range(0..6);
        for _ in 0..turns {
            yield_now().await;
        }
    }

    fn late<'a, T: 'a>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            self.under_way.set(self.under_way.get() + 1);
            self.most.set(self.most.get().max(self.under_way.get()));
            if self.stall.take() {
                for _ in 0..300 {
                    yield_now().await;
                }
            }
            self.wait().await;
            let done = answer.await;
            self.wait().await;
            self.under_way.set(self.under_way.get() - 1);
            done
        })
    }
}

impl Disk for Late {
    fn name(&self) -> String {
        "late".into()
    }

    fn geometry(&self) -> Geometry {
        self.below.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        let answer = self.late(self.below.read(offset_bytes, buf));
        Box::pin(async move {
            if self.slow_reads.get() {
                self.stall.set(true);
            }
            answer.await
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        self.late(self.below.write(offset_bytes, data, durability))
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        self.late(self.below.write_zeroes(extent, how))
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.late(self.below.discard(extent))
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.late(self.below.flush())
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.late(self.below.status(extent, limit))
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        self.late(self.below.resize(size_bytes))
    }
}

/// One guest that has a part of the disk for itself: what it wrote last is what it reads.
async fn guest(disk: &Qcow2, seed: u64, start: u64, model: RefCell<Vec<u8>>) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let len = model.borrow().len() as u64;
    for _ in 0..25 {
        let offset = rng.random_range(0..len);
        let part = rng.random_range(1..=(len - offset).min(12_000));
        let extent = Extent::new(start + offset, part);
        let range = offset as usize..(offset + part) as usize;
        let durability = Durability::Volatile;
        match rng.random_range(0..8) {
            0..=3 => {
                let data = pattern(rng.random(), part as usize);
                model.borrow_mut()[range].copy_from_slice(&data);
                let data = IoBuf::copy_of(&data);
                disk.write(start + offset, data, durability).await.unwrap();
            }
            4 => {
                model.borrow_mut()[range].fill(0);
                let how = Zeroes {
                    durability,
                    may_unmap: rng.random_bool(0.5),
                    fast_only: false,
                };
                disk.write_zeroes(extent, how).await.unwrap();
            }
            5 => {
                disk.discard(extent).await.unwrap();
                let buf = IoBufMut::zeroed(part as usize);
                let found = disk.read(start + offset, buf).await.unwrap();
                model.borrow_mut()[range].copy_from_slice(&found);
            }
            6 => disk.flush().await.unwrap(),
            _ => {
                let buf = IoBufMut::zeroed(part as usize);
                let found = disk.read(start + offset, buf).await.unwrap();
                assert!(
                    found[..] == model.borrow()[range],
                    "guest {seed} at {extent:?}"
                );
            }
        }
    }
    model.into_inner()
}

#[test]
fn guests_beside_each_other_do_not_see_each_other() {
    run(async {
        for shape in shapes() {
            for seed in 0..2 {
                let file = Rc::new(Late::new(shape.create().await, seed));
                let disk = shape.open(file.clone()).await.unwrap();
                let before = shape.content();
                // Odd parts, so that guests share clusters.
                let part = 23_457.min(before.len() / 8);
                let guests = (0..8).map(|number| {
                    let start = number * part;
                    let model = RefCell::new(before[start..start + part].to_vec());
                    guest(&disk, seed * 8 + number as u64, start as u64, model)
                });
                let mut wanted = join_all(guests).await.concat();
                wanted.extend_from_slice(&before[wanted.len()..]);
                assert!(content(&disk).await == wanted, "{shape:?}, seed {seed}");
                assert!(file.most.get() > 3, "nothing was under way beside another");
                disk.close().await.unwrap();
                let disk = shape.open(file).await.unwrap();
                assert!(
                    content(&disk).await == wanted,
                    "{shape:?}, seed {seed}, again"
                );
                let found = disk.check().await.unwrap();
                assert!(found.is_clean(), "{shape:?}, seed {seed}: {found:?}");
            }
        }
    })
    .unwrap();
}

/// Drops the first cluster while `slow` uses it, and has others take its place.
async fn replace_under(disk: &Qcow2, file: &Late, slow: impl Future<Output = ()>) {
    let cluster = 4096;
    let data = |byte: u8| IoBuf::copy_of(&[byte; 4096]);
    let how = Durability::Volatile;
    disk.write(0, data(1), how).await.unwrap();
    disk.flush().await.unwrap();
    file.stall.set(true);
    let others = async {
        while file.stall.get() {
            yield_now().await;
        }
        disk.discard(Extent::new(0, cluster)).await.unwrap();
        for number in 1..4 {
            disk.flush().await.unwrap();
            disk.write(number * cluster, data(9), how).await.unwrap();
        }
        assert!(
            file.under_way.get() > 0,
            "the slow request has ended before the others"
        );
    };
    futures_util::join!(slow, others);
    let buf = IoBufMut::zeroed(3 * 4096);
    let found = disk.read(cluster, buf).await.unwrap();
    assert!(
        found.iter().all(|byte| *byte == 9),
        "a late write hit another cluster"
    );
}

#[test]
fn a_freed_cluster_waits_for_those_who_use_it() {
    run(async {
        for seed in 0..5 {
            let shape = shape(1 << 20, 4096, 16);
            let file = Rc::new(Late::new(shape.create().await, seed));
            let disk = shape.open(file.clone()).await.unwrap();
            let read = async {
                let found = disk.read(0, IoBufMut::zeroed(4096)).await.unwrap();
                assert!(
                    found.iter().all(|byte| *byte < 2),
                    "a late read saw another cluster"
                );
            };
            replace_under(&disk, &file, read).await;
            let write = async {
                let data = IoBuf::copy_of(&[2; 4096]);
                disk.write(0, data, Durability::Volatile).await.unwrap();
            };
            replace_under(&disk, &file, write).await;
            disk.close().await.unwrap();
            assert!(disk.check().await.unwrap().is_clean());
        }
    })
    .unwrap();
}
