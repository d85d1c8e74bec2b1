//! A mount and a pid namespace around a command: whatever it leaves behind ends with it, also when
//! it, or this program, is killed.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, wait};

use crate::failure::Failure;
use crate::sys;

/// Runs a command where the file systems mounted at `hidden` are not mounted; its status.
pub(crate) fn run(hidden: &[&Path], command: &[&OsStr]) -> Result<ExitCode, Failure> {
    end_with_parent()?;
    let cloned = sys::clone3(libc::CLONE_NEWNS | libc::CLONE_NEWPID);
    match cloned.map_err(Failure::call(|| "clone3(NEWNS|NEWPID)".to_owned()))? {
        Some(first) => {
            let used = sys::wait4(first);
            let used = used.map_err(Failure::call(|| format!("wait4({first:?})")))?;
            Ok(code(used.status))
        }
        None => first_process(hidden, command),
    }
}

/// What the first process of the pid namespace does: all others end when it does.
fn first_process(hidden: &[&Path], command: &[&OsStr]) -> Result<ExitCode, Failure> {
    end_with_parent()?;
    arrange(hidden)?;
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Usage);
    };
    let child = Command::new(program).args(arguments).spawn();
    let child = child.map_err(Failure::call(|| format!("execve({program:?})")))?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Orphans come to the first process, which has to wait for them.
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == child => {
                return Ok(code(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::call(|| "wait4(-1)".to_owned())(errno)),
        }
    }
}

/// Whoever started this program is killed, perhaps, and so cannot end it.
fn end_with_parent() -> Result<(), Failure> {
    let call = || "prctl(PR_SET_PDEATHSIG, SIGKILL)".to_owned();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::call(call))
}

fn arrange(hidden: &[&Path]) -> Result<(), Failure> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(Failure::call(|| {
        "mount(\"/\", MS_PRIVATE|MS_REC)".to_owned()
    }))?;
    for dir in hidden {
        unmount(*dir, UnmountFlags::DETACH)
            .map_err(Failure::call(|| format!("umount2({dir:?}, MNT_DETACH)")))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None)
        .map_err(Failure::call(|| "mount(proc, \"/proc\")".to_owned()))
}

/// A status as shells give it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code();
    let code = code.unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
