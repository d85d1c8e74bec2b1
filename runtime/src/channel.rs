//! The socket between `reeve` and the container's first process.
//!
//! To the process goes *go*, with the cgroups that it is to join, and *continue* after each of its
//! pauses. From it come a terminal, a
//! pause for hooks, the word that it is ready and waits to be started, the listener of its seccomp
//! filter, or the failure of a step. It closes on `execve`, so that the end of the stream without a
//! failure means that the entry process runs. The end of the stream in the other direction means
//! that `reeve` died, and ends the process before it did anything.
//!
//! A process that was created and not started outlives that socket. It listens on another one in
//! the container's state directory, where `reeve start` finds it and says *go* once more.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg,
    socketpair,
};
use serde::{Deserialize, Serialize};

use crate::cgroup::V1Groups;
use crate::failure::{Called, Failure};
use crate::launch::Confinement;

/// Longest message in bytes; a failure with a longer text is cut.
const MESSAGE_MAX: usize = 4096;

/// Most descriptors in a message: a group in each hierarchy of version 1, of which Linux has a
/// dozen and a user may name more.
const FDS_MAX: usize = 64;

const GO: u8 = b'g';
const CONTINUE: u8 = b'c';
const BORN: u8 = b'p';
const TERMINAL: u8 = b't';
const HOOKS: u8 = b'h';
const READY: u8 = b'r';
const BEGUN: u8 = b'b';
const LISTENER: u8 = b'l';
const FAILED: u8 = b'f';

/// Name of the socket in a container's state directory.
const SOCKET: &str = "start.sock";

/// What the process says.
#[derive(Debug)]
pub(crate) enum Message {
    /// From the intermediate process: the number and pidfd of the first process.
    Born(i32, OwnedFd),
    /// The master side of its terminal.
    Terminal(OwnedFd),
    /// It waits while the hooks of the runtime run.
    Hooks,
    /// It is set up, and waits on its own socket for [`ParentEnd::connect`].
    Ready,
    /// It heard the *go* of `reeve start`, and nobody else's.
    Begun,
    /// Notifications of its seccomp filter.
    Listener(OwnedFd),
    /// A step failed; the process has ended.
    Failed(StepFailed),
}

/// Which step failed, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepFailed {
    /// The step, as the plan prints it.
    pub(crate) step: String,
    /// Why.
    pub(crate) cause: Cause,
}

