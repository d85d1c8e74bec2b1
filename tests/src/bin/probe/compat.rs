//! 32-bit system calls of a 64-bit process. A kernel without them ends the process, so all of these
//! are to be run under `fork`.

use crate::act::{Action, Done, Failure, action, done, number, path};
use crate::owner;
use crate::sys::{Arg, call, compat_call, poke};

pub(crate) const ACTIONS: &[Action] = &[
    action("compat-mount", "TARGET", compat_mount),
    action("compat-ioctl-setown", "PID", compat_ioctl_setown),
];

/// Bytes of each of the two places in [`low_memory`].
const PLACE: usize = 4096;

/// Memory that a 32-bit call can name, with `first` and `second` in it; the address of the first.
fn low_memory(first: &[u8], second: &[u8]) -> Result<u32, Failure> {
    if first.len() > PLACE || second.len() > PLACE {
        return Err(Failure::Call("mmap", libc::ENAMETOOLONG));
    }
    let low = call(
        "mmap",
        libc::SYS_mmap,
        [
            Arg::Int(0),
            Arg::Int(2 * PLACE as i64),
            Arg::Int((libc::PROT_READ | libc::PROT_WRITE).into()),
            Arg::Int((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT).into()),
            Arg::Int(-1),
            Arg::Int(0),
        ],
    )?;
    let base = u32::try_from(low).map_err(|_| Failure::Call("mmap", libc::ENOMEM))?;
    poke(base as usize, first);
    poke(base as usize + PLACE, second);
    Ok(base)
}

fn settle(name: &'static str, result: i64) -> Done {
    match i32::try_from(-result) {
        Ok(errno) if errno > 0 => Err(Failure::Call(name, errno)),
        _ => done(),
    }
}

/// Mounts a tmpfs by the 32-bit system call 21, which is another call's number for 64-bit callers.
fn compat_mount(words: &[&str]) -> Done {
    const MOUNT_32: u32 = 21;
    let [target] = words else {
        return Err(Failure::Usage);
    };
    let target = path(target)?;
    let kind = low_memory(c"tmpfs".to_bytes_with_nul(), target.as_bytes_with_nul())?;
    let target = kind + PLACE as u32;
    settle(
        "mount (32 bit)",
        compat_call(MOUNT_32, [kind, target, kind, 0, 0]),
    )
}

/// Names who gets a socket's signals, by the 32-bit `ioctl`.
fn compat_ioctl_setown(words: &[&str]) -> Done {
    const IOCTL_32: u32 = 54;
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    let pid = i32::try_from(number(pid)?).map_err(|_| Failure::Usage)?;
    let argument = low_memory(&pid.to_ne_bytes(), &[])?;
    let socket = owner::socket()?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket) as u32;
    let result = compat_call(IOCTL_32, [fd, owner::FIOSETOWN, argument, 0, 0]);
    settle("ioctl (32 bit)", result)
}
