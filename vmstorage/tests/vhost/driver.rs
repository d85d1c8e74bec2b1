//! A front end and a driver in one: memory that is shared, rings in it, requests in these.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::VhostUserConfigFlags;
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const MEMORY_BYTES: usize = 16 << 20;
/// Where the front end says that it has the memory.
const USER: u64 = 0x7f00_0000_0000;
pub(crate) const QUEUE_SIZE: u16 = 64;
/// Memory of a queue: rings, headers, statuses, data.
const QUEUE_BYTES: u64 = 4 << 20;
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;

pub(crate) struct Driver {
    frontend: Frontend,
    pub(crate) memory: GuestMemoryMmap<()>,
    queues: Vec<Queue>,
    pub(crate) features: u64,
}

struct Queue {
    kick: EventFd,
    call: EventFd,
    avail: u16,
    used: u16,
}

impl Driver {
    /// Connects and sets up `queues` queues.
    pub(crate) fn connect(socket: &Path, queues: usize) -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(MEMORY_BYTES as u64).unwrap();
        let mut frontend = Frontend::connect(socket, 4).unwrap();
        frontend.set_owner().unwrap();
        let features = frontend.get_features().unwrap();
        let protocol = frontend.get_protocol_features().unwrap();
        let wanted = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG;
        frontend.set_protocol_features(protocol & wanted).unwrap();
        // Not event indices: every completion is told.
        frontend.set_features(features & !(1 << 29)).unwrap();
        let mut driver = Self {
            memory: map(&file),
            frontend,
            queues: Vec::new(),
            features,
        };
        driver
            .frontend
            .set_mem_table(&[VhostUserMemoryRegionInfo {
                guest_phys_addr: 0,
                memory_size: MEMORY_BYTES as u64,
                userspace_addr: USER,
                mmap_offset: 0,
                mmap_handle: file.as_raw_fd(),
            }])
            .unwrap();
        for queue in 0..queues {
            driver.set_up(queue);
        }
        driver
    }

    fn set_up(&mut self, queue: usize) {
        let base = USER + self.base(queue);
        let (kick, call) = (event(), event());
        let frontend = &mut self.frontend;
        frontend.set_vring_num(queue, QUEUE_SIZE).unwrap();
        let rings = VringConfigData {
            queue_max_size: QUEUE_SIZE,
            queue_size: QUEUE_SIZE,
            flags: 0,
            desc_table_addr: base,
            avail_ring_addr: base + 0x1000,
            used_ring_addr: base + 0x2000,
            log_addr: None,
        };
        frontend.set_vring_addr(queue, &rings).unwrap();
        frontend.set_vring_base(queue, 0).unwrap();
        frontend.set_vring_call(queue, &call).unwrap();
        frontend.set_vring_kick(queue, &kick).unwrap();
        frontend.set_vring_enable(queue, true).unwrap();
        self.queues.push(Queue {
            kick,
            call,
            avail: 0,
            used: 0,
        });
    }

    fn base(&self, queue: usize) -> u64 {
        queue as u64 * QUEUE_BYTES
    }

    /// Where a queue's data is.
    pub(crate) fn data(&self, queue: usize) -> u64 {
        self.base(queue) + (1 << 20)
    }

    pub(crate) fn config(&mut self, at: u32, len: u32) -> Vec<u8> {
        let room = vec![0; len as usize];
        let flags = VhostUserConfigFlags::WRITABLE;
        self.frontend.get_config(at, len, flags, &room).unwrap().1
    }

    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub(crate) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }

    /// Writes a descriptor.
    pub(crate) fn describe(&self, queue: usize, index: u16, fields: (u64, u32, u16, u16)) {
        let (address, len, flags, next) = fields;
        let bytes = [
            &address.to_le_bytes()[..],
            &len.to_le_bytes(),
            &flags.to_le_bytes(),
            &next.to_le_bytes(),
        ];
        self.put(self.base(queue) + 16 * u64::from(index), &bytes.concat());
    }

    /// Makes a chain available without saying so.
    pub(crate) fn offer(&mut self, queue: usize, head: u16) {
        let ring = self.base(queue) + 0x1000;
        let avail = self.queues[queue].avail;
        self.put(
            ring + 4 + 2 * u64::from(avail % QUEUE_SIZE),
            &head.to_le_bytes(),
        );
        self.queues[queue].avail = avail.wrapping_add(1);
        self.put(ring + 2, &self.queues[queue].avail.to_le_bytes());
    }

    /// Writes the index up to which chains are available, true or not.
    pub(crate) fn lie(&self, queue: usize, index: u16) {
        self.put(self.base(queue) + 0x1002, &index.to_le_bytes());
    }

    pub(crate) fn kick(&self, queue: usize) {
        self.queues[queue].kick.write(1).unwrap();
    }

    /// Waits for the next chain that was used: its head and how much was written.
    pub(crate) fn used(&mut self, queue: usize) -> (u16, u32) {
        let ring = self.base(queue) + 0x2000;
        let until = Instant::now() + Duration::from_secs(20);
        while self.get(ring + 2, 2) == self.queues[queue].used.to_le_bytes() {
            assert!(Instant::now() < until, "queue {queue} is not answered");
            let _ = self.queues[queue].call.read();
            std::thread::sleep(Duration::from_micros(200));
        }
        let at = ring + 4 + 8 * u64::from(self.queues[queue].used % QUEUE_SIZE);
        self.queues[queue].used = self.queues[queue].used.wrapping_add(1);
        let entry = self.get(at, 8);
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
        (word(0) as u16, word(4))
    }

    /// Writes a request of one descriptor of data into slot `slot` (three descriptors each).
    pub(crate) fn request(
        &mut self,
        queue: usize,
        slot: u16,
        (kind, sector): (u32, u64),
        (address, len, flags): (u64, u32, u16),
    ) {
        let header = self.base(queue) + 0x4000 + 32 * u64::from(slot);
        let bytes = [
            &kind.to_le_bytes()[..],
            &[0; 4],
            &sector.to_le_bytes(),
            &[0xee],
        ];
        self.put(header, &bytes.concat());
        let first = slot * 3;
        let data = if len > 0 { first + 1 } else { first + 2 };
        self.describe(queue, first, (header, 16, NEXT, data));
        self.describe(queue, first + 1, (address, len, flags | NEXT, first + 2));
        self.describe(queue, first + 2, (header + 16, 1, WRITE, 0));
        self.offer(queue, first);
    }

    pub(crate) fn status(&self, queue: usize, slot: u16) -> u8 {
        self.get(self.base(queue) + 0x4010 + 32 * u64::from(slot), 1)[0]
    }

    /// A request and its answer: the status.
    pub(crate) fn ask(&mut self, queue: usize, what: (u32, u64), data: (u64, u32, u16)) -> u8 {
        self.request(queue, 0, what, data);
        self.kick(queue);
        assert_eq!(self.used(queue).0, 0);
        self.status(queue, 0)
    }

    /// Stops a queue; how far it has come.
    pub(crate) fn stop(&mut self, queue: usize) -> u32 {
        self.frontend.get_vring_base(queue).unwrap()
    }
}

fn map(file: &File) -> GuestMemoryMmap<()> {
    let offset = FileOffset::new(file.try_clone().unwrap(), 0);
    let range = (GuestAddress(0), MEMORY_BYTES, Some(offset));
    GuestMemoryMmap::from_ranges_with_files([range]).unwrap()
}

fn event() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}