/// Why a step failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// A system call.
    Call(Failure),
    /// A hook, in words.
    Hook(String),
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
    /// Lets the process begin, and gives it the groups that it is to join. The confinement is used
    /// up: there is no going twice, and no going without.
    pub(crate) fn go(&self, confinement: Confinement, groups: &V1Groups) -> Result<(), Failure> {
        match confinement {
            Confinement::Policy(_attached) => tracing::debug!("released under its policy"),
            Confinement::None(_not_asked) => tracing::debug!("released without a policy"),
        }
        let groups = groups.descriptors();
        // How many, since those that do not fit the receiver's table are left out silently.
        let count = u8::try_from(groups.len()).map_err(|_| Errno::MFILE);
        count
            .and_then(|count| send_all(&self.0, &[GO, count], &groups))
            .called(|| format!("sendmsg(first process, go, {} cgroups)", groups.len()))
    }

    /// Ends a pause that it asked for.
    pub(crate) fn proceed(&self) -> Result<(), Failure> {
        send(&self.0, &[CONTINUE], None).called(|| "sendmsg(first process, continue)")
    }

    /// The next message, or `None` when the entry process runs or has died.
    pub(crate) fn receive(&self) -> Result<Option<Message>, Failure> {
        let (bytes, mut fds) = receive(&self.0).called(|| "recvmsg(first process)")?;
        let malformed = || Failure::new("recvmsg(first process)", Errno::BADMSG);
        let Some((&kind, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let message = match (kind, fds.pop()) {
            (BORN, Some(fd)) => {
                let pid = <[u8; 4]>::try_from(rest).map_err(|_| malformed())?;
                Message::Born(i32::from_ne_bytes(pid), fd)
            }
            (TERMINAL, Some(fd)) => Message::Terminal(fd),
            (LISTENER, Some(fd)) => Message::Listener(fd),
            (HOOKS, None) => Message::Hooks,
            (READY, None) => Message::Ready,
            (BEGUN, None) => Message::Begun,
            (FAILED, None) => {
                let failed = serde_json::from_slice(rest).map_err(|_| malformed())?;
                Message::Failed(failed)
            }
            _ => return Err(malformed()),
        };
        Ok(Some(message))
    }

    /// A connection to a process that waits to be started; `dir` is the container's state
    /// directory. `ECONNREFUSED` or `ENOENT` if none waits any more.
    pub(crate) fn connect(dir: BorrowedFd<'_>) -> Result<Self, Failure> {
        let call = || format!("connect({SOCKET})");
        let socket = new_socket().called(call)?;
        rustix::net::connect(&socket, &address(dir).called(call)?).called(call)?;
        Ok(Self(socket))
    }
}

impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for StartSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where a process that was created waits for its start.
#[derive(Debug)]
pub(crate) struct StartSocket(OwnedFd);

impl StartSocket {
    /// Listens in `dir`, the container's state directory, which nobody but `reeve` can enter.
    pub(crate) fn listen(dir: BorrowedFd<'_>) -> Result<Self, Failure> {
        let call = || format!("bind({SOCKET})");
        let socket = new_socket().called(call)?;
        rustix::net::bind(&socket, &address(dir).called(call)?).called(call)?;
        rustix::net::listen(&socket, 1).called(|| format!("listen({SOCKET})"))?;
        Ok(Self(socket))
    }

    /// Waits until somebody says *go*, and answers that it was heard. A `reeve start` that dies
    /// before it spoke is waited out.
    pub(crate) fn accept(self) -> Result<ChildEnd, Failure> {
        loop {
            let flags = SocketFlags::CLOEXEC;
            let accepted = retry_on_intr(|| rustix::net::accept_with(&self.0, flags));
            let end = ChildEnd(accepted.called(|| format!("accept({SOCKET})"))?);
            if end.wait().is_some() && end.say(BEGUN).is_ok() {
                return Ok(end);
            }
        }
    }
}

impl ChildEnd {
    /// Waits to be released; what it is to join then. `None` if `reeve` is gone.
    pub(crate) fn wait(&self) -> Option<V1Groups> {
        let (bytes, groups) = receive(&self.0).ok()?;
        let complete = bytes == [GO, u8::try_from(groups.len()).ok()?];
        complete.then(|| V1Groups::from(groups))
    }

    /// Has the runtime run its hooks, and waits for their end.
    pub(crate) fn pause_for_hooks(&self) -> Result<(), Failure> {
        self.say(HOOKS)?;
        self.hear(CONTINUE)
    }

    /// Waits for one word; anything else, the end of `reeve` above all, is an error.
    fn hear(&self, word: u8) -> Result<(), Failure> {
        let call = || format!("recvmsg(reeve, {:?})", char::from(word));
        let (bytes, _) = receive(&self.0).called(call)?;
        match bytes.as_slice() {
            [only] if *only == word => Ok(()),
            _ => Err(Failure::new(call(), Errno::PIPE)),
        }
    }

    /// Says that it is set up. A `reeve` that is gone did not see the container made: an error.
    pub(crate) fn ready(&self) -> Result<(), Failure> {
        self.say(READY)
    }

    /// Hands over the first process, as the intermediate one that made it.
    pub(crate) fn send_born(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), Failure> {
        let [one, two, three, four] = pid.to_ne_bytes();
        send(&self.0, &[BORN, one, two, three, four], Some(pidfd))
            .called(|| "sendmsg(reeve, pidfd)")
    }

    /// Hands over the descriptor that notifications of the seccomp filter come from.
    pub(crate) fn send_listener(&self, listener: BorrowedFd<'_>) -> Result<(), Failure> {
        send(&self.0, &[LISTENER], Some(listener)).called(|| "sendmsg(reeve, seccomp listener)")
    }

    fn say(&self, word: u8) -> Result<(), Failure> {
        send(&self.0, &[word], None).called(|| format!("sendmsg(reeve, {:?})", char::from(word)))
    }

    /// Hands over the master side of a terminal.
    pub(crate) fn send_terminal(&self, master: BorrowedFd<'_>) -> Result<(), Failure> {
        send(&self.0, &[TERMINAL], Some(master)).called(|| "sendmsg(reeve, SCM_RIGHTS)")
    }

    /// Reports a failure. If `reeve` is gone there is nobody to tell.
    pub(crate) fn report(&self, step: &str, mut cause: Cause) {
        // Either text may hold a path of the container's choosing; six bytes is the longest escape
        // of one in JSON.
        const TEXT_MAX: usize = (MESSAGE_MAX - 128) / 6 / 2;
        let (Cause::Call(Failure { call: text, .. }) | Cause::Hook(text)) = &mut cause;
        let mut step = step.to_owned();
        for text in [&mut step, text] {
            while text.len() > TEXT_MAX {
                text.pop();
            }
        }
        let mut bytes = vec![FAILED];
        if serde_json::to_writer(&mut bytes, &StepFailed { step, cause }).is_ok() {
            let _ = send(&self.0, &bytes, None);
        }
    }
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// The socket's address by way of the directory's descriptor: the directory's own path may be
/// longer than an address can be.
fn address(dir: BorrowedFd<'_>) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

fn send(socket: &OwnedFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    send_all(socket, bytes, fd.as_slice())
}

fn send_all(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::MFILE);
    }
    let flags = SendFlags::NOSIGNAL;
    retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)).map(|_| ())
}

