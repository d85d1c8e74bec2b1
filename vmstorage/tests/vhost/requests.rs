//! Requests through shared memory, by drivers honest and not.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use vmstorage::disk::memory::Memory;

use crate::driver::{Driver, QUEUE_SIZE, WRITE};
use crate::served::Served;

const MIB: u64 = 1 << 20;
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + seed) % 251) as u8).collect()
}

#[test]
fn a_disk_is_read_and_written_through_shared_memory() {
    let served = Served::start(|| Memory::with_content(pattern(4 << 20, 1)));
    let mut driver = Driver::connect(&served.socket(), 1);
    assert_eq!(driver.config(0, 8), (4 * MIB / 512).to_le_bytes());
    assert_eq!(driver.features & (1 << 5), 0, "not read-only");
    let data = driver.data(0);
    // Longer than what is copied at once.
    assert_eq!(driver.ask(0, (IN, 8), (data, 2 << 20, WRITE)), 0);
    assert!(driver.get(data, 2 << 20) == pattern(4 << 20, 1)[4096..4096 + (2 << 20)]);
    let new = pattern(1536 << 10, 9);
    driver.put(data, &new);
    assert_eq!(driver.ask(0, (OUT, 3), (data, new.len() as u32, 0)), 0);
    assert_eq!(driver.ask(0, (FLUSH, 0), (0, 0, 0)), 0);
    assert_eq!(driver.ask(0, (8, 0), (data, 20, WRITE)), 0);
    assert_eq!(&driver.get(data, 7), b"serial\0");
    assert_eq!(driver.ask(0, (IN, 8191), (data, 1024, WRITE)), 1);
    drop(driver);
    let content = served.stop();
    assert!(content[1536..1536 + new.len()] == new);
    assert!(content[..1536] == pattern(1536, 1));
}

#[test]
fn queues_work_beside_each_other_and_full() {
    let served = Served::start(|| Memory::new(4 * MIB));
    let mut driver = Driver::connect(&served.socket(), 3);
    let slots = QUEUE_SIZE / 3;
    for round in 0..20 {
        for queue in 0..3 {
            for slot in 0..slots {
                let at = driver.data(queue) + u64::from(slot) * 4096;
                driver.put(at, &pattern(4096, usize::from(slot) + queue * 50 + round));
                let sector = (queue as u64 * 100 + u64::from(slot)) * 8;
                driver.request(queue, slot, (OUT, sector), (at, 4096, 0));
            }
            driver.kick(queue);
        }
        for queue in 0..3 {
            let mut heads: Vec<u16> = (0..slots).map(|_| driver.used(queue).0).collect();
            heads.sort_unstable();
            assert!(heads.into_iter().eq((0..slots).map(|slot| slot * 3)));
            assert!((0..slots).all(|slot| driver.status(queue, slot) == 0));
        }
    }
    assert_eq!(driver.stop(1), 20 * u32::from(slots));
    drop(driver);
    let content = served.stop();
    for queue in 0..3_usize {
        for slot in 0..usize::from(slots) {
            let at = (queue * 100 + slot) * 4096;
            assert!(content[at..at + 4096] == pattern(4096, slot + queue * 50 + 19));
        }
    }
}

#[test]
fn a_read_only_disk_says_so_and_stays_as_it_is() {
    let served = Served::start(|| Memory::new(MIB).read_only());
    let mut driver = Driver::connect(&served.socket(), 1);
    assert_ne!(driver.features & (1 << 5), 0);
    let data = driver.data(0);
    driver.put(data, &[1; 512]);
    assert_eq!(driver.ask(0, (OUT, 0), (data, 512, 0)), 1);
    assert_eq!(driver.ask(0, (IN, 0), (data, 512, WRITE)), 0);
    assert!(served.stop().iter().all(|&byte| byte == 0));
}

#[test]
fn front_ends_come_back_and_see_the_new_size() {
    let served = Served::start(|| Memory::new(MIB));
    for round in 0..5 {
        let mut driver = Driver::connect(&served.socket(), 2);
        let size = MIB << round;
        assert_eq!(driver.config(0, 8), (size / 512).to_le_bytes());
        let data = driver.data(1);
        driver.put(data, &[round as u8 + 1; 512]);
        assert_eq!(driver.ask(1, (OUT, size / 512 - 1), (data, 512, 0)), 0);
        // Gone with requests under way.
        driver.request(0, 1, (IN, 0), (data, 65536, WRITE));
        driver.kick(0);
        drop(driver);
        served.grow();
    }
    let content = served.stop();
    assert!((0..5).all(|round| content[(MIB << round) as usize - 1] == round as u8 + 1));
}

#[test]
fn a_server_stops_with_a_front_end_connected() {
    let served = Served::start(|| Memory::new(MIB));
    let mut driver = Driver::connect(&served.socket(), 1);
    let data = driver.data(0);
    assert_eq!(driver.ask(0, (IN, 0), (data, 512, WRITE)), 0);
    served.stop();
}

#[test]
fn lies_of_a_guest_harm_itself_only() {
    let served = Served::start(|| Memory::new(MIB));
    let mut random = StdRng::seed_from_u64(11);
    for _ in 0..30 {
        let mut driver = Driver::connect(&served.socket(), 2);
        for index in 0..QUEUE_SIZE {
            let address = if random.random() {
                random.random()
            } else {
                random.random_range(0..1 << 24)
            };
            let len = if random.random() {
                random.random()
            } else {
                random.random_range(0..9000)
            };
            let fields = (
                address,
                len,
                random.random_range(0..8),
                random.random_range(0..70),
            );
            driver.describe(0, index, fields);
        }
        for _ in 0..random.random_range(1..40) {
            driver.offer(0, random.random_range(0..80));
        }
        driver.kick(0);
        driver.lie(0, random.random());
        driver.kick(0);
        // The other queue is served all the while.
        let data = driver.data(1);
        assert_eq!(driver.ask(1, (IN, 0), (data, 512, WRITE)), 0);
        driver.stop(0);
    }
    served.stop();
}
