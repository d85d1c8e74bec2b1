//! What a process says while it sets itself up, and what is done about it.

use std::os::fd::OwnedFd;

use super::Error;
use crate::channel::{Cause, Message, ParentEnd, StepFailed};

/// How a process's set-up ended.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The master side of its terminal, if it has one.
    pub(super) terminal: Option<OwnedFd>,
    /// The notifications of its seccomp filter, if it asked for them.
    pub(super) listener: Option<OwnedFd>,
    /// Whether it waits to be started; else its program runs.
    pub(super) waits: bool,
}

/// Listens until the process waits or has executed. `hooks` runs the hooks of the runtime while it
/// pauses for them.
pub(super) fn listen(
    channel: &ParentEnd,
    mut hooks: impl FnMut() -> Result<(), Error>,
) -> Result<Heard, Error> {
    let mut heard = Heard::default();
    while let Some(message) = channel.receive()? {
        match message {
            Message::Terminal(master) => heard.terminal = Some(master),
            Message::Listener(listener) => heard.listener = Some(listener),
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

fn step_failed(failed: StepFailed) -> Error {
    let step = failed.step;
    match failed.cause {
        Cause::Call(source) => Error::Step { step, source },
        Cause::Hook(said) => Error::StartHook(said),
    }
}
