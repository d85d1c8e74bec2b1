//! Chains of descriptors as guests write them, honest and not, in memory that is only a test's.

use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use futures_util::future::{Either, select};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::config::Config;
use super::execute::Executor;
use super::request::{Kind, Request};
use super::{Options, Server};
use crate::disk::memory::Memory;
use crate::disk::{Disk, Durability};
use crate::engine::{Choice, Engine, run, sleep, spawn, unblock, yield_now};

type Guest = GuestMemoryMmap<()>;

const GUEST_BYTES: usize = 1 << 20;
const DISK_BYTES: u64 = 64 << 10;
const TABLE: u64 = 0x1000;
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
const HEADER: u64 = 0x4000;
const STATUS: u64 = 0x5000;
const DATA: u64 = 0x10000;
const QUEUE_SIZE: u16 = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// What no request leaves as its status.
const UNTOUCHED: u8 = 0xee;

fn guest() -> Guest {
    Guest::from_ranges(&[(GuestAddress(0), GUEST_BYTES)]).unwrap()
}

/// Address, length and flags without `NEXT`.
type Piece = (u64, u32, u16);

fn header(guest: &Guest, kind: u32, sector: u64) {
    let bytes = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    guest.write_slice(&bytes, GuestAddress(HEADER)).unwrap();
    guest.write_obj(UNTOUCHED, GuestAddress(STATUS)).unwrap();
}

fn link(guest: &Guest, table: u64, pieces: &[Piece]) {
    for (n, &(address, len, flags)) in pieces.iter().enumerate() {
        let next = if n + 1 < pieces.len() { NEXT } else { 0 };
        let descriptor = Descriptor::new(address, len, flags | next, n as u16 + 1);
        guest
            .write_obj(descriptor, GuestAddress(table + 16 * n as u64))
            .unwrap();
    }
}

/// The chain that the guest makes available first.
fn chain(guest: &Guest) -> DescriptorChain<&Guest> {
    let mut queue = Queue::new(QUEUE_SIZE).unwrap();
    queue
        .try_set_desc_table_address(GuestAddress(TABLE))
        .unwrap();
    queue
        .try_set_avail_ring_address(GuestAddress(AVAIL))
        .unwrap();
    queue.try_set_used_ring_address(GuestAddress(USED)).unwrap();
    queue.set_ready(true);
    guest
        .write_slice(&[0, 0, 1, 0, 0, 0], GuestAddress(AVAIL))
        .unwrap();
    queue.pop_descriptor_chain(guest).unwrap()
}

fn request(guest: &Guest, pieces: &[Piece]) -> Request {
    link(guest, TABLE, pieces);
    Request::parse(chain(guest))
}

/// Carries out a request; answers its status and how much was written.
fn execute(disk: Rc<dyn Disk>, guest: &Guest, request: Request) -> (u8, u32) {
    let options = Options {
        serial: "a-serial-that-is-longer-than-twenty".into(),
        ..Options::default()
    };
    let executor = Executor::new(disk, &options);
    let done = run(executor.execute(request, guest, Durability::Volatile)).unwrap();
    let status = guest.read_obj(GuestAddress(STATUS)).unwrap();
    (status, done.written_bytes)
}

fn disk() -> Rc<Memory> {
    Rc::new(Memory::with_content(
        (0..DISK_BYTES).map(|at| at as u8).collect(),
    ))
}

#[test]
fn data_is_cut_into_descriptors_in_any_way() {
    let guest = guest();
    guest.write_slice(&[7; 1024], GuestAddress(DATA)).unwrap();
    header(&guest, 1, 2);
    // The header in two parts, the second with the first data; empty ones between.
    guest
        .write_slice(&[7; 100], GuestAddress(HEADER + 16))
        .unwrap();
    let pieces = [
        (HEADER, 5, 0),
        (HEADER + 5, 11 + 100, 0),
        (DATA, 0, 0),
        (DATA, 924, 0),
        (STATUS, 1, WRITE),
    ];
    let disk = disk();
    let written = execute(disk.clone(), &guest, request(&guest, &pieces));
    assert_eq!(written, (0, 1));
    let content = disk.content();
    assert!(content[1024..2048].iter().all(|&byte| byte == 7));
    assert!((content[1023], content[2048]) == (255, 0));

    header(&guest, 0, 1);
    // The status follows the data in the same descriptor.
    let at = STATUS - 300;
    let pieces = [(HEADER, 16, 0), (DATA, 212, WRITE), (at, 301, WRITE)];
    assert_eq!(execute(disk, &guest, request(&guest, &pieces)), (0, 513));
    let mut read = vec![0; 512];
    guest
        .read_slice(&mut read[..212], GuestAddress(DATA))
        .unwrap();
    guest
        .read_slice(&mut read[212..], GuestAddress(at))
        .unwrap();
    assert_eq!(read, content[512..1024]);
}

