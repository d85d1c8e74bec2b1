//! `clone3`, `execve`, `close_range` and `_exit`.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::Pid;

use super::check;

/// `struct clone_args` (`include/uapi/linux/sched.h`), as of Linux 5.7.
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
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP`; libc's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `CLONE_NEWTIME` (`include/uapi/linux/sched.h`), which libc does not have for every target.
const CLONE_NEWTIME: libc::c_int = 0x80;

/// Makes the new process a child of the caller's parent.
pub(crate) const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;

/// Set in what [`clone3`] made: it has one thread and makes no other, and its procfs, from which
/// that could be read, may be the container's.
static BORN_ALONE: AtomicBool = AtomicBool::new(false);

/// Which side of [`clone3`] this is.
pub(crate) enum Cloned {
    /// The caller: the new process and a descriptor for it.
    Parent {
        /// Process id in the caller's pid namespace.
        pid: Pid,
        /// Its pidfd (close-on-exec).
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Forks with `flags` (`CLONE_NEW*`) into `cgroup`, a directory of the v2 hierarchy.
///
/// The child is a copy of the caller, as after `fork`: it must be the only thread, which is
/// checked, since locks that other threads held would stay locked in the child for ever.
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    if !BORN_ALONE.load(Ordering::Relaxed) && !single_threaded()? {
        return Err(Errno::INVAL);
    }
    let mut pidfd: libc::c_int = -1;
    // A sibling of the caller's ends as the caller itself will, and the kernel wants no signal.
    let sibling = flags & CLONE_PARENT != 0;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: if sibling { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a live `struct clone_args` whose size is passed along, and `args.pidfd`
    // points to a live int. Neither `CLONE_VM` nor a stack is asked for, so the child runs on its
    // own copy of this stack and memory, like after `fork`; the process has one thread (checked
    // above), so no lock is left behind in the copy.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match check(result)? {
        0 => {
            BORN_ALONE.store(true, Ordering::Relaxed);
            Ok(Cloned::Child)
        }
        pid => {
            // SAFETY: the call succeeded with `CLONE_PIDFD`, so the kernel stored a new descriptor
            // that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            Ok(Cloned::Parent {
                pid: pid.ok_or(Errno::OVERFLOW)?,
                pidfd,
            })
        }
    }
}

/// Whether this process has one thread.
fn single_threaded() -> Result<bool, Errno> {
    let mut status = Vec::new();
    File::open("/proc/self/status")
        .and_then(|mut file| file.read_to_end(&mut status))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut lines = status.split(|byte| *byte == b'\n');
    Ok(lines.any(|line| line == b"Threads:\t1"))
}

/// Arguments and environment, ready for `execve`.
pub(crate) struct ExecImage {
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl ExecImage {
    /// Keeps `argv` and `envp` until the call.
    pub(crate) fn new(argv: Vec<CString>, envp: Vec<CString>) -> Self {
        Self { argv, envp }
    }

    /// `execve(path, …)`; returns only if it failed.
    pub(crate) fn exec(&self, path: &CStr) -> Errno {
        let argv = pointers(&self.argv);
        let envp = pointers(&self.envp);
        // SAFETY: `path` and every element of `argv` and `envp` are NUL-terminated strings that
        // live in `self` or longer, and both arrays end with a null pointer.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
    }
}

/// `execveat` of an open file; returns only if it failed.
pub(crate) fn exec_file(file: BorrowedFd<'_>, argv: &[CString], envp: &[CString]) -> Errno {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: the descriptor is live, the path is a static empty string, every element of the
    // arrays is a NUL-terminated string that outlives the call, and both arrays end with a null
    // pointer.
    unsafe {
        libc::execveat(
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr().cast(),
            envp.as_ptr().cast(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let strings = strings.iter().map(|string| string.as_ptr());
    strings.chain([ptr::null()]).collect()
}

/// Moves this process into a new cgroup namespace.
pub(crate) fn unshare_cgroup_namespace() -> Result<(), Errno> {
    // SAFETY: the call takes an integer, and this flag changes nothing of memory, descriptors or
    // threads.
    let result = unsafe { libc::unshare(libc::CLONE_NEWCGROUP) };
    check(libc::c_long::from(result)).map(|_| ())
}

/// Makes a time namespace for the children of this process.
pub(crate) fn unshare_time_namespace() -> Result<(), Errno> {
    // SAFETY: the call takes an integer, and this flag changes nothing of memory, descriptors or
    // threads: the caller stays in its own time namespace.
    let result = unsafe { libc::unshare(CLONE_NEWTIME) };
    check(libc::c_long::from(result)).map(|_| ())
}

/// Joins a new session keyring with this name.
pub(crate) fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the operation takes one NUL-terminated string, which lives until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::c_long::from(libc::KEYCTL_JOIN_SESSION_KEYRING),
            name.as_ptr(),
        )
    };
    check(result).map(|_| ())
}

/// Whether a descriptor of this number is open.
pub(crate) fn is_open(number: i32) -> bool {
    // SAFETY: the operation reads the descriptor's flags; a number without a descriptor is EBADF.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Moves this process into a new mount namespace, a copy of the one it was in.
pub(crate) fn unshare_mount_namespace() -> Result<(), Errno> {
    // SAFETY: the call takes an integer, and this flag changes nothing of memory, descriptors or
    // threads.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    check(libc::c_long::from(result)).map(|_| ())
}

/// Closes every descriptor from `first` on but `kept`.
///
/// For a process that goes on to execute or to end: whatever owns one of the others must neither
/// use it nor be dropped any more.
pub(crate) fn close_all_but(first: u32, kept: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let kept = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned());
    let mut kept: Vec<u32> = kept.filter(|number| *number >= first).collect();
    kept.sort_unstable();
    let mut from = first;
    for number in kept {
        if from < number {
            close_range(from, number - 1)?;
        }
        from = from.max(number.saturating_add(1));
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: the call takes three integers and touches no memory of the caller.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    check(result).map(|_| ())
}

/// Ends the process without running exit handlers, which belong to the process it was copied from.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes an integer and does not return.
    unsafe { libc::_exit(code) }
}
