//! An agent that answers for `SCMP_ACT_NOTIFY`.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use runtime::seccomp::notify;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::sys;

/// What the agent answers first; the second call fails with errno [`REFUSAL`].
pub(crate) const ANSWER: i64 = 4242;
/// An errno that nothing else here gives.
pub(crate) const REFUSAL: i32 = 77;

/// The child's side: sends the listener as `reeve` does.
pub(crate) fn hand_over(path: &Path, listener: Option<OwnedFd>) -> Result<(), String> {
    let listener = listener.ok_or("no listener")?;
    let state = json!({ "ociVersion": "1.2.0", "id": "one", "status": "creating" });
    let text = notify::container_process_state("1.2.0", 17, Some("meta"), &state);
    notify::send(path, listener.as_fd(), &text).map_err(|failure| failure.to_string())
}

/// Runs `command` with the path of an agent as one more argument, and is that agent.
pub(crate) fn serve(command: &mut Command) -> Result<Output, String> {
    let text = |error: std::io::Error| error.to_string();
    let dir = tempfile::tempdir().map_err(text)?;
    let path = dir.path().join("agent.sock");
    let socket = UnixListener::bind(&path).map_err(text)?;
    command.arg(&path).stderr(Stdio::piped());
    let child = command.spawn().map_err(text)?;
    let (stream, _) = socket.accept().map_err(text)?;
    let (listener, state) = receive(&stream).map_err(text)?;
    let expected = json!({
        "ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": 17, "metadata": "meta",
        "state": { "ociVersion": "1.2.0", "id": "one", "status": "creating" }
    });
    if state != expected {
        return Err(format!("the agent was told {state}"));
    }
    for (value, error) in [(ANSWER, 0), (0, -REFUSAL)] {
        let (id, number) = sys::receive(listener.as_fd()).map_err(text)?;
        if i64::from(number) != libc::SYS_getppid {
            return Err(format!("the agent was asked about call {number}"));
        }
        sys::respond(listener.as_fd(), id, value, error).map_err(text)?;
    }
    child.wait_with_output().map_err(text)
}

/// The descriptor and the message, which ends with the connection.
fn receive(stream: &UnixStream) -> std::io::Result<(OwnedFd, Value)> {
    let (mut listener, mut message) = (None, Vec::new());
    loop {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(stream, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for ancillary in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = ancillary {
                listener = fds.next();
            }
        }
        if received.bytes == 0 {
            break;
        }
        message.extend_from_slice(&bytes[..received.bytes]);
    }
    let listener = listener.ok_or_else(|| std::io::Error::other("no descriptor came"))?;
    Ok((listener, serde_json::from_slice(&message)?))
}
