//! The probe's only `unsafe`: raw system calls, `fork`, and reads and writes of shared ring memory.

#![allow(unsafe_code, reason = "raw system calls are what the probe is for")]

use std::ffi::CStr;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::act::Failure;

/// An argument of a raw system call.
pub(crate) enum Arg<'a> {
    /// A number, flags, or a descriptor.
    Int(i64),
    /// A NUL-terminated string.
    Text(&'a CStr),
    /// Bytes that the kernel reads.
    In(&'a [u8]),
    /// Bytes that the kernel writes.
    Out(&'a mut [u8]),
}

impl Arg<'_> {
    /// The register's value.
    fn word(self) -> i64 {
        match self {
            Self::Int(number) => number,
            Self::Text(text) => text.as_ptr().expose_provenance() as i64,
            Self::In(bytes) => bytes.as_ptr().expose_provenance() as i64,
            Self::Out(bytes) => bytes.as_mut_ptr().expose_provenance() as i64,
        }
    }
}

/// Calls the kernel as system call `number`; `name` is what a failure is reported under.
pub(crate) fn call<const N: usize>(
    name: &'static str,
    number: libc::c_long,
    arguments: [Arg<'_>; N],
) -> Result<i64, Failure> {
    let mut words = [0i64; 6];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = argument.word();
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: every pointer among the words comes from a borrow that lives until this function
    // returns, with the length that the caller passes next to it; numbers cannot make the kernel
    // touch this process's memory, except for calls that map or unmap, whose addresses the probe
    // never turns into references.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 {
        return Err(Failure::last(name));
    }
    Ok(result)
}

/// Like [`call`], for a system call that makes a descriptor.
pub(crate) fn descriptor<const N: usize>(
    name: &'static str,
    number: libc::c_long,
    arguments: [Arg<'_>; N],
) -> Result<OwnedFd, Failure> {
    let raw = call(name, number, arguments)?;
    // SAFETY: the kernel has just made this descriptor for this call, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as i32) })
}

/// `fork(2)`: the child's process id, or `None` in the child.
pub(crate) fn fork() -> Result<Option<i32>, Failure> {
    // SAFETY: the probe forks only while it has a single thread, so the child's memory is
    // consistent.
    match unsafe { libc::fork() } {
        -1 => Err(Failure::last("fork")),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// `_exit(2)`, without running what the parent has registered.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; no precondition.
    unsafe { libc::_exit(code) }
}

/// Copies `bytes` to `address` in a mapping that the probe made with `mmap` and the kernel shares.
///
/// The caller passes an address inside a live, writable mapping with room for `bytes`.
pub(crate) fn poke(address: usize, bytes: &[u8]) {
    let to = std::ptr::with_exposed_provenance_mut::<u8>(address);
    // SAFETY: the module's callers pass addresses inside mappings that they made writable and never
    // unmap, with room for the bytes; no Rust reference to that memory exists.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
}

/// The shared counter at `address`, in a mapping as for [`poke`], aligned to four bytes.
pub(crate) fn counter(address: usize) -> &'static AtomicU32 {
    let at = std::ptr::with_exposed_provenance_mut::<u32>(address);
    // SAFETY: the mapping is never unmapped, the address is a multiple of four as the kernel lays
    // rings out, and all accesses to it, the kernel's included, are atomic.
    unsafe { AtomicU32::from_ptr(at) }
}

/// Loads a counter that the kernel writes.
pub(crate) fn load(address: usize) -> u32 {
    counter(address).load(Ordering::Acquire)
}

/// A 32-bit system call (`int 0x80`) of an x86-64 process. The arguments must be below 4 GiB.
#[cfg(target_arch = "x86_64")]
pub(crate) fn compat_call(number: u32, [b, c, d, si, di]: [u32; 5]) -> i64 {
    let result: i64;
    // SAFETY: the instruction only traps into the kernel, which preserves all registers but the
    // result's (r8 to r11 are named because older kernels clear them); `rbx` is restored, since the
    // compiler reserves it. The pointers among the arguments lie in a mapping made for them.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, {b:e}",
            "int 0x80",
            "pop rbx",
            b = in(reg) b,
            inlateout("rax") u64::from(number) => result,
            in("rcx") u64::from(c),
            in("rdx") u64::from(d),
            in("rsi") u64::from(si),
            in("rdi") u64::from(di),
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    i64::from(result as i32)
}
