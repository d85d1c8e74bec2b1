//! Opening a file through io_uring, in a worker of the kernel's.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;

use super::calls::struct_bytes;
use crate::act::{Action, Done, Failure, action, done, path};
use crate::files::{fd, mode_flags};
use crate::sys::{Arg, call, counter, descriptor, load, poke};

pub(crate) const ACTIONS: &[Action] = &[
    action("uring-open", "MODE PATH", |words| {
        uring_open(words, IOSQE_ASYNC)
    }),
    action("uring-open-inline", "MODE PATH", |words| {
        uring_open(words, 0)
    }),
    action("uring", "ENTRY", |words| run_entry(words, 0, false)),
    action("uring-polled", "ENTRY", |words| {
        run_entry(words, IORING_SETUP_SQPOLL, false)
    }),
    action("uring-borrowed", "ENTRY", |words| run_entry(words, 0, true)),
    action("uring-command", "", uring_command),
];

// `include/uapi/linux/io_uring.h`.
const IORING_OP_OPENAT: u8 = 18;
const IORING_OP_CONNECT: u8 = 16;
const IORING_OP_URING_CMD: u8 = 46;
const IOSQE_ASYNC: u8 = 1 << 4;
const IORING_OFF_SQ_RING: i64 = 0;
const IORING_OFF_CQ_RING: i64 = 0x800_0000;
const IORING_OFF_SQES: i64 = 0x1000_0000;
const IORING_ENTER_GETEVENTS: i64 = 1;
const RING_BYTES: i64 = 4096;
const IORING_SETUP_SQPOLL: u32 = 1 << 1;
const IORING_ENTER_SQ_WAKEUP: i64 = 1 << 1;
const IORING_REGISTER_PERSONALITY: i64 = 9;

/// `struct io_uring_params`, 120 bytes, as words of 32 bits: the offsets of the submission ring
/// from word 10, those of the completion ring from word 20.
struct Params([u8; 120]);

impl Params {
    fn word(&self, at: usize) -> usize {
        let bytes = [
            self.0[at * 4],
            self.0[at * 4 + 1],
            self.0[at * 4 + 2],
            self.0[at * 4 + 3],
        ];
        u32::from_ne_bytes(bytes) as usize
    }
}

struct Ring {
    fd: OwnedFd,
    params: Params,
    submissions: usize,
    completions: usize,
    entries: usize,
}

impl Ring {
    fn new(flags: u32) -> Result<Self, Failure> {
        let mut params = Params([0; 120]);
        params.0[8..12].copy_from_slice(&flags.to_ne_bytes());
        let fd = descriptor(
            "io_uring_setup",
            libc::SYS_io_uring_setup,
            [Arg::Int(1), Arg::Out(&mut params.0)],
        )?;
        let map = |offset| map_ring(&fd, offset);
        let (submissions, completions) = (map(IORING_OFF_SQ_RING)?, map(IORING_OFF_CQ_RING)?);
        let entries = map(IORING_OFF_SQES)?;
        Ok(Self {
            fd,
            params,
            submissions,
            completions,
            entries,
        })
    }

    /// Submits one entry, waits for its completion, and returns the result.
    fn run(&self, entry: &[u8; 64]) -> Result<i32, Failure> {
        poke(self.entries, entry);
        let (tail, array) = (self.params.word(11), self.params.word(16));
        poke(self.submissions + array, &0u32.to_ne_bytes());
        counter(self.submissions + tail).fetch_add(1, Ordering::Release);
        call(
            "io_uring_enter",
            libc::SYS_io_uring_enter,
            [
                fd(self.fd.as_fd()),
                Arg::Int(1),
                Arg::Int(1),
                Arg::Int(IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP),
                Arg::Int(0),
                Arg::Int(0),
            ],
        )?;
        // `struct io_uring_cqe`: 8 bytes of user data, then the result.
        Ok(load(self.completions + self.params.word(25) + 8) as i32)
    }
}

