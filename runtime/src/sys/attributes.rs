//! `sched_setattr`, `sched_setaffinity`, `ioprio_set`, `personality`, `set_mempolicy`.

use rustix::io::Errno;

use super::check;

/// `struct sched_attr` (`include/uapi/linux/sched/types.h`), as of Linux 5.3.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SchedAttr {
    /// Of this structure, in bytes.
    pub(crate) size: u32,
    /// `SCHED_*`.
    pub(crate) policy: u32,
    /// `SCHED_FLAG_*`.
    pub(crate) flags: u64,
    /// −20 to 19.
    pub(crate) nice: i32,
    /// 0 to 99.
    pub(crate) priority: u32,
    /// Nanoseconds, as the next two.
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
    /// 0 to 1024, as the next one.
    pub(crate) util_min: u32,
    pub(crate) util_max: u32,
}

const _: () = assert!(size_of::<SchedAttr>() == 56);

/// Sets the scheduling policy of the calling thread.
pub(crate) fn sched_setattr(attr: SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        ..attr
    };
    // SAFETY: `attr` is a live `struct sched_attr` that says its own size; the call reads it. 0 is
    // the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    check(result).map(|_| ())
}

/// Binds the calling thread to the CPUs whose bits are set, 64 to a word.
pub(crate) fn sched_setaffinity(cpus: &[u64]) -> Result<(), Errno> {
    // SAFETY: the pointer leads to as many bytes as the call is told, which only reads them. 0 is
    // the calling thread.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(cpus),
            cpus.as_ptr(),
        )
    };
    check(result).map(|_| ())
}

/// Sets the I/O priority of the calling thread: `class` is one of `IOPRIO_CLASS_*`.
pub(crate) fn ioprio_set(class: u8, level: u8) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    let priority = libc::c_int::from(class) << CLASS_SHIFT | libc::c_int::from(level);
    // SAFETY: the call takes three integers.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) };
    check(result).map(|_| ())
}

/// Sets the execution domain (`PER_*`).
pub(crate) fn personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: the call takes an integer.
    let result = unsafe { libc::personality(libc::c_ulong::from(domain)) };
    check(libc::c_long::from(result)).map(|_| ())
}

/// Sets the memory policy of the calling thread: `mode` is `MPOL_*` with `MPOL_F_*`, `nodes` has
/// 64 bits to a word.
pub(crate) fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    let pointer = if nodes.is_empty() {
        std::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // The kernel takes one bit less than it is told.
    let bits = if nodes.is_empty() {
        0
    } else {
        nodes.len() * 64 + 1
    };
    // SAFETY: the pointer is null for no bits, or leads to the words that the number of bits
    // covers; the call only reads them.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    check(result).map(|_| ())
}
