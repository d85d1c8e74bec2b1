//! What is asked of the kernel, with everything that the kernel uses until it has answered.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::PollFlags;
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::{IoBuf, IoBufMut};

/// Most bytes of one system call; the kernel takes two gibibytes less a page.
pub(super) const MAX_CALL_BYTES: usize = 1 << 30;

/// A descriptor that stays open while something is asked of it.
#[derive(Clone, Debug)]
pub(super) enum Handle {
    File(Arc<fs::File>),
    Socket(Arc<OwnedFd>),
}

/// One operation. Transfers go on from byte `done` of their buffer.
#[derive(Debug)]
pub(super) enum Request {
    Read {
        buf: IoBufMut,
        done: usize,
        offset: u64,
    },
    Write {
        data: IoBuf,
        done: usize,
        offset: u64,
        durable: bool,
    },
    SyncData,
    Allocate {
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    },
    Poll(PollFlags),
}

/// What the kernel answered, and the request back.
pub(super) type Answer = (io::Result<usize>, Request);

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Socket(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Request {
    /// Moves data or makes it durable, rather than waiting for somebody.
    pub(super) fn is_transfer(&self) -> bool {
        !matches!(self, Self::Poll(_))
    }

    /// Makes the call on this thread, which it may block.
    pub(super) fn call(&mut self, handle: &Handle) -> io::Result<usize> {
        loop {
            match self.call_once(handle) {
                Err(Errno::INTR) => {}
                answer => return Ok(answer?),
            }
        }
    }

    fn call_once(&mut self, handle: &Handle) -> rustix::io::Result<usize> {
        match self {
            Self::Read { buf, done, offset } => {
                let end = buf.len().min(*done + MAX_CALL_BYTES);
                rustix::io::pread(handle, &mut buf[*done..end], *offset + *done as u64)
            }
            Self::Write {
                data,
                done,
                offset,
                durable,
            } => {
                let at = *offset + *done as u64;
                let part = &data[*done..data.len().min(*done + MAX_CALL_BYTES)];
                if *durable {
                    let flags = ReadWriteFlags::DSYNC;
                    rustix::io::pwritev2(handle, &[IoSlice::new(part)], at, flags)
                } else {
                    rustix::io::pwrite(handle, part, at)
                }
            }
            Self::SyncData => rustix::fs::fdatasync(handle).map(|()| 0),
            Self::Allocate { mode, offset, len } => {
                rustix::fs::fallocate(handle, *mode, *offset, *len).map(|()| 0)
            }
            Self::Poll(flags) => {
                let mut polled = [rustix::event::PollFd::new(handle, *flags)];
                rustix::event::poll(&mut polled, None)
            }
        }
    }
}