fn map_ring(ring: &OwnedFd, offset: i64) -> Result<usize, Failure> {
    let address = call(
        "mmap",
        libc::SYS_mmap,
        [
            Arg::Int(0),
            Arg::Int(RING_BYTES),
            Arg::Int((libc::PROT_READ | libc::PROT_WRITE).into()),
            Arg::Int((libc::MAP_SHARED | libc::MAP_POPULATE).into()),
            fd(ring.as_fd()),
            Arg::Int(offset),
        ],
    )?;
    usize::try_from(address).map_err(|_| Failure::Call("mmap", libc::ENOMEM))
}

/// Connects a socket by a request.
pub(crate) fn connect(socket: &OwnedFd, address: &[u8]) -> Result<i64, Failure> {
    let ring = Ring::new(0)?;
    // As above: the address at 16, its length at 8.
    let mut entry = [0u8; 64];
    entry[0] = IORING_OP_CONNECT;
    entry[4..8].copy_from_slice(&std::os::fd::AsRawFd::as_raw_fd(socket).to_ne_bytes());
    entry[8..16].copy_from_slice(&(address.len() as u64).to_ne_bytes());
    let at = address.as_ptr().expose_provenance() as u64;
    entry[16..24].copy_from_slice(&at.to_ne_bytes());
    match ring.run(&entry)? {
        result if result < 0 => Err(Failure::Call("io_uring connect", -result)),
        result => Ok(result.into()),
    }
}

fn uring_open(words: &[&str], flags: u8) -> Done {
    let [mode, file] = words else {
        return Err(Failure::Usage);
    };
    let (file, open_flags) = (path(file)?, mode_flags(mode)?);
    let ring = Ring::new(0)?;
    // `struct io_uring_sqe`: opcode, flags, descriptor at 4, path at 16, mode at 24, open flags at
    // 28.
    let mut entry = [0u8; 64];
    entry[0] = IORING_OP_OPENAT;
    entry[1] = flags;
    entry[4..8].copy_from_slice(&libc::AT_FDCWD.to_ne_bytes());
    entry[16..24].copy_from_slice(&(file.as_ptr().expose_provenance() as u64).to_ne_bytes());
    entry[24..28].copy_from_slice(&0o600u32.to_ne_bytes());
    entry[28..32].copy_from_slice(&open_flags.to_ne_bytes());
    match ring.run(&entry)? {
        result if result < 0 => Err(Failure::Call("io_uring openat", -result)),
        _ => done(),
    }
}

/// An entry as `call` takes a struct (`struct io_uring_sqe`), in a ring with these flags, under
/// credentials that were registered before if `borrowed`.
fn run_entry(words: &[&str], flags: u32, borrowed: bool) -> Done {
    let [fields] = words else {
        return Err(Failure::Usage);
    };
    let fields = fields
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let mut bytes = struct_bytes(fields.ok_or(Failure::Usage)?)?;
    bytes.resize(64, 0);
    let mut entry = [0u8; 64];
    entry.copy_from_slice(&bytes);
    let ring = Ring::new(flags)?;
    if borrowed {
        let nothing = Arg::Int(0);
        let command = Arg::Int(IORING_REGISTER_PERSONALITY);
        let arguments = [fd(ring.fd.as_fd()), command, nothing, Arg::Int(0)];
        let id = call("io_uring_register", libc::SYS_io_uring_register, arguments)?;
        entry[42..44].copy_from_slice(&(id as u16).to_ne_bytes());
    }
    match ring.run(&entry)? {
        result if result < 0 => Err(Failure::Call("io_uring", -result)),
        result => Ok(result.to_string()),
    }
}

/// Command 0 to `/dev/null`, which takes any.
fn uring_command(words: &[&str]) -> Done {
    use std::os::fd::AsRawFd as _;
    let [] = words else {
        return Err(Failure::Usage);
    };
    let null = crate::files::open_flags("/dev/null", libc::O_RDWR)?;
    let ring = Ring::new(0)?;
    let mut entry = [0u8; 64];
    entry[0] = IORING_OP_URING_CMD;
    entry[4..8].copy_from_slice(&null.as_raw_fd().to_ne_bytes());
    match ring.run(&entry)? {
        result if result < 0 => Err(Failure::Call("io_uring command", -result)),
        _ => done(),
    }
}
