//! Runs the hooks of a configuration.
//!
//! A hook is a program that the configuration's author chose, so it runs with the privileges of
//! whoever runs it: `reeve` itself for those of the host, the container's first process for
//! `startContainer`, whose program lies in the container. It gets the container's state on standard
//! input and the environment that the configuration gives, and nothing else of this process.

use std::ffi::CString;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::chdir;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::Serialize;

use crate::failure::{Called, Failure};
use crate::launch::{ChildProcess, Exit};
use crate::spec::Hook;
use crate::sys;

/// Most of a hook's output that an error repeats, in bytes: the end of it.
const OUTPUT_SHOWN: u64 = 1024;

/// The exit status of a hook that could not be executed.
const NOT_EXECUTED: i32 = 127;

/// A container's state as a hook reads it (runtime-spec runtime.md, "State").
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookState<'a> {
    pub(crate) oci_version: &'a str,
    pub(crate) id: &'a str,
    pub(crate) status: &'static str,
    /// Left out when there is no process any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    pub(crate) bundle: &'a Path,
    pub(crate) annotations: &'a std::collections::BTreeMap<String, String>,
}

/// Where a hook runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Its working directory, as this process sees it.
    pub(crate) directory: &'a Path,
    /// What it enters first.
    pub(crate) container: Option<Entered<'a>>,
}

/// A container that a hook enters while its root is still that of the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entered<'a> {
    /// Its first process.
    pub(crate) process: BorrowedFd<'a>,
    /// The namespaces of that process that are not the hook's anyway.
    pub(crate) kinds: ThreadNameSpaceType,
    /// The root of that process.
    pub(crate) root: BorrowedFd<'a>,
}

/// Why a hook counts as failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call of the runtime.
    #[error("the hook could not be run")]
    Call(#[from] Failure),
    /// It took too long and was killed.
    #[error("it was killed after {seconds} s{output}")]
    TimedOut {
        /// Its time limit.
        seconds: u64,
        /// What it said.
        output: String,
    },
    /// It ended with a status other than 0.
    #[error("it ended with {exit}{output}")]
    Failed {
        /// How.
        exit: Exit,
        /// What it said.
        output: String,
    },
}

/// A hook that failed.
#[derive(Debug, thiserror::Error)]
#[error("hook `hooks.{kind}[{at}]` (\"{path}\")", path = path.display())]
pub struct HookFailed {
    /// As in the configuration.
    pub kind: &'static str,
    /// Its place among those of its kind.
    pub at: usize,
    /// Its program.
    pub path: std::path::PathBuf,
    /// How it failed.
    pub source: Error,
}

/// Runs the hooks of one kind in their order, up to the first that fails.
pub(crate) fn run_all(
    kind: &'static str,
    hooks: &[Hook],
    state: &HookState<'_>,
    place: Place<'_>,
) -> Result<(), HookFailed> {
    hooks.iter().enumerate().try_for_each(|(at, hook)| {
        run(hook, state, place).map_err(|source| HookFailed {
            kind,
            at,
            path: hook.path.clone(),
            source,
        })
    })
}

/// As [`run_all`], for kinds whose failure stops nothing: each is warned of, and the rest run.
pub(crate) fn run_and_warn(
    kind: &'static str,
    hooks: &[Hook],
    state: &HookState<'_>,
    place: Place<'_>,
) {
    for (at, hook) in hooks.iter().enumerate() {
        if let Err(error) = run(hook, state, place) {
            let (path, error) = (hook.path.display(), crate::report::in_a_line(&error));
            tracing::warn!(hook = format!("hooks.{kind}[{at}]"), %path, error, "a hook failed");
        }
    }
}

