//! Raw system calls, by number and in the ways of other architectures.

use std::os::fd::{AsRawFd, BorrowedFd};

/// The result of a system call: its value, or errno.
pub(crate) type Called = Result<i64, i32>;

/// Makes a system call whose arguments are numbers, none of them an address.
pub(crate) fn call(number: i64, args: [u64; 6]) -> Called {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the callers pass calls that take no addresses, or none that are valid; nothing of
    // this process's memory is read or written.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error();
        return Err(errno.unwrap_or(0));
    }
    Ok(result)
}

/// `_exit`.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Makes a system call of i386, with one argument.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_i386(number: u32, argument: u32) -> Called {
    let result: i64;
    // SAFETY: the instruction enters the kernel as a program of 32 bits would; it changes the
    // registers named here, and `rbx` is put back. The callers pass calls without addresses.
    unsafe {
        std::arch::asm!(
            "xchg {argument:r}, rbx",
            "int 0x80",
            "xchg {argument:r}, rbx",
            argument = inout(reg) u64::from(argument) => _,
            inlateout("rax") i64::from(number) => result,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    let result = i64::from(result as i32);
    if result < 0 {
        Err(-result as i32)
    } else {
        Ok(result)
    }
}

/// Waits for a call that a filter leaves to its listener, and tells the call's number.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<(u64, i32), std::io::Error> {
    // `SECCOMP_IOCTL_NOTIF_RECV`, `_IOWR('!', 0, struct seccomp_notif)`.
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const _: () = assert!(size_of::<libc::seccomp_notif>() == 0x50);
    // SAFETY: all bits zero are a value of this structure of integers.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is live and the pointer leads to a `struct seccomp_notif` of zeroes,
    // as the call wants it.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut notification) };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok((notification.id, notification.data.nr))
}

/// Answers a call: with `error` if it is not 0 (negative), else with `value`.
pub(crate) fn respond(
    listener: BorrowedFd<'_>,
    id: u64,
    value: i64,
    error: i32,
) -> Result<(), std::io::Error> {
    // `SECCOMP_IOCTL_NOTIF_SEND`, `_IOWR('!', 1, struct seccomp_notif_resp)`.
    const SEND: libc::c_ulong = 0xc018_2101;
    let mut response = libc::seccomp_notif_resp {
        id,
        val: value,
        error,
        flags: 0,
    };
    // SAFETY: the descriptor is live and the pointer leads to a `struct seccomp_notif_resp`.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw mut response) };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
