//! Actions that try another action from somewhere else: a child, another program, namespace, cgroup
//! or user.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use reeve_tests::outcome::{Outcome, Report};

use crate::act::{self, Action, Done, Failure, action, done, number};
use crate::files::{fd, open_flags};
use crate::processes::namespace;
use crate::sys::{Arg, call, descriptor, exit_now, fork};

pub(crate) const ACTIONS: &[Action] = &[
    action("fork", "ACTION…", |words| in_child(done, words)),
    action("fork-deep", "LEVELS ACTION…", fork_deep),
    action("thread", "ACTION…", in_thread),
    action("daemon", "ACTION…", daemon),
    action("self-exec", "ACTION…", self_exec),
    action("unshare", "NAMESPACE,… ACTION…", unshare),
    action("setns", "PATH ACTION…", setns),
    action("setns-of", "PID NAMESPACE,… ACTION…", setns_of),
    action("in-cgroup", "DIRECTORY ACTION…", in_cgroup),
    action("in-chroot", "DIRECTORY ACTION…", in_chroot),
    action("as", "UID ACTION…", as_user),
    action("repeat", "ACTION…", repeat),
];

/// An action's result as another action's.
pub(crate) fn as_own(outcome: Outcome) -> Done {
    match outcome {
        Outcome::Done(detail) => Ok(detail),
        other => Err(Failure::Elsewhere(other)),
    }
}

/// In the child: prepares, runs the action, and tells the parent.
fn act_and_tell(tell: OwnedFd, prepare: impl FnOnce() -> Done, words: &[&str]) -> ! {
    let outcome = match prepare() {
        Ok(_) => act::run(words),
        Err(Failure::Call(call, errno)) => Outcome::failed(call, errno),
        Err(Failure::Usage) => Outcome::Misused("wrong arguments".to_owned()),
        Err(Failure::Elsewhere(outcome)) => outcome,
    };
    let told = std::fs::File::from(tell).write_all(outcome.to_string().as_bytes());
    exit_now(if told.is_ok() { 0 } else { 1 })
}