#[test]
fn tables_may_be_indirect() {
    let guest = guest();
    header(&guest, 0, 0);
    let table = 0x8000;
    link(
        &guest,
        table,
        &[(HEADER, 16, 0), (DATA, 512, WRITE), (STATUS, 1, WRITE)],
    );
    let indirect = request(&guest, &[(table, 48, INDIRECT)]);
    assert_eq!(execute(disk(), &guest, indirect), (0, 513));
    // A table within a table is not allowed.
    link(&guest, table, &[(table, 48, INDIRECT)]);
    assert_eq!(request(&guest, &[(table, 48, INDIRECT)]).kind, Kind::Broken);
}

#[test]
fn small_requests_do_what_they_say() {
    let guest = guest();
    let disk = disk();
    let end = (STATUS, 1, WRITE);
    header(&guest, 4, 0);
    let flush = request(&guest, &[(HEADER, 16, 0), end]);
    assert_eq!(execute(disk.clone(), &guest, flush), (0, 1));
    header(&guest, 8, 0);
    let id = request(&guest, &[(HEADER, 16, 0), (DATA, 20, WRITE), end]);
    assert_eq!(execute(disk.clone(), &guest, id), (0, 21));
    let mut serial = [0; 20];
    guest.read_slice(&mut serial, GuestAddress(DATA)).unwrap();
    assert_eq!(&serial, b"a-serial-that-is-lon");
    for (kind, flags, status) in [
        (11, 0_u32, 0),
        (13, 1, 0),
        (13, 0, 0),
        (11, 1, 2),
        (13, 2, 2),
    ] {
        header(&guest, kind, 0);
        let range = [
            &4_u64.to_le_bytes()[..],
            &2_u32.to_le_bytes(),
            &flags.to_le_bytes(),
        ];
        guest
            .write_slice(&range.concat(), GuestAddress(DATA))
            .unwrap();
        let request = request(&guest, &[(HEADER, 16, 0), (DATA, 16, 0), end]);
        assert_eq!(
            execute(disk.clone(), &guest, request),
            (status, 1),
            "{kind} {flags}"
        );
    }
    assert!(disk.content()[2048..3072].iter().all(|&byte| byte == 0));
    header(&guest, 99, 0);
    let unknown = request(&guest, &[(HEADER, 16, 0), end]);
    assert_eq!(execute(disk, &guest, unknown), (2, 1));
}

#[test]
fn what_is_wrong_ends_in_an_error_status() {
    let end = (STATUS, 1, WRITE);
    let far = GUEST_BYTES as u64;
    let cases: [(u32, u64, &[Piece]); 14] = [
        // Beyond the disk, beyond all numbers, no whole sectors.
        (
            0,
            DISK_BYTES / 512,
            &[(HEADER, 16, 0), (DATA, 512, WRITE), end],
        ),
        (0, 127, &[(HEADER, 16, 0), (DATA, 1024, WRITE), end]),
        (1, u64::MAX, &[(HEADER, 16, 0), (DATA, 512, 0), end]),
        (1, u64::MAX / 512, &[(HEADER, 16, 0), (DATA, 512, 0), end]),
        (0, 0, &[(HEADER, 16, 0), (DATA, 100, WRITE), end]),
        // Data outside of memory, around its end, and at the end of addresses.
        (0, 0, &[(HEADER, 16, 0), (far, 512, WRITE), end]),
        (1, 0, &[(HEADER, 16, 0), (far - 100, 512, 0), end]),
        (1, 0, &[(HEADER, 16, 0), (u64::MAX - 5, 512, 0), end]),
        // Longer than the disk by far, a short header, one outside of memory.
        (0, 0, &[(HEADER, 16, 0), (DATA, u32::MAX - 100, WRITE), end]),
        (0, 0, &[(HEADER, 15, 0), end]),
        (0, 0, &[(far, 16, 0), (DATA, 512, WRITE), end]),
        // Readable after writable, ranges that are none or too many.
        (
            0,
            0,
            &[(HEADER, 16, 0), (DATA, 512, WRITE), (DATA, 512, 0), end],
        ),
        (11, 0, &[(HEADER, 16, 0), (DATA, 15, 0), end]),
        (13, 0, &[(HEADER, 16, 0), (DATA, 16 * 33, 0), end]),
    ];
    for (kind, sector, pieces) in cases {
        let guest = guest();
        header(&guest, kind, sector);
        let disk = disk();
        let before = disk.content();
        let (status, _) = execute(disk.clone(), &guest, request(&guest, pieces));
        assert_eq!(status, 1, "{kind} {sector} {pieces:?}");
        assert!(disk.content() == before);
    }
}

