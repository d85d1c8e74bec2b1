//! Many requests at once over a disk whose requests take their time, in an order that a seed
//! decides.

use std::cell::{Cell, RefCell};

use super::{
    Change, CreateOptions, Disk, Durability, Extent, Fault, IoBuf, IoBufMut, Kind, MIB, Memory,
    OpenOptions, Parent, Rc, Result, Rng, SeedableRng, StdRng, Vhdx, Zeroes, first_difference,
    image, noise, parent, read_all, small,
};
use crate::disk::{Answer, ErrorKind, Geometry, Status};
use crate::engine::{run, spawn, yield_now};

/// A disk that lets others run before and after each request.
#[derive(Debug)]
struct Slow {
    disk: Rc<dyn Disk>,
    rng: RefCell<StdRng>,
    /// The answer to the next request comes very late.
    stall: Cell<bool>,
}

impl Slow {
    fn new(disk: Rc<dyn Disk>, seed: u64) -> Rc<Self> {
        let rng = RefCell::new(StdRng::seed_from_u64(seed));
        Rc::new(Self {
            disk,
            rng,
            stall: Cell::new(false),
        })
    }

    async fn take<T>(&self, request: Answer<'_, T>) -> Result<T> {
        let stall = self.stall.take();
        self.wait().await;
        let answer = request.await;
        for _ in 0..if stall { 20_000 } else { 0 } {
            yield_now().await;
        }
        self.wait().await;
        answer
    }

    async fn wait(&self) {
        let turns = {
            let mut rng = self.rng.borrow_mut();
            // Now and then one takes so long that others allocate, commit and free meanwhile.
            let most = if rng.random_bool(0.1) { 400 } else { 8 };
            rng.random_range(0..most)
        };
        for _ in 0..turns {
            yield_now().await;
        }
    }
}

impl Disk for Slow {
    fn name(&self) -> String {
        "slow".into()
    }

    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(self.take(self.disk.read(offset_bytes, buf)))
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        Box::pin(self.take(self.disk.write(offset_bytes, data, how)))
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(self.take(self.disk.write_zeroes(extent, how)))
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(self.take(self.disk.discard(extent)))
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(self.take(self.disk.flush()))
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(self.take(self.disk.status(extent, limit)))
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(self.take(self.disk.resize(size_bytes)))
    }
}

const SIZE: u64 = 6 * MIB;
const TASKS: u64 = 24;
/// The bytes of each block that belong to one task.
const STRIPE: u64 = 40_000;

/// What one task does to its own stripes; returns them as they are to be.
async fn work(disk: &Vhdx, task: u64, seed: u64, mut stripes: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(seed * 1000 + task);
    for _ in 0..12 {
        let block = rng.random_range(0..SIZE / MIB);
        let stripe = &mut stripes[block as usize];
        let at = rng.random_range(0..STRIPE - 5000);
        let offset = block * MIB + task * STRIPE + at;
        let len = rng.random_range(1..5000);
        let part = at as usize..(at + len) as usize;
        match rng.random_range(0..6) {
            0..=3 => {
                let data = noise(&mut rng, len as usize);
                stripe[part].copy_from_slice(&data);
                let data = IoBuf::copy_of(&data);
                let how = if rng.random_bool(0.2) {
                    Durability::Durable
                } else {
                    Durability::Volatile
                };
                disk.write(offset, data, how).await.unwrap();
            }
            4 => {
                stripe[part].fill(0);
                let how = Zeroes {
                    durability: Durability::Volatile,
                    may_unmap: true,
                    fast_only: false,
                };
                let extent = Extent::new(offset, len);
                Change::Zero { extent, how }.apply(disk).await.unwrap();
            }
            _ => disk.flush().await.unwrap(),
        }
        let offset = block * MIB + task * STRIPE;
        let buf = IoBufMut::zeroed(STRIPE as usize);
        let read = disk.read(offset, buf).await.unwrap();
        let stripe = &stripes[block as usize];
        assert_eq!(
            first_difference(&read, stripe),
            None,
            "task {task}, seed {seed}"
        );
    }
    stripes
}

async fn many(options: &CreateOptions, below: Option<&Parent>, content: &[u8], seed: u64) {
    let file = Rc::new(Fault::new(image(options).await));
    let options = OpenOptions {
        read_only: false,
        parent: below.cloned(),
    };
    let slow = Slow::new(file.clone(), seed);
    let disk = Rc::new(Vhdx::open(slow, options.clone()).await.unwrap());
    let mut expected = content.to_vec();
    let mut tasks = Vec::new();
    let place = |task: u64, block: u64| {
        let at = (block * MIB + task * STRIPE) as usize;
        at..at + STRIPE as usize
    };
    for task in 0..TASKS {
        let stripes = (0..SIZE / MIB).map(|block| content[place(task, block)].to_vec());
        let (disk, stripes) = (Rc::clone(&disk), stripes.collect());
        tasks.push(spawn(async move { work(&disk, task, seed, stripes).await }));
    }
    for (task, running) in (0..).zip(tasks) {
        for (block, stripe) in (0..).zip(running.await) {
            expected[place(task, block)].copy_from_slice(&stripe);
        }
    }
    assert_eq!(
        first_difference(&read_all(&*disk).await, &expected),
        None,
        "seed {seed}"
    );
    disk.flush().await.unwrap();
    let after = Rc::new(Memory::with_content(file.after_power_cut(seed)));
    let again = Vhdx::open(after, options).await.unwrap();
    assert_eq!(
        first_difference(&read_all(&again).await, &expected),
        None,
        "seed {seed}"
    );
}

