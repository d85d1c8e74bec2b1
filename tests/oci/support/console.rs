//! The other end of `--console-socket` and of a seccomp listener: a socket that a descriptor comes
//! over.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::command::{LIMIT, Started, wait_until};

/// A socket that waits for one descriptor.
#[derive(Debug)]
pub(crate) struct Receiver {
    listener: UnixListener,
}

fn wait_readable(what: &impl std::os::fd::AsFd) {
    let mut descriptors = [PollFd::new(what, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: LIMIT.as_secs() as i64,
        tv_nsec: 0,
    };
    let ready = poll(&mut descriptors, Some(&limit)).expect("poll");
    assert_eq!(ready, 1, "nothing came over the socket");
}

impl Receiver {
    /// Listens at a path.
    pub(crate) fn at(path: impl AsRef<Path>) -> Self {
        let listener = UnixListener::bind(path).expect("listen");
        Self { listener }
    }

    /// As [`Receiver::receive`], from a command that ends without a connection if it fails.
    pub(crate) fn receive_from(&self, started: &mut Started) -> (Vec<u8>, OwnedFd) {
        self.listener.set_nonblocking(true).expect("fcntl");
        let stream = wait_until("a connection", || match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(_) => match started.child.try_wait().expect("wait for the command") {
                Some(status) => panic!("it ended without a connection: {status}"),
                None => None,
            },
        });
        stream.set_nonblocking(false).expect("fcntl");
        receive_from(&stream)
    }

    /// Waits for a connection, a message and the descriptor with it.
    pub(crate) fn receive(&self) -> (Vec<u8>, OwnedFd) {
        wait_readable(&self.listener);
        let (stream, _) = self.listener.accept().expect("accept");
        receive_from(&stream)
    }
}

fn receive_from(stream: &UnixStream) -> (Vec<u8>, OwnedFd) {
    wait_readable(stream);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 64 * 1024];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(stream.as_fd(), &mut parts, &mut ancillary, flags).expect("recvmsg");
    let length = message.bytes;
    let mut descriptors = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let descriptor = descriptors.next().expect("a descriptor");
    bytes.truncate(length);
    (bytes, descriptor)
}

/// The host's end of a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    file: std::fs::File,
    text: String,
}

impl Terminal {
    /// Of the descriptor that came over a console socket.
    pub(crate) fn new(master: OwnedFd) -> Self {
        assert!(rustix::termios::isatty(&master), "not a terminal");
        Self {
            file: master.into(),
            text: String::new(),
        }
    }

    /// Types text.
    pub(crate) fn write(&mut self, text: &str) {
        self.file
            .write_all(text.as_bytes())
            .expect("write to the terminal");
    }

    /// Reads until a line begins with `start`; the line without its end.
    pub(crate) fn line(&mut self, start: &str) -> String {
        loop {
            let mut lines = self.text.split_inclusive('\n');
            let whole = lines.find(|line| line.starts_with(start) && line.ends_with('\n'));
            if let Some(line) = whole {
                return line.trim_end().to_owned();
            }
            wait_readable(&self.file);
            let mut bytes = [0; 8192];
            match self.file.read(&mut bytes) {
                Ok(count) if count > 0 => {
                    self.text
                        .push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                _ => panic!("the terminal ended without {start:?}: {}", self.text),
            }
        }
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> (u16, u16) {
        let size = rustix::termios::tcgetwinsize(&self.file).expect("the terminal's size");
        (size.ws_row, size.ws_col)
    }
}
