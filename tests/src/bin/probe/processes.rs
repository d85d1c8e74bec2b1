//! Acting on other processes.

use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::act::{Action, Done, Failure, action, done, number};
use crate::files::{fd, open_flags};
use crate::sys::{Arg, call, descriptor};

pub(crate) const ACTIONS: &[Action] = &[
    action("kill", "PID SIGNAL", kill),
    action("pidfd-kill", "PID SIGNAL", pidfd_kill),
    action("ptrace-attach", "PID", ptrace_attach),
    action("ptrace-seize", "PID", ptrace_seize),
    action("process-vm-read", "PID ADDRESS", |words| {
        process_vm("process_vm_readv", libc::SYS_process_vm_readv, words)
    }),
    action("process-vm-write", "PID ADDRESS", |words| {
        process_vm("process_vm_writev", libc::SYS_process_vm_writev, words)
    }),
    action("kcmp", "PID", kcmp),
    action("pidfd-getfd", "PID FD", pidfd_getfd),
    action("pid", "", |_| Ok(std::process::id().to_string())),
    action("sleep", "MILLISECONDS", sleep),
    action("hold", "FD", hold),
];

fn kill(words: &[&str]) -> Done {
    let [pid, signal] = words else {
        return Err(Failure::Usage);
    };
    call(
        "kill",
        libc::SYS_kill,
        [Arg::Int(number(pid)?), Arg::Int(number(signal)?)],
    )?;
    done()
}

fn pidfd(pid: &str) -> Result<std::os::fd::OwnedFd, Failure> {
    descriptor(
        "pidfd_open",
        libc::SYS_pidfd_open,
        [Arg::Int(number(pid)?), Arg::Int(0)],
    )
}

fn pidfd_kill(words: &[&str]) -> Done {
    let [pid, signal] = words else {
        return Err(Failure::Usage);
    };
    let pidfd = pidfd(pid)?;
    let signal = Arg::Int(number(signal)?);
    let (none, flags) = (Arg::Int(0), Arg::Int(0));
    call(
        "pidfd_send_signal",
        libc::SYS_pidfd_send_signal,
        [fd(pidfd.as_fd()), signal, none, flags],
    )?;
    done()
}

fn trace(request: libc::c_uint, pid: &str) -> Result<i64, Failure> {
    let pid = Arg::Int(number(pid)?);
    let request = Arg::Int(request.into());
    call(
        "ptrace",
        libc::SYS_ptrace,
        [request, pid, Arg::Int(0), Arg::Int(0)],
    )
}

/// Attaches, waits for the stop, and lets go.
fn ptrace_attach(words: &[&str]) -> Done {
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    trace(libc::PTRACE_ATTACH, pid)?;
    let (status, usage) = (Arg::Int(0), Arg::Int(0));
    let options = Arg::Int(libc::__WALL.into());
    call(
        "wait4",
        libc::SYS_wait4,
        [Arg::Int(number(pid)?), status, options, usage],
    )?;
    trace(libc::PTRACE_DETACH, pid)?;
    done()
}

fn ptrace_seize(words: &[&str]) -> Done {
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    trace(libc::PTRACE_SEIZE, pid)?;
    done()
}

/// Reads or writes eight bytes at ADDRESS of another process.
fn process_vm(name: &'static str, number_of: i64, words: &[&str]) -> Done {
    let [pid, address] = words else {
        return Err(Failure::Usage);
    };
    let mut bytes = [0u8; 8];
    let local = bytes.as_mut_ptr().expose_provenance();
    let vector =
        |base: usize| -> Vec<u8> { [base, 8].into_iter().flat_map(usize::to_ne_bytes).collect() };
    let remote = vector(number(address)? as usize);
    call(
        name,
        number_of,
        [
            Arg::Int(number(pid)?),
            Arg::In(&vector(local)),
            Arg::Int(1),
            Arg::In(&remote),
            Arg::Int(1),
            Arg::Int(0),
        ],
    )?;
    done()
}

/// Asks whether a process shares its address space with the probe.
fn kcmp(words: &[&str]) -> Done {
    const KCMP_VM: i64 = 1;
    let [pid] = words else {
        return Err(Failure::Usage);
    };
    let own = Arg::Int(std::process::id().into());
    let (kind, none) = (Arg::Int(KCMP_VM), || Arg::Int(0));
    let other = Arg::Int(number(pid)?);
    call("kcmp", libc::SYS_kcmp, [own, other, kind, none(), none()])?;
    done()
}

fn pidfd_getfd(words: &[&str]) -> Done {
    let [pid, other] = words else {
        return Err(Failure::Usage);
    };
    let pidfd = pidfd(pid)?;
    let other = Arg::Int(number(other)?);
    descriptor(
        "pidfd_getfd",
        libc::SYS_pidfd_getfd,
        [fd(pidfd.as_fd()), other, Arg::Int(0)],
    )?;
    done()
}

fn sleep(words: &[&str]) -> Done {
    let [time_ms] = words else {
        return Err(Failure::Usage);
    };
    let time_ms = u64::try_from(number(time_ms)?).map_err(|_| Failure::Usage)?;
    std::thread::sleep(Duration::from_millis(time_ms));
    done()
}

/// Reads a descriptor to its end: a process that lives as long as whoever holds the other end.
fn hold(words: &[&str]) -> Done {
    let [other] = words else {
        return Err(Failure::Usage);
    };
    let mut bytes = [0u8; 256];
    loop {
        let length = Arg::Int(bytes.len() as i64);
        let read = Arg::Int(number(other)?);
        match call("read", libc::SYS_read, [read, Arg::Out(&mut bytes), length]) {
            Ok(0) => return done(),
            Ok(_) | Err(Failure::Call(_, libc::EINTR)) => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// The descriptor of a namespace file, for `setns`.
pub(crate) fn namespace(path: &str) -> Result<std::os::fd::OwnedFd, Failure> {
    open_flags(path, libc::O_RDONLY)
}
