//! `--console-socket`: the master side of a container's terminal for whoever asked for it.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};

use crate::failure::{Called, Failure};

/// A connection to the receiver of a terminal.
#[derive(Debug)]
pub struct ConsoleSocket(OwnedFd);

impl ConsoleSocket {
    /// Connects to the Unix socket at `path`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(path: &Path) -> Result<Self, Failure> {
        let call = || format!("connect(\"{}\")", path.display());
        let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).called(call)?;
        let address = SocketAddrUnix::new(path).called(call)?;
        connect(&socket, &address).called(call)?;
        Ok(Self(socket))
    }

    /// Sends the terminal, named as runc names it: some receivers want a text with the descriptor.
    pub(super) fn send(self, master: &OwnedFd) -> Result<(), Failure> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [master.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let text = [IoSlice::new(b"/dev/ptmx")];
        retry_on_intr(|| sendmsg(&self.0, &text, &mut control, SendFlags::NOSIGNAL))
            .called(|| "sendmsg(console socket, SCM_RIGHTS)")
            .map(|_| ())
    }
}