#[test]
fn tasks_with_their_own_bytes_of_the_same_blocks_do_not_mix() {
    run(async {
        let (below, content, differencing) = parent(SIZE, 100).await;
        for seed in 0..4 {
            let zeroes = vec![0; SIZE as usize];
            many(&small(SIZE, Kind::Dynamic), None, &zeroes, seed).await;
            many(&differencing, Some(&below), &content, seed).await;
        }
    })
    .unwrap();
}

#[test]
fn blocks_come_and_go_under_requests() {
    run(async {
        for seed in 0..6 {
            let file = Rc::new(Memory::with_content(
                image(&small(SIZE, Kind::Dynamic)).await,
            ));
            let slow = Slow::new(file.clone(), seed);
            let disk = Vhdx::open(slow, OpenOptions::default()).await.unwrap();
            let disk = Rc::new(disk);
            let mut tasks = Vec::new();
            // Each block has a byte of its own: no other one must ever be seen in it.
            for task in 0..30u64 {
                let disk = Rc::clone(&disk);
                tasks.push(spawn(async move {
                    let block = task % (SIZE / MIB);
                    let byte = block as u8 + 1;
                    for round in 0..6 {
                        let extent = Extent::new(block * MIB, MIB);
                        let data = IoBuf::copy_of(&[byte; 3000]);
                        let at = extent.offset_bytes + (task * 7 + round) * 3000;
                        disk.write(at, data, Durability::Volatile).await.unwrap();
                        let buf = IoBufMut::zeroed(1 << 20);
                        let read = disk.read(extent.offset_bytes, buf).await.unwrap();
                        let stranger = read.iter().find(|&&found| found != 0 && found != byte);
                        assert_eq!(stranger, None, "in block {block}, seed {seed}");
                        match (task + round) % 3 {
                            0 => disk.discard(extent).await.unwrap(),
                            1 => disk.flush().await.unwrap(),
                            _ => {}
                        }
                    }
                }));
            }
            for task in tasks {
                task.await;
            }
            disk.close().await.unwrap();
            let again = Vhdx::open(file, OpenOptions::default()).await.unwrap();
            let same = first_difference(&read_all(&*disk).await, &read_all(&again).await);
            assert_eq!(same, None, "seed {seed}");
        }
    })
    .unwrap();
}

#[test]
fn writes_beyond_an_end_that_moves_are_refused_or_gone() {
    run(async {
        for seed in 0..8 {
            let file = Rc::new(Memory::with_content(
                image(&small(SIZE, Kind::Dynamic)).await,
            ));
            let slow = Slow::new(file, seed);
            let disk = Rc::new(Vhdx::open(slow, OpenOptions::default()).await.unwrap());
            let mut tasks = Vec::new();
            for task in 0..12 {
                let disk = Rc::clone(&disk);
                tasks.push(spawn(async move {
                    for _ in 0..task % 5 {
                        yield_now().await;
                    }
                    let data = IoBuf::copy_of(&[1; 4096]);
                    let offset = SIZE - MIB + task * 4096;
                    match disk.write(offset, data, Durability::Volatile).await {
                        Ok(()) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfRange),
                    }
                }));
            }
            yield_now().await;
            disk.resize(MIB).await.unwrap();
            for task in tasks {
                task.await;
            }
            disk.resize(SIZE).await.unwrap();
            let read = read_all(&*disk).await;
            assert!(read.iter().all(|&byte| byte == 0), "seed {seed}");
        }
    })
    .unwrap();
}

#[test]
fn a_page_that_was_read_slowly_is_not_older_than_what_was_written() {
    run(async {
        let (below, _, options) = parent(80 * MIB, 7).await;
        let file = Rc::new(Memory::with_content(image(&options).await));
        let options = OpenOptions {
            read_only: false,
            parent: Some(below),
        };
        let data = |byte: u8| IoBuf::copy_of(&[byte; 512]);
        let how = Durability::Volatile;
        // Blocks that are partly in the file: two of one page of the bitmap, and more pages than
        // are kept.
        let disk = Vhdx::open(file.clone(), options.clone()).await.unwrap();
        for block in [0, 1, 16, 32, 48, 64] {
            disk.write(block * MIB, data(1), how).await.unwrap();
        }
        disk.close().await.unwrap();
        let slow = Slow::new(file.clone(), 1);
        let disk = Vhdx::open(slow.clone(), options.clone()).await.unwrap();
        let read = async |offset| disk.read(offset, IoBufMut::zeroed(512)).await.unwrap();
        slow.stall.set(true);
        let others = async {
            while slow.stall.get() {
                yield_now().await;
            }
            disk.write(MIB + 4096, data(2), how).await.unwrap();
            disk.flush().await.unwrap();
            for block in [16, 32, 48, 64] {
                read(block * MIB).await;
            }
        };
        futures_util::join!(read(0), others);
        assert_eq!(read(MIB + 4096).await[..], [2; 512]);
        disk.write(MIB + 8192, data(3), how).await.unwrap();
        disk.flush().await.unwrap();
        let again = Vhdx::open(file, options).await.unwrap();
        let buf = IoBufMut::zeroed(512);
        assert_eq!(again.read(MIB + 4096, buf).await.unwrap()[..], [2; 512]);
    })
    .unwrap();
}
