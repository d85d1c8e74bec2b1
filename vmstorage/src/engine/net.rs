//! Sockets of an engine: byte streams over unix sockets and TCP.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, connect, listen, recv, sendmsg, shutdown,
    socket_with, sockopt,
};

use super::exec::ready;
use super::{IoBuf, IoBufMut};

/// A connected stream. Clones are the same stream.
#[derive(Clone, Debug)]
pub struct Stream {
    fd: Arc<OwnedFd>,
    /// The last call received less than it could: the next would find nothing.
    drained: Arc<AtomicBool>,
    /// Bytes sent and received.
    moved: Arc<AtomicU64>,
}

/// A socket that takes connections.
#[derive(Clone, Debug)]
pub struct Listener {
    fd: Arc<OwnedFd>,
}

/// Most buffers sent by one system call.
const MAX_PARTS: usize = 64;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

impl Listener {
    /// Listens on a unix socket; the path must not exist.
    ///
    /// # Errors
    /// Of `socket`, `bind` and `listen`.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        bind(&fd, &SocketAddrUnix::new(path)?)?;
        listen(&fd, 128)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Listens on TCP.
    ///
    /// # Errors
    /// Of `socket`, `bind` and `listen`.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let fd = socket_with(family(address), SocketType::STREAM, FLAGS, None)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        bind(&fd, &address)?;
        listen(&fd, 128)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// A listening socket that was handed over (socket activation).
    ///
    /// # Errors
    /// Of `fcntl`.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// The address it listens on, where it is TCP.
    pub fn local_address(&self) -> Option<SocketAddr> {
        rustix::net::getsockname(&self.fd).ok()?.try_into().ok()
    }

    /// The next connection.
    ///
    /// # Errors
    /// Of `accept4`, such as too many open files.
    pub async fn accept(&self) -> io::Result<Stream> {
        loop {
            match accept_with(&self.fd, FLAGS) {
                Ok(fd) => return Ok(Stream::new(fd)),
                Err(rustix::io::Errno::AGAIN) => ready(&self.fd, PollFlags::IN).await,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Stream {
    fn new(fd: OwnedFd) -> Self {
        // Requests and replies are small and waited for; unix sockets refuse, which is fine.
        let _ = sockopt::set_tcp_nodelay(&fd, true);
        Self {
            fd: Arc::new(fd),
            drained: Arc::default(),
            moved: Arc::default(),
        }
    }

    /// A stream that is connected already.
    ///
    /// # Errors
    /// Of `fcntl`.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self::new(fd))
    }

    /// Connects to a unix socket.
    ///
    /// # Errors
    /// Of `socket` and `connect`.
    pub async fn connect_unix(path: &Path) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        Ok(Self::new(fd))
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// Of `socket` and `connect`.
    pub async fn connect_tcp(address: SocketAddr) -> io::Result<Self> {
        let fd = socket_with(family(address), SocketType::STREAM, FLAGS, None)?;
        let stream = Self::new(fd);
        match connect(&stream.fd, &address) {
            Ok(()) => {}
            Err(rustix::io::Errno::INPROGRESS) => stream.connected().await?,
            Err(error) => return Err(error.into()),
        }
        Ok(stream)
    }

    async fn connected(&self) -> io::Result<()> {
        loop {
            ready(&self.fd, PollFlags::OUT).await;
            sockopt::socket_error(&self.fd)??;
            match rustix::net::getpeername(&self.fd) {
                Err(rustix::io::Errno::NOTCONN) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Receives what is there, at least a byte, at most the buffer; an empty buffer is the end of
    /// the stream.
    ///
    /// # Errors
    /// Of `recvfrom`.
    pub async fn recv(&self, mut buf: IoBufMut) -> io::Result<IoBufMut> {
        if self.drained.load(Ordering::Relaxed) {
            ready(&self.fd, PollFlags::IN).await;
        }
        loop {
            match recv(&self.fd, &mut *buf, RecvFlags::empty()) {
                Ok((received, _)) => {
                    self.drained.store(received < buf.len(), Ordering::Relaxed);
                    self.moved.fetch_add(received as u64, Ordering::Relaxed);
                    buf.truncate(received);
                    return Ok(buf);
                }
                Err(rustix::io::Errno::AGAIN) => ready(&self.fd, PollFlags::IN).await,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends all of the buffers in order. Only one task may send at a time.
    ///
    /// # Errors
    /// Of `sendmsg`; what had been sent before stays sent.
    pub async fn send_all(&self, bufs: &[IoBuf]) -> io::Result<()> {
        let mut parts = [IoSlice::new(&[]); MAX_PARTS];
        let (mut first, mut sent) = (0, 0);
        while first < bufs.len() {
            // From byte `sent` of buffer `first` on, as many buffers as one call takes.
            let count = (bufs.len() - first).min(MAX_PARTS);
            parts[0] = IoSlice::new(&bufs[first][sent..]);
            for (part, buf) in parts[1..count].iter_mut().zip(&bufs[first + 1..]) {
                *part = IoSlice::new(buf);
            }
            let mut control = SendAncillaryBuffer::default();
            let flags = SendFlags::NOSIGNAL;
            match sendmsg(&self.fd, &parts[..count], &mut control, flags) {
                Ok(more) => {
                    self.moved.fetch_add(more as u64, Ordering::Relaxed);
                    sent += more;
                }
                Err(rustix::io::Errno::AGAIN) => ready(&self.fd, PollFlags::OUT).await,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            while first < bufs.len() && sent >= bufs[first].len() {
                sent -= bufs[first].len();
                first += 1;
            }
        }
        Ok(())
    }

    /// Bytes sent and received so far.
    pub fn moved_bytes(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Whether nothing comes any more, but for what is there already, and nothing can be sent
    /// either; with `half`, which may still be possible.
    pub fn is_lost(&self, half: bool) -> bool {
        let both = PollFlags::HUP | PollFlags::ERR;
        let gone = if half { both | PollFlags::RDHUP } else { both };
        let mut polled = [PollFd::new(&self.fd, gone)];
        let now = Timespec::default();
        poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(gone)
    }

    /// Ends the stream in both directions; a pending [`Stream::recv`] ends.
    pub fn shutdown(&self) {
        // It fails when the peer was faster.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}