/// Waits for `child` and returns what it told, or the signal that ended it.
fn told_by(child: i32, told: OwnedFd) -> Done {
    let mut text = String::new();
    let read = std::fs::File::from(told).read_to_string(&mut text);
    read.map_err(|error| Failure::from_io("read", &error))?;
    let mut status = [0u8; 4];
    let (options, usage) = (Arg::Int(libc::__WALL.into()), Arg::Int(0));
    let child = Arg::Int(child.into());
    call(
        "wait4",
        libc::SYS_wait4,
        [child, Arg::Out(&mut status), options, usage],
    )?;
    let status = i32::from_ne_bytes(status);
    if libc::WIFSIGNALED(status) {
        return Err(Failure::Elsewhere(Outcome::Killed(libc::WTERMSIG(status))));
    }
    match Outcome::parse(&text) {
        Some(outcome) => as_own(outcome),
        None => Err(Failure::Call("read", libc::EIO)),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let (read, write) = std::io::pipe().map_err(|error| Failure::from_io("pipe2", &error))?;
    Ok((read.into(), write.into()))
}

/// Where a child tells what its action came to.
pub(crate) struct Tell(OwnedFd);

/// Where its parent hears it.
pub(crate) struct Told(OwnedFd);

/// Both ends.
pub(crate) fn told_pipe() -> Result<(Told, Tell), Failure> {
    let (told, tell) = pipe()?;
    Ok((Told(told), Tell(tell)))
}

impl Tell {
    /// In the child: prepares, runs the action, tells, and ends.
    pub(crate) fn act(self, prepare: impl FnOnce() -> Done, words: &[&str]) -> ! {
        act_and_tell(self.0, prepare, words)
    }
}

impl Told {
    /// Waits for `child` and returns what it told.
    pub(crate) fn of_child(self, child: i32) -> Done {
        told_by(child, self.0)
    }

    /// What was told by a process that is no child of this one.
    pub(crate) fn read(self) -> Done {
        let mut text = String::new();
        let read = std::fs::File::from(self.0).read_to_string(&mut text);
        read.map_err(|error| Failure::from_io("read", &error))?;
        Outcome::parse(&text).map_or(Err(Failure::Call("read", libc::EIO)), as_own)
    }
}

/// Runs an action in a child that has prepared itself.
pub(crate) fn in_child(prepare: impl FnOnce() -> Done, words: &[&str]) -> Done {
    let (told, tell) = pipe()?;
    match fork()? {
        None => act_and_tell(tell, prepare, words),
        Some(child) => {
            drop(tell);
            told_by(child, told)
        }
    }
}

/// A child of a child of a child …
fn fork_deep(words: &[&str]) -> Done {
    let [levels, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let levels = number(levels)?;
    if levels <= 0 {
        return as_own(act::run(rest));
    }
    let next = (levels - 1).to_string();
    let words: Vec<&str> = ["fork-deep", &next]
        .into_iter()
        .chain(rest.iter().copied())
        .collect();
    in_child(done, &words)
}

fn in_thread(words: &[&str]) -> Done {
    std::thread::scope(|scope| {
        let outcome = scope.spawn(|| act::run(words)).join();
        outcome.map_or(Err(Failure::Call("clone", libc::EAGAIN)), as_own)
    })
}

/// Two forks and a session of its own; the parent in between is gone before the action is tried.
fn daemon(words: &[&str]) -> Done {
    let (told, tell) = pipe()?;
    match fork()? {
        None => {
            let detached = call("setsid", libc::SYS_setsid, []).and_then(|_| fork());
            if !matches!(detached, Ok(None)) {
                exit_now(0);
            }
            let orphaned = || {
                std::thread::sleep(Duration::from_millis(50));
                done()
            };
            act_and_tell(tell, orphaned, words)
        }
        Some(child) => {
            drop(tell);
            told_by(child, told)
        }
    }
}

/// Starts `program` (a copy of this one) with an action and reads its line.
pub(crate) fn run_program(program: &str, words: &[&str]) -> Done {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::from_io("execve", &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match Report::parse(&text) {
        Some(report) => as_own(report.outcome),
        None => Err(Failure::Call("read", libc::EIO)),
    }
}

fn self_exec(words: &[&str]) -> Done {
    run_program("/proc/self/exe", words)
}

/// `CLONE_NEW*` of a name.
fn namespace_flag(name: &str) -> Result<i32, Failure> {
    Ok(match name {
        "user" => libc::CLONE_NEWUSER,
        "mount" => libc::CLONE_NEWNS,
        "pid" => libc::CLONE_NEWPID,
        "net" => libc::CLONE_NEWNET,
        "ipc" => libc::CLONE_NEWIPC,
        "uts" => libc::CLONE_NEWUTS,
        "cgroup" => libc::CLONE_NEWCGROUP,
        _ => return Err(Failure::Usage),
    })
}

/// `CLONE_NEW*` of a comma-separated list.
pub(crate) fn namespace_flags(names: &str) -> Result<i32, Failure> {
    let mut flags = 0;
    for name in names.split(',') {
        flags |= namespace_flag(name)?;
    }
    Ok(flags)
}

/// In a child in new namespaces, and below it a child that is in the new pid namespace too.
fn unshare(words: &[&str]) -> Done {
    let [names, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let flags = namespace_flags(names)?;
    let words: Vec<&str> = ["fork"].into_iter().chain(rest.iter().copied()).collect();
    let prepare = || {
        call("unshare", libc::SYS_unshare, [Arg::Int(flags.into())])?;
        done()
    };
    in_child(prepare, &words)
}

fn setns(words: &[&str]) -> Done {
    let [path, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let prepare = || {
        let namespace = namespace(path)?;
        call(
            "setns",
            libc::SYS_setns,
            [fd(namespace.as_fd()), Arg::Int(0)],
        )?;
        done()
    };
    in_child(prepare, rest)
}

/// Enters namespaces of a process by its pidfd; `-` names none.
fn setns_of(words: &[&str]) -> Done {
    let [pid, names, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let mut flags = 0;
    for name in names.split(',').filter(|name| *name != "-") {
        flags |= namespace_flag(name)?;
    }
    let prepare = || {
        let process = descriptor(
            "pidfd_open",
            libc::SYS_pidfd_open,
            [Arg::Int(number(pid)?), Arg::Int(0)],
        )?;
        let types = Arg::Int(flags.into());
        call("setns", libc::SYS_setns, [fd(process.as_fd()), types])?;
        done()
    };
    in_child(prepare, rest)
}

/// In a child that `clone3` puts into the cgroup of DIRECTORY.
fn in_cgroup(words: &[&str]) -> Done {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let [directory, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let cgroup = open_flags(directory, libc::O_PATH | libc::O_DIRECTORY)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&cgroup);
    let (told, tell) = pipe()?;
    // `struct clone_args` (`include/uapi/linux/sched.h`): flags first, exit signal fifth, cgroup
    // last.
    let mut arguments = [0u64; 11];
    arguments[0] = CLONE_INTO_CGROUP;
    arguments[4] = libc::SIGCHLD as u64;
    arguments[10] = number as u64;
    let bytes: Vec<u8> = arguments.into_iter().flat_map(u64::to_ne_bytes).collect();
    let length = Arg::Int(bytes.len() as i64);
    match call("clone3", libc::SYS_clone3, [Arg::In(&bytes), length])? {
        0 => act_and_tell(tell, done, rest),
        child => {
            drop(tell);
            told_by(child as i32, told)
        }
    }
}

fn in_chroot(words: &[&str]) -> Done {
    let [directory, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    in_child(|| as_own(act::run(&["chroot", directory])), rest)
}

/// As an ordinary user, without groups or capabilities.
fn as_user(words: &[&str]) -> Done {
    let [uid, rest @ ..] = words else {
        return Err(Failure::Usage);
    };
    let id = number(uid)?;
    let three = || [Arg::Int(id), Arg::Int(id), Arg::Int(id)];
    let prepare = || {
        call("setgroups", libc::SYS_setgroups, [Arg::Int(0), Arg::Int(0)])?;
        call("setresgid", libc::SYS_setresgid, three())?;
        call("setresuid", libc::SYS_setresuid, three())?;
        done()
    };
    in_child(prepare, rest)
}

/// Tries an action ten times a second until it succeeds.
fn repeat(words: &[&str]) -> Done {
    loop {
        if let Outcome::Done(detail) = act::run(words) {
            return Ok(detail);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
