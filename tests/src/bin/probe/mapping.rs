//! Mapping and executing files.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use reeve_tests::outcome::Outcome;

use crate::act::{Action, Done, Failure, action, done};
use crate::files::{fd, file_or_fd, open_flags};
use crate::sys::{Arg, call, descriptor};

pub(crate) const ACTIONS: &[Action] = &[
    action("mmap-read", "PATH|fd:FD", mmap_read),
    action("mmap-exec", "PATH|fd:FD", mmap_exec),
    action("mmap-shared-write", "PATH|fd:FD", mmap_shared_write),
    action("mprotect-exec", "PATH|fd:FD", mprotect_exec),
    action("mprotect-write", "PATH|fd:FD", mprotect_write),
    action("exec", "PATH ARGS…", exec),
    action("exec-memfd", "ARGS…", exec_memfd),
    action("exec-reopened", "PATH ARGS…", exec_reopened),
];

const PAGE: i64 = 4096;

/// Maps a page of `file`; the mapping stays.
fn map(file: &OwnedFd, protection: i32, flags: i32) -> Result<i64, Failure> {
    call(
        "mmap",
        libc::SYS_mmap,
        [
            Arg::Int(0),
            Arg::Int(PAGE),
            Arg::Int(protection.into()),
            Arg::Int(flags.into()),
            fd(file.as_fd()),
            Arg::Int(0),
        ],
    )
}

fn protect(address: i64, protection: i32) -> Done {
    let protection = Arg::Int(protection.into());
    call(
        "mprotect",
        libc::SYS_mprotect,
        [Arg::Int(address), Arg::Int(PAGE), protection],
    )?;
    done()
}

fn mmap_read(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    map(
        &file_or_fd(file, libc::O_RDONLY)?,
        libc::PROT_READ,
        libc::MAP_PRIVATE,
    )?;
    done()
}

fn mmap_exec(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = file_or_fd(file, libc::O_RDONLY)?;
    map(&file, libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE)?;
    done()
}

fn mmap_shared_write(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = file_or_fd(file, libc::O_RDWR)?;
    map(&file, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)?;
    done()
}

fn mprotect_exec(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = file_or_fd(file, libc::O_RDONLY)?;
    let address = map(&file, libc::PROT_READ, libc::MAP_PRIVATE)?;
    protect(address, libc::PROT_READ | libc::PROT_EXEC)
}

fn mprotect_write(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let file = file_or_fd(file, libc::O_RDWR)?;
    let address = map(&file, libc::PROT_READ, libc::MAP_SHARED)?;
    protect(address, libc::PROT_READ | libc::PROT_WRITE)
}

/// Starts a program in a child and waits for it; succeeds if it could be executed and exited with
/// 0.
fn exec(words: &[&str]) -> Done {
    let [program, arguments @ ..] = words else {
        return Err(Failure::Usage);
    };
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| Failure::from_io("execve", &error))?;
    match (status.code(), status.signal()) {
        (Some(0), _) => done(),
        (Some(code), _) => Ok(format!("exit={code}")),
        (_, signal) => Err(Failure::Elsewhere(Outcome::Killed(
            signal.unwrap_or_default(),
        ))),
    }
}

/// Copies the probe into memory, executes the copy with `arguments`, and returns what it came to.
fn exec_memfd(words: &[&str]) -> Done {
    let name = Arg::Text(c"probe");
    let mut memory = std::fs::File::from(descriptor(
        "memfd_create",
        libc::SYS_memfd_create,
        [name, Arg::Int(0)],
    )?);
    let mut own = std::fs::File::from(open_flags("/proc/self/exe", libc::O_RDONLY)?);
    io::copy(&mut own, &mut memory).map_err(|error| Failure::from_io("write", &error))?;
    crate::wrap::run_program(&format!("/proc/self/fd/{}", memory.as_raw_fd()), words)
}

/// Executes a copy of the probe that was opened for nothing.
fn exec_reopened(words: &[&str]) -> Done {
    let [program, arguments @ ..] = words else {
        return Err(Failure::Usage);
    };
    let program = open_flags(program, libc::O_PATH)?;
    crate::wrap::run_program(&format!("/proc/self/fd/{}", program.as_raw_fd()), arguments)
}
