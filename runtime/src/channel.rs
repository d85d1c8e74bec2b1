//! The socket between `reeve` and the container's first process.
//!
//! To the process goes one message: *go*. From it come a terminal, or the failure of a step. It
//! closes on `execve`, so that the end of the stream without a failure means that the entry process
//! runs. The end of the stream in the other direction means that `reeve` died, and ends the process
//! before it did anything.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::failure::{Called, Failure};
use crate::launch::Confinement;

/// Longest message in bytes; a failure with a longer text is cut.
const MESSAGE_MAX: usize = 4096;

const GO: u8 = b'g';
const TERMINAL: u8 = b't';
const FAILED: u8 = b'f';

/// What the process says.
#[derive(Debug)]
pub(crate) enum Message {
    /// The master side of its terminal.
    Terminal(OwnedFd),
    /// A step failed; the process has ended.
    Failed(StepFailed),
}

/// Which step failed, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepFailed {
    /// Index into the plan's steps.
    pub(crate) step: usize,
    /// The system call.
    pub(crate) failure: Failure,
}

/// The side of `reeve`.
#[derive(Debug)]
pub(crate) struct ParentEnd(OwnedFd);

/// The side of the container's first process.
#[derive(Debug)]
pub(crate) struct ChildEnd(OwnedFd);

/// Both ends.
pub(crate) fn pair() -> Result<(ParentEnd, ChildEnd), Failure> {
    let (parent, child) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .called(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")?;
    Ok((ParentEnd(parent), ChildEnd(child)))
}

impl ParentEnd {
    /// Lets the process begin. The confinement is used up: there is no going twice, and no going
    /// without.
    pub(crate) fn go(&self, confinement: Confinement) -> Result<(), Failure> {
        match confinement {
            Confinement::Policy(_attached) => tracing::debug!("released under its policy"),
            Confinement::None(_not_asked) => tracing::debug!("released without a policy"),
        }
        send(&self.0, &[GO], None).called(|| "sendmsg(first process, go)")
    }

    /// The next message, or `None` when the entry process runs or has died.
    pub(crate) fn receive(&self) -> Result<Option<Message>, Failure> {
        let (bytes, fd) = receive(&self.0).called(|| "recvmsg(first process)")?;
        let malformed = || Failure::new("recvmsg(first process)", Errno::BADMSG);
        match (bytes.split_first(), fd) {
            (None, _) => Ok(None),
            (Some((&TERMINAL, _)), Some(fd)) => Ok(Some(Message::Terminal(fd))),
            (Some((&FAILED, rest)), _) => {
                let failed = serde_json::from_slice(rest).map_err(|_| malformed())?;
                Ok(Some(Message::Failed(failed)))
            }
            _ => Err(malformed()),
        }
    }
}

impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ChildEnd {
    /// Waits to be released; `false` if `reeve` is gone.
    pub(crate) fn wait(&self) -> bool {
        matches!(receive(&self.0), Ok((bytes, _)) if bytes == [GO])
    }

    /// Hands over the master side of a terminal.
    pub(crate) fn send_terminal(&self, master: BorrowedFd<'_>) -> Result<(), Failure> {
        send(&self.0, &[TERMINAL], Some(master)).called(|| "sendmsg(reeve, SCM_RIGHTS)")
    }

    /// Reports a failure. If `reeve` is gone there is nobody to tell.
    pub(crate) fn report(&self, step: usize, mut failure: Failure) {
        // The text may hold a path of the container's choosing; six bytes is the longest escape of
        // one in JSON.
        while failure.call.len() * 6 + 128 > MESSAGE_MAX {
            failure.call.pop();
        }
        let mut bytes = vec![FAILED];
        if serde_json::to_writer(&mut bytes, &StepFailed { step, failure }).is_ok() {
            let _ = send(&self.0, &bytes, None);
        }
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let flags = SendFlags::NOSIGNAL;
    retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)).map(|_| ())
}

fn receive(socket: &OwnedFd) -> Result<(Vec<u8>, Option<OwnedFd>), Errno> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    let received = match received {
        // The other side closed with an unread message in flight: the same as the end.
        Err(Errno::CONNRESET) => 0,
        other => other?.bytes,
    };
    bytes.truncate(received);
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            fd = fds.next();
        }
    }
    Ok((bytes, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_and_a_long_one_is_cut() {
        let (parent, child) = pair().unwrap();
        child.report(3, Failure::new("x".repeat(9000), Errno::PERM));
        let Some(Message::Failed(failed)) = parent.receive().unwrap() else {
            panic!("no failure came")
        };
        assert_eq!(failed.step, 3);
        assert!(failed.failure.is(Errno::PERM));
        assert!(failed.failure.call.starts_with("xxx"));
    }

    #[test]
    fn a_descriptor_crosses() {
        let (parent, child) = pair().unwrap();
        child.send_terminal(parent.as_fd()).unwrap();
        let message = parent.receive().unwrap();
        assert!(matches!(message, Some(Message::Terminal(_))));
    }

    #[test]
    fn the_end_of_either_side_is_seen() {
        let (parent, child) = pair().unwrap();
        drop(child);
        assert!(parent.receive().unwrap().is_none());
        let (parent, child) = pair().unwrap();
        drop(parent);
        assert!(
            !child.wait(),
            "a process whose reeve is gone must not begin"
        );
        child.report(0, Failure::new("nobody listens", Errno::PERM));
    }

    #[test]
    fn junk_is_an_error() {
        let (parent, child) = pair().unwrap();
        send(&child.0, b"?junk", None).unwrap();
        assert!(parent.receive().unwrap_err().is(Errno::BADMSG));
        send(&child.0, b"f{", None).unwrap();
        assert!(parent.receive().unwrap_err().is(Errno::BADMSG));
        send(&child.0, &[TERMINAL], None).unwrap();
        assert!(parent.receive().is_err(), "a terminal without a descriptor");
    }
}
