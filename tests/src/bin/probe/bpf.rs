//! `bpf(2)`.

use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::act::{Action, Done, Failure, action, done, number, path};
use crate::sys::{Arg, call, descriptor};

pub(crate) const ACTIONS: &[Action] = &[
    action("bpf-map-create", "", map_create),
    action("bpf-prog-load", "", prog_load),
    action("bpf-obj-get", "PATH", obj_get),
    action("bpf-obj-pin", "PATH", obj_pin),
    action("bpf-map-scan", "", map_scan),
    action("bpf-prog-scan", "", prog_scan),
    action("bpf-link-scan", "", link_scan),
    action("bpf-command", "NUMBER", command),
];

// `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const MAP_CREATE: i64 = 0;
const PROG_LOAD: i64 = 5;
const OBJ_PIN: i64 = 6;
const OBJ_GET: i64 = 7;
const PROG_GET_NEXT_ID: i64 = 11;
const MAP_GET_NEXT_ID: i64 = 12;
const PROG_GET_FD_BY_ID: i64 = 13;
const MAP_GET_FD_BY_ID: i64 = 14;
const LINK_GET_FD_BY_ID: i64 = 30;
const LINK_GET_NEXT_ID: i64 = 31;

/// `union bpf_attr`, long enough for every command used here.
#[derive(Clone, Copy)]
struct Attr([u8; 128]);

impl Attr {
    fn new() -> Self {
        Self([0; 128])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// The address of memory that outlives the call.
    fn address<T>(mut self, at: usize, of: *const T) -> Self {
        let value = of.expose_provenance() as u64;
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// The first field after a call that writes back.
    fn first(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

fn bpf(command: i64, attr: &mut Attr) -> Result<i64, Failure> {
    let length = Arg::Int(attr.0.len() as i64);
    call(
        "bpf",
        libc::SYS_bpf,
        [Arg::Int(command), Arg::Out(&mut attr.0), length],
    )
}

fn bpf_descriptor(command: i64, attr: &mut Attr) -> Result<OwnedFd, Failure> {
    let length = Arg::Int(attr.0.len() as i64);
    descriptor(
        "bpf",
        libc::SYS_bpf,
        [Arg::Int(command), Arg::Out(&mut attr.0), length],
    )
}

/// An array of one 8-byte element.
fn new_map() -> Result<OwnedFd, Failure> {
    const ARRAY: u32 = 2;
    let mut attr = Attr::new().u32(0, ARRAY).u32(4, 4).u32(8, 8).u32(12, 1);
    bpf_descriptor(MAP_CREATE, &mut attr)
}

fn map_create(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    new_map()?;
    done()
}

/// A socket filter that returns 0.
fn prog_load(words: &[&str]) -> Done {
    const SOCKET_FILTER: u32 = 1;
    // `r0 = 0; exit`.
    const PROGRAM: [u64; 2] = [0xb7, 0x95];
    let [] = words else {
        return Err(Failure::Usage);
    };
    let mut attr = Attr::new()
        .u32(0, SOCKET_FILTER)
        .u32(4, PROGRAM.len() as u32)
        .address(8, PROGRAM.as_ptr())
        .address(16, c"GPL".as_ptr());
    bpf_descriptor(PROG_LOAD, &mut attr)?;
    done()
}

fn obj_get(words: &[&str]) -> Done {
    let [pin] = words else {
        return Err(Failure::Usage);
    };
    let pin = path(pin)?;
    bpf_descriptor(OBJ_GET, &mut Attr::new().address(0, pin.as_ptr()))?;
    done()
}

/// Makes a map and pins it.
fn obj_pin(words: &[&str]) -> Done {
    let [pin] = words else {
        return Err(Failure::Usage);
    };
    let pin = path(pin)?;
    let map = new_map()?;
    bpf(
        OBJ_PIN,
        &mut Attr::new()
            .address(0, pin.as_ptr())
            .u32(8, map.as_raw_fd() as u32),
    )?;
    done()
}

/// Walks the numbers of all objects and opens each; tells how many.
fn scan(next: i64, open: i64) -> Done {
    let (mut id, mut opened) = (0, 0);
    loop {
        let mut attr = Attr::new().u32(0, id);
        match bpf(next, &mut attr) {
            Ok(_) => id = attr.first(4),
            Err(Failure::Call(_, libc::ENOENT)) => return Ok(opened.to_string()),
            Err(failure) => return Err(failure),
        }
        bpf_descriptor(open, &mut Attr::new().u32(0, id))?;
        opened += 1;
    }
}

fn map_scan(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    scan(MAP_GET_NEXT_ID, MAP_GET_FD_BY_ID)
}

fn prog_scan(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    scan(PROG_GET_NEXT_ID, PROG_GET_FD_BY_ID)
}

fn link_scan(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    scan(LINK_GET_NEXT_ID, LINK_GET_FD_BY_ID)
}

/// Any command with an empty attribute: only who is asked first can be told from the errno.
fn command(words: &[&str]) -> Done {
    let [command] = words else {
        return Err(Failure::Usage);
    };
    bpf(number(command)?, &mut Attr::new())?;
    done()
}