#[test]
fn chains_without_an_end_or_a_status_are_no_requests() {
    let guest = guest();
    header(&guest, 0, 0);
    // A loop of descriptors.
    link(&guest, TABLE, &[(HEADER, 16, 0), (DATA, 512, WRITE)]);
    let back = Descriptor::new(DATA, 512, WRITE | NEXT, 1);
    guest.write_obj(back, GuestAddress(TABLE + 16)).unwrap();
    assert_eq!(Request::parse(chain(&guest)).kind, Kind::Broken);
    // A next that is no descriptor.
    let beyond = Descriptor::new(STATUS, 1, WRITE | NEXT, QUEUE_SIZE);
    guest.write_obj(beyond, GuestAddress(TABLE + 16)).unwrap();
    assert_eq!(Request::parse(chain(&guest)).kind, Kind::Broken);
    // Nowhere to put a status.
    for pieces in [&[(HEADER, 16, 0)][..], &[(HEADER, 16, 0), (DATA, 0, WRITE)]] {
        let request = request(&guest, pieces);
        assert_eq!((request.kind, request.status), (Kind::Broken, None));
    }
    let nowhere = [(HEADER, 16, 0), (u64::MAX, 1, WRITE)];
    let request = request(&guest, &nowhere);
    assert_eq!(execute(disk(), &guest, request), (UNTOUCHED, 0));
}

#[test]
fn random_descriptors_end_in_a_status_only() {
    let mut random = StdRng::seed_from_u64(3);
    let disk = Rc::new(Memory::new(DISK_BYTES).read_only());
    for _ in 0..2000 {
        let guest = guest();
        header(
            &guest,
            random.random_range(0..15),
            random.random_range(0..200),
        );
        for n in 0..u64::from(QUEUE_SIZE) {
            let address = match random.random_range(0..4) {
                0 => random.random(),
                1 => HEADER,
                _ => random.random_range(0..GUEST_BYTES as u64),
            };
            let len = match random.random_range(0..4) {
                0 => random.random(),
                1 => 16,
                _ => random.random_range(0..2048),
            };
            let next = random.random_range(0..=QUEUE_SIZE);
            let flags = random.random_range(0..8);
            let descriptor = Descriptor::new(address, len, flags, next);
            guest
                .write_obj(descriptor, GuestAddress(TABLE + 16 * n))
                .unwrap();
        }
        let request = Request::parse(chain(&guest));
        execute(disk.clone(), &guest, request);
    }
    assert!(disk.content().iter().all(|&byte| byte == 0));
}

#[test]
fn the_configuration_says_what_the_disk_is() {
    let geometry = disk().geometry();
    let mut config = Config::new(&geometry, &Options::default());
    assert_eq!(config.read(0, 8), (DISK_BYTES / 512).to_le_bytes());
    assert_eq!(config.read(20, 4), 512_u32.to_le_bytes());
    assert_eq!(config.read(24, 2), [3, 0]);
    assert_eq!(config.read(34, 2), 4_u16.to_le_bytes());
    config.resize(1 << 20);
    assert_eq!(config.read(0, 8), 2048_u64.to_le_bytes());
    assert_eq!(config.read(u32::MAX, 4), [0; 4]);
    assert_eq!(config.read(58, u32::MAX).len(), 256);
}

#[test]
fn a_stop_needs_no_thread_of_the_engine() {
    let engine = Engine::with(Choice::Threads).unwrap();
    let dir = tempfile::tempdir().unwrap();
    engine.block_on(async {
        let free = Arc::new(Barrier::new(17));
        // Requests of other disks, which the threads of the engine are busy with.
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let free = Arc::clone(&free);
                spawn(unblock(move || free.wait()))
            })
            .collect();
        yield_now().await;
        let path = dir.path().join("socket");
        let server = Server::start(&path, disk(), &Options::default()).unwrap();
        let (stop, limit) = (pin!(server.stop()), pin!(sleep(Duration::from_secs(10))));
        let in_time = matches!(select(stop, limit).await, Either::Left(_));
        free.wait();
        for call in calls {
            call.await;
        }
        assert!(in_time);
    });
}
