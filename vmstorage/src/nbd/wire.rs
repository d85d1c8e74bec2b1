//! The byte stream below NBD: a socket, or TLS over one.

use std::io;

use super::tls::TlsStream;
use crate::engine::{IoBuf, IoBufMut, Stream};

/// A connected byte stream. Clones are the same stream; one task may receive while another sends.
#[derive(Clone, Debug)]
pub enum Wire {
    /// In the clear.
    Plain(Stream),
    /// Encrypted.
    Tls(TlsStream),
}

impl Wire {
    /// Receives what is there, at least a byte, at most the buffer; an empty buffer is the end.
    ///
    /// # Errors
    /// Of the socket, or of TLS: also when the stream ends without its closing message.
    pub async fn recv(&self, buf: IoBufMut) -> io::Result<IoBufMut> {
        match self {
            Self::Plain(stream) => stream.recv(buf).await,
            Self::Tls(stream) => stream.recv(buf).await,
        }
    }

    /// Sends all of the buffers in order. Only one task may send at a time.
    ///
    /// # Errors
    /// Of the socket, or of TLS.
    pub async fn send_all(&self, bufs: &[IoBuf]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.send_all(bufs).await,
            Self::Tls(stream) => stream.send_all(bufs).await,
        }
    }

    /// Ends the stream as its peer expects: TLS says that nothing was cut off. Nobody may be
    /// sending.
    pub async fn close(&self) {
        match self {
            Self::Plain(stream) => stream.shutdown(),
            Self::Tls(stream) => stream.close().await,
        }
    }

    /// Ends the stream at once in both directions; a pending receive ends.
    pub fn shutdown(&self) {
        match self {
            Self::Plain(stream) => stream.shutdown(),
            Self::Tls(stream) => stream.shutdown(),
        }
    }

    /// Bytes sent and received so far, as they are on the socket.
    pub fn moved_bytes(&self) -> u64 {
        match self {
            Self::Plain(stream) => stream.moved_bytes(),
            Self::Tls(stream) => stream.moved_bytes(),
        }
    }

    /// Whether the peer has gone; with `half` also whether it only sends no more, which may be the
    /// same over TCP.
    pub fn is_lost(&self, half: bool) -> bool {
        match self {
            Self::Plain(stream) => stream.is_lost(half),
            Self::Tls(stream) => stream.is_lost(half),
        }
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}
