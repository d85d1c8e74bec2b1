//! Having the kernel send signals to a process on input and output.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use crate::act::{Action, Done, Failure, action, done, number};
use crate::files::fd;
use crate::sys::{Arg, call};

pub(crate) const ACTIONS: &[Action] = &[
    action("setown", "PID", setown),
    action("setown-ex", "PID", setown_ex),
    action("ioctl-setown", "PID", |words| by_ioctl(words, FIOSETOWN)),
    action("ioctl-setpgrp", "PID", |words| by_ioctl(words, SIOCSPGRP)),
    action("async-signal", "PID SIGNAL", async_signal),
    action("set-async", "FD", |words| {
        on_descriptor(words, libc::F_SETFL, libc::O_ASYNC)
    }),
    action("set-signal", "FD", |words| {
        on_descriptor(words, F_SETSIG as i32, 9)
    }),
    action("ioctl-async", "FD", ioctl_async),
];

// `include/uapi/asm-generic/{fcntl,sockios}.h`.
const F_SETOWN: i64 = 8;
const F_SETSIG: i64 = 10;
const F_SETOWN_EX: i64 = 15;
const F_OWNER_PID: i32 = 1;
pub(crate) const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;

/// A connected socket.
pub(crate) fn socket() -> Result<UnixStream, Failure> {
    Ok(pair()?.0)
}

fn pair() -> Result<(UnixStream, UnixStream), Failure> {
    UnixStream::pair().map_err(|error| Failure::from_io("socketpair", &error))
}

fn fcntl(socket: &UnixStream, command: i64, argument: Arg<'_>) -> Done {
    call(
        "fcntl",
        libc::SYS_fcntl,
        [fd(socket.as_fd()), Arg::Int(command), argument],
    )?;
    done()
}

fn setown(words: &[&str]) -> Done {
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    fcntl(&socket()?, F_SETOWN, Arg::Int(number(pid)?))
}

fn setown_ex(words: &[&str]) -> Done {
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    let pid = i32::try_from(number(pid)?).map_err(|_| Failure::Usage)?;
    let owner: Vec<u8> = [F_OWNER_PID, pid]
        .into_iter()
        .flat_map(i32::to_ne_bytes)
        .collect();
    fcntl(&socket()?, F_SETOWN_EX, Arg::In(&owner))
}

fn on_descriptor(words: &[&str], command: i32, argument: i32) -> Done {
    let [descriptor] = words else {
        return Err(Failure::Usage);
    };
    call(
        "fcntl",
        libc::SYS_fcntl,
        [
            Arg::Int(number(descriptor)?),
            Arg::Int(command.into()),
            Arg::Int(argument.into()),
        ],
    )?;
    done()
}

fn ioctl_async(words: &[&str]) -> Done {
    let [descriptor] = words else {
        return Err(Failure::Usage);
    };
    let on = 1i32.to_ne_bytes();
    call(
        "ioctl",
        libc::SYS_ioctl,
        [
            Arg::Int(number(descriptor)?),
            Arg::Int(libc::FIOASYNC as i64),
            Arg::In(&on),
        ],
    )?;
    done()
}

fn by_ioctl(words: &[&str], command: u32) -> Done {
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    let pid = i32::try_from(number(pid)?).map_err(|_| Failure::Usage)?;
    let socket = socket()?;
    let argument = Arg::In(&pid.to_ne_bytes());
    call(
        "ioctl",
        libc::SYS_ioctl,
        [fd(socket.as_fd()), Arg::Int(command.into()), argument],
    )?;
    done()
}

/// Has the kernel send SIGNAL to PID when the other end of a socket is written to, and writes to
/// it.
fn async_signal(words: &[&str]) -> Done {
    let [pid, signal] = words else {
        return Err(Failure::Usage);
    };
    let (socket, mut peer) = pair()?;
    fcntl(&socket, F_SETOWN, Arg::Int(number(pid)?))?;
    fcntl(&socket, F_SETSIG, Arg::Int(number(signal)?))?;
    fcntl(
        &socket,
        i64::from(libc::F_SETFL),
        Arg::Int(libc::O_ASYNC.into()),
    )?;
    let written = std::io::Write::write_all(&mut peer, b"x");
    written.map_err(|error| Failure::from_io("write", &error))?;
    done()
}
