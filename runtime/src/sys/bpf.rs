//! `bpf(2)` for programs that govern the devices of a cgroup.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::check;

/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`.
const CGROUP_DEVICE: u32 = 6;

/// Commands of the call.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

/// `BPF_F_ALLOW_MULTI`, `BPF_F_REPLACE`.
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Length of a program's name, with a NUL at its end.
const NAME_LENGTH: usize = 16;

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Operation.
    pub(crate) code: u8,
    /// Destination in the low half, source in the high one, as a little-endian machine has its bit
    /// fields.
    pub(crate) registers: u8,
    /// Of an address, or of a jump in instructions.
    pub(crate) offset: i16,
    /// Constant operand.
    pub(crate) constant: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

impl Instruction {
    pub(crate) fn new(code: u8, dst: u8, src: u8, offset: i16, constant: i32) -> Self {
        let registers = if cfg!(target_endian = "little") {
            src << 4 | dst
        } else {
            dst << 4 | src
        };
        Self {
            code,
            registers,
            offset,
            constant,
        }
    }

    /// Destination register.
    #[cfg(test)]
    pub(crate) fn dst(self) -> u8 {
        self.registers & 0xf
    }

    /// Source register.
    #[cfg(test)]
    pub(crate) fn src(self) -> u8 {
        self.registers >> 4
    }
}

/// The part of `union bpf_attr` that loads.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_LENGTH],
}

/// The part that attaches and detaches.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// The part that asks what is attached.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// The part that opens by number.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    flags: u32,
}

/// The part that asks about an object.
#[repr(C)]
#[derive(Default)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

/// The head of `struct bpf_prog_info`, as of Linux 4.15.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    before_name: [u64; 8],
    name: [u8; NAME_LENGTH],
}

/// One command of `bpf(2)`, on a structure without padding that is as `union bpf_attr` begins.
fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: `attr` is a live structure whose size is passed along, so that the kernel reads and
    // writes no more than it; addresses in it are of memory that the callers keep alive and whose
    // length they name beside it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    check(result)
}

/// Verifies and loads a device program.
pub(crate) fn load_device_program(name: &str, program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let mut attr = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        instructions: program.as_ptr() as u64,
        license: c"MIT OR Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // The last byte stays NUL.
    for (to, from) in attr.name[..NAME_LENGTH - 1].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let fd = bpf(PROG_LOAD, &mut attr)?;
    Ok(owned(fd))
}

/// Attaches a program to a cgroup beside those of others, or in place of one.
pub(crate) fn attach(
    cgroup: &File,
    program: &OwnedFd,
    replaced: Option<&OwnedFd>,
) -> Result<(), Errno> {
    let mut attr = Attach {
        target: number(cgroup),
        program: number(program),
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        ..Attach::default()
    };
    if let Some(replaced) = replaced {
        attr.flags |= REPLACE;
        attr.replaced = number(replaced);
    }
    bpf(PROG_ATTACH, &mut attr).map(|_| ())
}

/// Takes a program off a cgroup.
pub(crate) fn detach(cgroup: &File, program: &OwnedFd) -> Result<(), Errno> {
    let mut attr = Attach {
        target: number(cgroup),
        program: number(program),
        kind: CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(PROG_DETACH, &mut attr).map(|_| ())
}

/// Numbers of the device programs at a cgroup itself.
pub(crate) fn attached(cgroup: &File) -> Result<Vec<u32>, Errno> {
    let mut ids = vec![0u32; 64];
    loop {
        let mut attr = Query {
            target: number(cgroup),
            kind: CGROUP_DEVICE,
            ids: ids.as_mut_ptr() as u64,
            count: u32::try_from(ids.len()).map_err(|_| Errno::TOOBIG)?,
            ..Query::default()
        };
        match bpf(PROG_QUERY, &mut attr) {
            // There are more than fit: their number was written.
            Err(Errno::NOSPC) => ids.resize(attr.count as usize, 0),
            Err(errno) => return Err(errno),
            Ok(_) => {
                ids.truncate(attr.count as usize);
                return Ok(ids);
            }
        }
    }
}

/// The program of a number; `None` if it is gone.
pub(crate) fn program(id: u32) -> Result<Option<OwnedFd>, Errno> {
    let mut attr = ById {
        id,
        ..ById::default()
    };
    match bpf(PROG_GET_FD_BY_ID, &mut attr) {
        Ok(fd) => Ok(Some(owned(fd))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Name of a program.
pub(crate) fn name(program: &OwnedFd) -> Result<String, Errno> {
    let mut info = ProgramInfo::default();
    let mut attr = Info {
        fd: number(program),
        length: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    let name = info
        .name
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn number(fd: &impl AsRawFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the call that gave the number succeeded, so it is a new descriptor (close-on-exec, as
    // all of `bpf(2)` are) that nobody else owns, and it fits an int.
    unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }
}
