//! What a client sends, received in large parts and taken in small ones.

use std::io;

use crate::engine::{IoBufMut, yield_now};
use crate::nbd::wire::Wire;

/// Received at once from a client that is mostly idle, in bytes: thousands of them cost little.
const LEAST_BYTES: usize = 4 << 10;
/// Received at once from a busy client, in bytes.
const MOST_BYTES: usize = 256 << 10;
/// After so many bytes without a pause the other tasks have their turn.
const TURN_BYTES: usize = 1 << 20;
/// So many small receives make a client idle.
const SMALL_RECEIVES: u32 = 32;
/// From here on a payload's rest is received into its own memory, in bytes; less is copied.
const DIRECT_BYTES: usize = 16 << 10;

/// The receiving side of a connection.
#[derive(Debug)]
pub(super) struct Input {
    wire: Wire,
    /// Lent to a receive in progress; lost with it if that is dropped.
    buf: Option<IoBufMut>,
    /// The part that was received and not taken.
    start: usize,
    end: usize,
    /// How large the buffer shall be the next time it is empty.
    wanted: usize,
    /// How many receives in a row were small.
    small: u32,
    /// Bytes since other tasks had their turn.
    turn: usize,
}

impl Input {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            buf: None,
            start: 0,
            end: 0,
            wanted: LEAST_BYTES,
            small: 0,
            turn: 0,
        }
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// How much was received and not taken.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The next `len` bytes, which stay until [`Input::take`]; fewer only when the client has ended
    /// the stream.
    pub(super) async fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        while self.len() < len {
            if self.fill(len).await? == 0 {
                break;
            }
        }
        let end = self.end.min(self.start + len);
        match &self.buf {
            Some(buf) => Ok(&buf[self.start..end]),
            None => Ok(&[]),
        }
    }

    /// Goes past bytes that were peeked at.
    pub(super) fn take(&mut self, len: usize) {
        self.start = self.end.min(self.start + len);
    }

    /// The next `len` bytes in memory of their own, aligned to a page.
    pub(super) async fn payload(&mut self, len: usize) -> io::Result<IoBufMut> {
        let mut payload = IoBufMut::scratch(len);
        let mut filled = 0;
        loop {
            let taken = self.len().min(len - filled);
            if let Some(buf) = &self.buf {
                payload[filled..filled + taken]
                    .copy_from_slice(&buf[self.start..self.start + taken]);
            }
            self.take(taken);
            filled += taken;
            let missing = len - filled;
            if missing == 0 {
                return Ok(payload);
            }
            if missing >= DIRECT_BYTES {
                let got = receive_at(&self.wire, payload, filled).await?;
                payload = got.0;
                payload.truncate(len);
                if got.1 == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                filled += got.1;
                self.pause(got.1).await;
                // What follows a large payload is often another: its header alone is wanted here.
                self.wanted = LEAST_BYTES;
            } else if self.fill(1).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Goes past `len` bytes that nobody wants.
    pub(super) async fn skip(&mut self, mut len: u64) -> io::Result<()> {
        loop {
            let taken = usize::try_from(len).unwrap_or(usize::MAX).min(self.len());
            self.take(taken);
            len -= taken as u64;
            if len == 0 {
                return Ok(());
            }
            if self.fill(1).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Receives once, having made room for `len` bytes from the first one that was not taken. At
    /// the end of the stream it receives nothing.
    async fn fill(&mut self, len: usize) -> io::Result<usize> {
        let mut buf = self.room(len);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let size = buf.len();
        if self.start + len > size || self.end == size {
            buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = size - self.end;
        let (buf, received) = receive_at(&self.wire, buf, self.end).await?;
        self.buf = Some(buf);
        self.end += received;
        self.adapt(size, room, received);
        self.pause(received).await;
        Ok(received)
    }

    /// Lets other tasks run once in a while: a client that always has more to say does not wait.
    async fn pause(&mut self, received: usize) {
        // A receive costs something however little it brings.
        self.turn += received.max(LEAST_BYTES);
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            yield_now().await;
        }
    }

    /// Learns how much to receive at once: a full buffer means that the client has more to say,
    /// a nearly empty one time and again that it is idle.
    fn adapt(&mut self, size: usize, room: usize, received: usize) {
        if received == room {
            self.wanted = (size * 4).min(MOST_BYTES);
            self.small = 0;
        } else if received < size / 16 {
            self.small += 1;
            if self.small >= SMALL_RECEIVES {
                self.wanted = LEAST_BYTES;
                self.small = 0;
            }
        } else {
            self.small = 0;
        }
    }

    /// The buffer with room for `len` bytes from the first one that was not taken, or a new one if
    /// it has another size than is wanted.
    fn room(&mut self, len: usize) -> IoBufMut {
        let held = self.len();
        let size = self
            .wanted
            .max(len)
            .max(held + 1)
            .next_multiple_of(LEAST_BYTES);
        match self.buf.take() {
            Some(buf) if buf.len() == size || (held > 0 && buf.len() > size) => buf,
            old => {
                let mut new = IoBufMut::zeroed(size);
                if let Some(old) = old {
                    new[..held].copy_from_slice(&old[self.start..self.end]);
                }
                (self.start, self.end) = (0, held);
                new
            }
        }
    }
}

/// Receives once into `buf` from its byte `at` on; the buffer comes back whole, with how much it
/// was.
async fn receive_at(wire: &Wire, mut buf: IoBufMut, at: usize) -> io::Result<(IoBufMut, usize)> {
    let len = buf.len();
    let kept = buf.split_to(at);
    let mut got = wire.recv(buf).await?;
    let received = got.len();
    drop(kept);
    if !got.reclaim() {
        return Err(io::Error::other(
            "a buffer that was received into is still in use",
        ));
    }
    got.truncate(len);
    Ok((got, received))
}
