//! `bpf(2)` on pinned maps, which the library has no types for, and the one fork of the self-test.
#![allow(
    unsafe_code,
    reason = "the bpf system call and fork have no safe wrapper"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ebpf_common::abi;
use ebpf_common::event::Event;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_OBJ_GET: libc::c_int = 7;

/// Types that cross to the kernel as their bytes.
///
/// # Safety
/// `repr(C)` or a primitive, without padding, and every bit pattern is a value.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ty),*) => { $(
        // SAFETY: the ABI asserts the layout: fixed-width integers without padding.
        unsafe impl Plain for $name {}
    )* };
}

plain!(
    abi::PolicyId,
    abi::PolicyHeader,
    abi::InodeKey,
    abi::IoctlKey,
    abi::FileRule,
    abi::SuperKey,
    abi::SuperRule,
    abi::DeviceKey,
    abi::RightsRule,
    abi::MountKey,
    abi::MountRule,
    abi::CapabilityKey,
    abi::CapabilityRule,
    abi::ProcessRule,
    abi::Subject,
    abi::GlobalState,
    abi::GrantKey,
    Event,
    u32,
    u64,
    i32
);

/// `union bpf_attr` as far as the element commands use it.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` as far as `BPF_OBJ_GET` uses it.
#[repr(C)]
#[derive(Default)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

fn bpf<A>(command: libc::c_int, attr: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a prefix of `union bpf_attr` of the size given; what it points at lives in
    // the callers' frames.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            core::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// Opens a pinned object.
pub(crate) fn object_get(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr {
        pathname: name.as_ptr() as u64,
        ..ObjectAttr::default()
    };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sets an element.
pub(crate) fn update<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        key: core::ptr::from_ref(key) as u64,
        value: core::ptr::from_ref(value) as u64,
        ..ElementAttr::default()
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Reads an element.
pub(crate) fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = core::mem::MaybeUninit::<V>::zeroed();
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        key: core::ptr::from_ref(key) as u64,
        value: value.as_mut_ptr() as u64,
        ..ElementAttr::default()
    };
    match bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) {
        // SAFETY: zeroed is a value of every `Plain`, and the kernel wrote over it.
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes an element; one that is not there is no error.
pub(crate) fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        key: core::ptr::from_ref(key) as u64,
        ..ElementAttr::default()
    };
    match bpf(BPF_MAP_DELETE_ELEM, &mut attr) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(drop),
    }
}

/// Every key of a hash map.
pub(crate) fn keys<K: Plain>(map: BorrowedFd<'_>) -> io::Result<Vec<K>> {
    let mut found: Vec<K> = Vec::new();
    loop {
        let mut next = core::mem::MaybeUninit::<K>::zeroed();
        let mut attr = ElementAttr {
            map_fd: map.as_raw_fd() as u32,
            key: found
                .last()
                .map_or(0, |last| core::ptr::from_ref(last) as u64),
            value: next.as_mut_ptr() as u64,
            ..ElementAttr::default()
        };
        match bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) {
            // SAFETY: zeroed is a value of every `Plain`, and the kernel wrote over it.
            Ok(_) => found.push(unsafe { next.assume_init() }),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
            Err(error) => return Err(error),
        }
    }
}

/// A value from the bytes of a ring buffer entry.
pub(crate) fn from_bytes<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, and every bit pattern is a value; unaligned because the entry need not
    // be aligned.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Forks a child that waits for one byte on `gate`, then opens `/` and exits with the errno, or 0
/// if it could. Answers the child's process id. The child closes its copy of `opener`, the other
/// end: it would wait for itself, with the lock that it inherits, if this process were killed.
pub(crate) fn fork_opener(gate: BorrowedFd<'_>, opener: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: the child only calls async-signal-safe functions and ends with `_exit`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => open_and_exit(gate.as_raw_fd(), opener.as_raw_fd()),
        child => Ok(child),
    }
}

fn open_and_exit(gate: i32, opener: i32) -> ! {
    // SAFETY: the child's own copy of the descriptor, which nothing in it uses.
    unsafe { libc::close(opener) };
    let mut byte = 0u8;
    // SAFETY: reads at most one byte into a live byte.
    let got = unsafe { libc::read(gate, (&raw mut byte).cast(), 1) };
    let mut code = 255;
    if got == 1 {
        // SAFETY: a constant, NUL-terminated path.
        let fd = unsafe { libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY) };
        code = match fd {
            -1 => errno(),
            _ => 0,
        };
    }
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

/// The C library's errno of this thread, without allocation.
fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(255)
}

/// Waits for a child; answers its exit status, or `None` if it was killed.
pub(crate) fn wait_for(child: i32) -> io::Result<Option<i32>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is live for the call.
        let answer = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if answer == child {
            return Ok(libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
