//! Calls that have no safe wrapper: the program's only `unsafe`.

#![allow(unsafe_code, reason = "raw system calls")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::ptr;
use std::time::Duration;

use rustix::process::Pid;

/// The first version of `struct clone_args` (`include/uapi/linux/sched.h`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Forks into new namespaces (`CLONE_NEW*`); `None` in the child.
///
/// The child is a copy of the caller, which must have no other thread.
pub(crate) fn clone3(namespaces: libc::c_int) -> io::Result<Option<Pid>> {
    let mut args = CloneArgs {
        flags: u64::from(namespaces.cast_unsigned()),
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a live `struct clone_args` whose size is passed along. Memory is not shared
    // and no stack is given, so the child goes on with its own copy of this one, as after `fork`;
    // this program never starts a thread, so no lock is held by one that is not copied.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match i32::try_from(result) {
        Ok(-1) => Err(io::Error::last_os_error()),
        Ok(pid) => Ok(Pid::from_raw(pid)),
        Err(_) => Err(io::Error::other("a process id larger than any can be")),
    }
}

/// Ends this process as it is.
pub(crate) fn exit_now() -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(0) }
}

/// Maps the first page of a file, to read it, and unmaps it.
pub(crate) fn map_and_unmap(file: &File) -> io::Result<()> {
    const PAGE: usize = 4096;
    let (read, private, fd) = (libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd());
    // SAFETY: a new mapping, at no address of ours.
    let at = unsafe { libc::mmap(ptr::null_mut(), PAGE, read, private, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping of above, which nothing refers to.
    match unsafe { libc::munmap(at, PAGE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a process used, with the children that it waited for.
pub(crate) struct Used {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Processor time in user and kernel mode.
    pub(crate) cpu: Duration,
    /// Peak memory of the largest of them, in KiB.
    pub(crate) max_rss_kib: i64,
}

/// Waits for a child to end.
pub(crate) fn wait4(child: Pid) -> io::Result<Used> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    let pid = child.as_raw_nonzero().get();
    loop {
        // SAFETY: both pointers are to live memory of the size and alignment of what the call
        // writes.
        if unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) } == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: the call succeeded, so it has filled the structure in.
    let usage = unsafe { usage.assume_init() };
    Ok(Used {
        status: ExitStatus::from_raw(status),
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss,
    })
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
