//! Handing a listener to the agent that answers for `SCMP_ACT_NOTIFY`.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use serde_json::{Value, json};

use crate::failure::{Called, Failure};

/// How long an agent may let a connection or a message wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an agent is told besides the listener: the container process state (OCI runtime
/// specification, "The Container Process State").
///
/// `pid` is that of the process under the filter, as the caller sees it; `metadata` is
/// `linux.seccomp.listenerMetadata`; `state` is what `reeve state` prints.
pub fn container_process_state(
    oci_version: &str,
    pid: i32,
    metadata: Option<&str>,
    state: &Value,
) -> String {
    let mut text = json!({
        "ociVersion": oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "state": state,
    });
    if let Some(metadata) = metadata {
        text["metadata"] = metadata.into();
    }
    text.to_string()
}

/// Sends `listener` and `state` to the agent that listens at `path`, over a connection of its own
/// that is closed afterwards. A container must not go on if this fails: its calls would wait for an
/// agent that does not know of them.
pub fn send(path: &Path, listener: BorrowedFd<'_>, state: &str) -> Result<(), Failure> {
    let call = |call: &str| format!("{call}(\"{}\")", path.display());
    let address = SocketAddrUnix::new(path).called(|| call("connect"))?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .called(|| "socket(AF_UNIX, SOCK_STREAM)")?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))
        .called(|| "setsockopt(SO_SNDTIMEO)")?;
    retry_on_intr(|| connect(&socket, &address)).called(|| call("connect"))?;
    let mut rest = state.as_bytes();
    // The descriptor goes with the first byte, and only with it.
    let mut fd = Some([listener.as_fd()]);
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(fd) = &fd {
            control.push(SendAncillaryMessage::ScmRights(fd));
        }
        let bytes = [IoSlice::new(rest)];
        let sent = retry_on_intr(|| sendmsg(&socket, &bytes, &mut control, SendFlags::NOSIGNAL))
            .called(|| call("sendmsg"))?;
        rest = rest.get(sent..).unwrap_or_default();
        fd = None;
    }
    Ok(())
}
