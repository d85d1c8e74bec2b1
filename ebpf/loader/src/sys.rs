//! `bpf(2)` on pinned maps, which the library has no types for.
#![allow(unsafe_code, reason = "the bpf system call has no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ebpf_common::abi;
use ebpf_common::event::Event;
use ebpf_common::socket;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

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
    abi::Counters,
    socket::SocketKinds,
    socket::PlaceKey,
    socket::PlaceRules,
    socket::UnixRule,
    socket::NameKey,
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

/// The key of a hash map that follows `after`, or its first: also where `after` is no longer there.
pub(crate) fn next_key<K: Plain>(map: BorrowedFd<'_>, after: Option<&K>) -> io::Result<Option<K>> {
    let mut next = core::mem::MaybeUninit::<K>::zeroed();
    let after = after.map_or(0, |key| core::ptr::from_ref(key) as u64);
    // SAFETY: both are keys of the map, which has this type.
    let found = unsafe { step(map, after, next.as_mut_ptr() as u64) }?;
    // SAFETY: zeroed is a value of every `Plain`, and the kernel wrote over it.
    Ok(found.then(|| unsafe { next.assume_init() }))
}

/// How many entries a map has, at most `most`.
pub(crate) fn count(map: impl AsFd, key_size: usize, most: u64) -> io::Result<u64> {
    let (mut at, mut next) = (vec![0u8; key_size], vec![0u8; key_size]);
    let mut count = 0;
    while count < most {
        let after = match count {
            0 => 0,
            _ => at.as_ptr() as u64,
        };
        // SAFETY: both are as large as a key of the map.
        if !unsafe { step(map.as_fd(), after, next.as_mut_ptr() as u64) }? {
            break;
        }
        core::mem::swap(&mut at, &mut next);
        count += 1;
    }
    Ok(count)
}

/// Writes the key after the one at `after`, or the first, to `next`; whether there is one.
///
/// # Safety
/// `after` is 0 or the address of a key, `next` that of room for one.
unsafe fn step(map: BorrowedFd<'_>, after: u64, next: u64) -> io::Result<bool> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        key: after,
        value: next,
        ..ElementAttr::default()
    };
    match bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
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

/// `union bpf_attr` as far as `BPF_MAP_CREATE` uses it.
#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

fn create_array(map_type: u32, inner: u32) -> io::Result<OwnedFd> {
    let mut attr = CreateAttr {
        map_type,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        map_flags: 0,
        inner_map_fd: inner,
    };
    let fd = bpf(BPF_MAP_CREATE, &mut attr)?;
    // SAFETY: the kernel just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Returns when every program that runs now has returned.
///
/// The kernel promises that of one call: of setting an element of a map of maps, since programs may
/// still use the map that was there (`maybe_wait_bpf_programs` in `kernel/bpf/syscall.c`).
pub(crate) fn wait_for_programs() -> io::Result<()> {
    let inner = create_array(BPF_MAP_TYPE_ARRAY, 0)?;
    let number = inner.as_raw_fd();
    let outer = create_array(BPF_MAP_TYPE_ARRAY_OF_MAPS, number as u32)?;
    update(outer.as_fd(), &0u32, &number)
}
