//! What a server sends, received in large parts and taken in small ones.

use super::loss::Loss;
use crate::engine::{IoBufMut, yield_now};
use crate::nbd::wire::Wire;

/// How much is received at once, in bytes.
const RECEIVE_BYTES: usize = 128 << 10;
/// After so many bytes without a pause other tasks have their turn.
const TURN_BYTES: usize = 1 << 20;

/// The receiving side of a connection.
#[derive(Debug)]
pub(super) struct Input {
    wire: Wire,
    /// Lent to a receive in progress; lost with it if that is dropped.
    buf: Option<IoBufMut>,
    /// The part that was received and not taken.
    start: usize,
    end: usize,
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
            turn: 0,
        }
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Whether nothing was received that has not been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The next `N` bytes.
    pub(super) async fn array<const N: usize>(&mut self) -> Result<[u8; N], Loss> {
        let mut array = [0; N];
        self.fill_slice(&mut array).await?;
        Ok(array)
    }

    /// The next bytes, as many as there is room for.
    pub(super) async fn fill_slice(&mut self, out: &mut [u8]) -> Result<(), Loss> {
        let mut filled = 0;
        while filled < out.len() {
            let some = self.some(out.len() - filled).await?;
            out[filled..filled + some.len()].copy_from_slice(some);
            filled += some.len();
        }
        Ok(())
    }

    /// The next `len` bytes. Memory is taken as they come, not as they were announced.
    pub(super) async fn bytes(&mut self, len: usize) -> Result<Vec<u8>, Loss> {
        let mut out = Vec::with_capacity(len.min(RECEIVE_BYTES));
        while out.len() < len {
            let missing = len - out.len();
            out.extend_from_slice(self.some(missing).await?);
        }
        Ok(out)
    }

    /// At least one of the next bytes, at most `most`.
    pub(super) async fn some(&mut self, most: usize) -> Result<&[u8], Loss> {
        if self.is_empty() {
            self.receive().await?;
        }
        let from = self.start;
        self.start = self.end.min(from + most);
        match &self.buf {
            Some(buf) => Ok(&buf[from..self.start]),
            None => Err(Loss::Lost("the connection was abandoned".into())),
        }
    }

    async fn receive(&mut self) -> Result<(), Loss> {
        let lost = |what: String| Loss::Lost(what);
        let mut buf = self
            .buf
            .take()
            .and_then(|mut buf| buf.reclaim().then_some(buf))
            .unwrap_or_else(|| IoBufMut::scratch(RECEIVE_BYTES));
        buf.truncate(RECEIVE_BYTES);
        (self.start, self.end) = (0, 0);
        let got = self.wire.recv(buf).await;
        let got = got.map_err(|error| lost(format!("receive: {error}")))?;
        if got.is_empty() {
            return Err(lost("the server closed the connection".into()));
        }
        self.end = got.len();
        self.buf = Some(got);
        // A receive costs something however little it brings.
        self.turn += self.end.max(4096);
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            yield_now().await;
        }
        Ok(())
    }
}