/// Runs one hook to its end.
pub(crate) fn run(hook: &Hook, state: &HookState<'_>, place: Place<'_>) -> Result<(), Error> {
    let state = serde_json::to_vec(state)
        .map_err(|_| Failure::new("write(state of the container)", Errno::INVAL))?;
    let input = memory_file(&state)?;
    let output = memory_file(&[])?;
    let mut process = match sys::clone3(0, None).called(|| "clone3(hook)")? {
        sys::Cloned::Child => become_hook(hook, place, &input, &output),
        sys::Cloned::Parent { pid, pidfd } => ChildProcess::new(pid, pidfd),
    };
    if let Some(limit) = hook.timeout
        && !ends_within(&process, limit.as_secs())?
    {
        // Killed and reaped when dropped.
        drop(process);
        return Err(Error::TimedOut {
            seconds: limit.as_secs(),
            output: said(output),
        });
    }
    match process.wait()? {
        Exit::Code(0) => Ok(()),
        exit => Err(Error::Failed {
            exit,
            output: said(output),
        }),
    }
}

/// In the new process. Does not return.
fn become_hook(hook: &Hook, place: Place<'_>, input: &OwnedFd, output: &OwnedFd) -> ! {
    let error = enter(place, input, output).err().unwrap_or_else(|| {
        let image = sys::ExecImage::new(hook.args.clone(), hook.env.clone());
        // Checked to hold no NUL with the configuration.
        let path = CString::new(hook.path.as_os_str().as_bytes()).unwrap_or_default();
        Failure::new(format!("execve({path:?})"), image.exec(&path))
    });
    // Standard error is the file that the parent reads, or the parent's own.
    let _ = rustix::io::write(rustix::stdio::stderr(), error.to_string().as_bytes());
    sys::exit_now(NOT_EXECUTED)
}

fn enter(place: Place<'_>, input: &OwnedFd, output: &OwnedFd) -> Result<(), Failure> {
    if let Some(container) = place.container {
        let Entered {
            process,
            kinds,
            root,
        } = container;
        move_into_thread_name_spaces(process, kinds).called(|| "setns(first process)")?;
        // Entering leads to whatever is mounted over the namespace's root, which may be the
        // container's, and with it the container's programs.
        rustix::process::fchdir(root).called(|| "fchdir(root of the first process)")?;
        rustix::process::chroot(".").called(|| "chroot(root of the first process)")?;
    }
    chdir(place.directory).called(|| format!("chdir(\"{}\")", place.directory.display()))?;
    rustix::stdio::dup2_stdin(input).called(|| "dup2(state, 0)")?;
    rustix::stdio::dup2_stdout(output).called(|| "dup2(output, 1)")?;
    rustix::stdio::dup2_stderr(output).called(|| "dup2(output, 2)")?;
    sys::reset_signals().called(|| "sigprocmask(SIG_SETMASK, [])")?;
    // Now, not when it executes: the name of a hook of the container's is the container's to make.
    sys::close_all_but(3, &[]).called(|| "close_range(3, ~0)")
}

fn ends_within(process: &ChildProcess, seconds: u64) -> Result<bool, Failure> {
    let pidfd = process.pidfd();
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let ready = retry_on_intr(|| poll(&mut fds, Some(&limit))).called(|| "poll(hook)")?;
    Ok(ready > 0)
}

/// A file in memory with this content, to be read from its beginning. It waits for no reader and no
/// writer, as a pipe would.
fn memory_file(content: &[u8]) -> Result<OwnedFd, Failure> {
    let fd = memfd_create("hook", MemfdFlags::CLOEXEC).called(|| "memfd_create(hook)")?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content)
        .and_then(|()| file.rewind())
        .called(|| "write(memfd of a hook)")?;
    Ok(file.into())
}

/// The end of a hook's output, ready to follow an error.
fn said(output: OwnedFd) -> String {
    let mut file = std::fs::File::from(output);
    let mut bytes = Vec::new();
    let length = file.seek(SeekFrom::End(0)).unwrap_or(0);
    let start = length.saturating_sub(OUTPUT_SHOWN);
    let read = file
        .seek(SeekFrom::Start(start))
        .and_then(|_| file.take(OUTPUT_SHOWN).read_to_end(&mut bytes));
    match (read, String::from_utf8_lossy(&bytes).trim()) {
        (Ok(_), text) if !text.is_empty() => format!(", saying: {}", text.escape_debug()),
        _ => String::new(),
    }
}

impl AsFd for ChildProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd()
    }
}
