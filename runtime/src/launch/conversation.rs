//! What a process says while it sets itself up, and what is done about it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::Error;
use crate::channel::{Cause, Message, ParentEnd, StepFailed};
use crate::failure::Failure;
use crate::hooks::HookState;
use crate::seccomp::notify;
use crate::spec::Listener;

/// How a process's set-up ended.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The master side of its terminal, if it has one.
    pub(super) terminal: Option<OwnedFd>,
    /// Whether it waits to be started; else its program runs.
    pub(super) waits: bool,
}

/// Listens until the process waits or has executed. `hooks` runs the hooks of the runtime while it
/// pauses for them; `notify` hands the notifications of its filter to their agent.
pub(super) fn listen(
    channel: &ParentEnd,
    mut hooks: impl FnMut() -> Result<(), Error>,
    mut notify: impl FnMut(OwnedFd) -> Result<(), Error>,
) -> Result<Heard, Error> {
    let mut heard = Heard::default();
    while let Some(message) = channel.receive()? {
        match message {
            Message::Terminal(master) => heard.terminal = Some(master),
            Message::Listener(listener) => notify(listener)?,
            Message::Hooks => {
                hooks()?;
                channel.proceed()?;
            }
            Message::Ready => {
                heard.waits = true;
                break;
            }
            Message::Failed(failed) => return Err(step_failed(failed)),
            // Said at other times only.
            Message::Born(..) | Message::Begun => {}
        }
    }
    Ok(heard)
}

pub(super) fn step_failed(failed: StepFailed) -> Error {
    let step = failed.step;
    match failed.cause {
        Cause::Call(source) => Error::Step { step, source },
        Cause::Hook(said) => Error::StartHook(said),
    }
}

/// Hands the notifications of a filter to the agent that the configuration names.
pub(super) fn tell_agent(
    agent: Option<&Listener>,
    listener: &OwnedFd,
    state: &HookState<'_>,
) -> Result<(), Error> {
    let agent = agent.ok_or_else(|| Failure::new("connect(seccomp agent)", Errno::DESTADDRREQ))?;
    let pid = state.pid.unwrap_or_default();
    let json = serde_json::to_value(state)
        .map_err(|_| Failure::new("write(state of the container)", Errno::INVAL))?;
    let metadata = agent.metadata.as_deref();
    let text = notify::container_process_state(state.oci_version, pid, metadata, &json);
    Ok(notify::send(&agent.path, listener.as_fd(), &text)?)
}