fn receive(socket: &OwnedFd) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut receive = || {
        retry_on_intr(|| {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
        })
    };
    let received = match receive() {
        // The other side closed without having read everything, which is told first and once. What
        // it said before, why it failed above all, comes after that.
        Err(Errno::CONNRESET) => receive()?.bytes,
        other => other?.bytes,
    };
    bytes.truncate(received);
    let mut received = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            received.extend(fds);
        }
    }
    Ok((bytes, received))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_and_a_long_one_is_cut() {
        let (parent, child) = pair().unwrap();
        child.report(
            "one",
            Cause::Call(Failure::new("x".repeat(9000), Errno::PERM)),
        );
        let Some(Message::Failed(failed)) = parent.receive().unwrap() else {
            panic!("no failure came")
        };
        assert_eq!(failed.step, "one");
        let Cause::Call(failure) = failed.cause else {
            panic!("no call")
        };
        assert!(failure.is(Errno::PERM) && failure.call.starts_with("xxx"));
    }

    #[test]
    fn a_descriptor_crosses() {
        let (parent, child) = pair().unwrap();
        child.send_terminal(parent.as_fd()).unwrap();
        let message = parent.receive().unwrap();
        assert!(matches!(message, Some(Message::Terminal(_))));
    }

    #[test]
    fn a_process_that_waits_hears_the_start_and_nothing_less() {
        use std::thread;
        let dir = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(dir.path()).unwrap();
        let socket = StartSocket::listen(dir.as_fd()).unwrap();
        let child = thread::spawn(move || socket.accept().unwrap());
        // One that dies before it spoke.
        drop(ParentEnd::connect(dir.as_fd()).unwrap());
        let start = ParentEnd::connect(dir.as_fd()).unwrap();
        send(&start.0, &[GO, 0], None).unwrap();
        assert!(matches!(start.receive().unwrap(), Some(Message::Begun)));
        child
            .join()
            .unwrap()
            .report("x", Cause::Hook("x".to_owned()));
        assert!(matches!(start.receive().unwrap(), Some(Message::Failed(_))));
        assert!(start.receive().unwrap().is_none());
        assert!(
            ParentEnd::connect(dir.as_fd())
                .unwrap_err()
                .is(Errno::CONNREFUSED)
        );
    }

    #[test]
    fn the_last_words_are_heard_though_ours_were_not() {
        let (parent, child) = pair().unwrap();
        parent.proceed().unwrap();
        child.report("one", Cause::Hook("why".to_owned()));
        drop(child);
        let message = parent.receive().unwrap();
        assert!(matches!(message, Some(Message::Failed(_))), "{message:?}");
        assert!(parent.receive().unwrap().is_none());
    }

    #[test]
    fn a_process_goes_with_all_its_groups_or_not_at_all() {
        let (parent, child) = pair().unwrap();
        let fds = [child.as_fd(), parent.as_fd()];
        send_all(&parent.0, &[GO, 2], &fds).unwrap();
        assert_eq!(child.wait().unwrap().descriptors().len(), 2);
        // As when there is no room for the second descriptor.
        send_all(&parent.0, &[GO, 2], &fds[..1]).unwrap();
        assert!(child.wait().is_none());
    }

    #[test]
    fn the_end_of_either_side_is_seen() {
        let (parent, child) = pair().unwrap();
        drop(child);
        assert!(parent.receive().unwrap().is_none());
        let (parent, child) = pair().unwrap();
        drop(parent);
        assert!(
            child.wait().is_none(),
            "a process whose reeve is gone must not begin"
        );
        child.report("none", Cause::Hook("nobody listens".to_owned()));
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
