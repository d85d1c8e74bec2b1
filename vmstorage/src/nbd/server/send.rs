//! The sending side of a connection: all replies that are ready leave in one send.

use std::rc::Rc;

use super::link::{Body, Link, Reply};
use crate::engine::IoBuf;
use crate::nbd::proto::{
    BlockStatus, Chunk, ErrorChunk, Headers, Hole, Malformed, SimpleReply, chunk, command,
    command_flag,
};
use crate::nbd::wire::Wire;

/// Reads from here on, in bytes, are looked through for zeroes, which need not be sent.
const SPARSE_BYTES: usize = 128 << 10;
/// How much has to be zero to be left out, in bytes.
const HOLE_BYTES: usize = 64 << 10;

/// Sends replies until there will be no more.
pub(super) async fn replies(link: Rc<Link>, wire: Wire) {
    let mut batch = Vec::new();
    let mut encoder = Encoder {
        headers: link.headers,
        bytes: Vec::new(),
        data: Vec::new(),
    };
    let mut dead = false;
    while link.replies(&mut batch).await {
        if !dead {
            link.sending.set(true);
            let sent = match encoder.batch(&batch) {
                Ok(bufs) => wire
                    .send_all(&bufs)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            link.sending.set(false);
            if let Err(error) = sent {
                tracing::debug!(
                    export = link.served.export.name,
                    error,
                    "replies were not sent"
                );
                dead = true;
                link.die();
                wire.shutdown();
            }
        }
        batch.clear();
    }
}

/// Replies as bytes: those of headers are gathered, data is only referred to.
struct Encoder {
    headers: Headers,
    bytes: Vec<u8>,
    /// Data, and how many of `bytes` come before it.
    data: Vec<(usize, IoBuf)>,
}

impl Encoder {
    fn batch(&mut self, replies: &[Reply]) -> Result<Vec<IoBuf>, Malformed> {
        self.bytes.clear();
        for reply in replies {
            self.reply(reply)?;
        }
        let bytes = IoBuf::copy_of(&self.bytes);
        let mut bufs = Vec::with_capacity(2 * self.data.len() + 1);
        let mut start = 0;
        for (end, data) in self.data.drain(..) {
            bufs.push(bytes.slice(start..end));
            bufs.push(data);
            start = end;
        }
        if start < bytes.len() {
            bufs.push(bytes.slice(start..));
        }
        Ok(bufs)
    }

    fn reply(&mut self, reply: &Reply) -> Result<(), Malformed> {
        match &reply.body {
            Body::Data(data) if self.headers == Headers::Simple => {
                self.simple(reply, 0);
                self.data(data.clone());
                Ok(())
            }
            Body::Data(data) => self.read(reply, data),
            Body::Done if self.may_be_simple(reply) => {
                self.simple(reply, 0);
                Ok(())
            }
            Body::Done => self.chunk(reply, chunk::NONE, chunk::FLAG_DONE, 0),
            Body::Failed(error, _) if self.headers == Headers::Simple => {
                self.simple(reply, *error);
                Ok(())
            }
            Body::Failed(error, message) => self.failed(reply, *error, message),
            Body::Status(contexts) => self.status(reply, contexts),
        }
    }

    /// A simple reply is the shortest, and allowed without extended headers unless it answers a
    /// read that was to be structured.
    fn may_be_simple(&self, reply: &Reply) -> bool {
        match self.headers {
            Headers::Simple => true,
            Headers::Structured => reply.request.command != command::READ,
            Headers::Extended => false,
        }
    }

    fn simple(&mut self, reply: &Reply, error: u32) {
        let reply = SimpleReply {
            error,
            cookie: reply.request.cookie,
        };
        self.bytes.extend(reply.encode());
    }

    fn chunk(&mut self, reply: &Reply, kind: u16, flags: u16, len: u64) -> Result<(), Malformed> {
        let chunk = Chunk {
            flags,
            kind,
            cookie: reply.request.cookie,
            offset_bytes: reply.request.offset_bytes,
            len_bytes: len,
        };
        chunk.encode(self.headers, &mut self.bytes)
    }

    fn data(&mut self, data: IoBuf) {
        self.data.push((self.bytes.len(), data));
    }

    fn read(&mut self, reply: &Reply, data: &IoBuf) -> Result<(), Malformed> {
        if data.len() < SPARSE_BYTES || reply.request.flags & command_flag::DF != 0 {
            return self.content(reply, data, 0..data.len(), false);
        }
        let mut start = 0;
        let mut zero = is_hole(data, 0);
        while start < data.len() {
            let mut end = start;
            let mut next = zero;
            while end < data.len() && next == zero {
                end = data.len().min(end + HOLE_BYTES);
                next = is_hole(data, end);
            }
            self.content(reply, data, start..end, zero)?;
            (start, zero) = (end, next);
        }
        Ok(())
    }

    /// A part of what was read, in one chunk.
    fn content(
        &mut self,
        reply: &Reply,
        data: &IoBuf,
        part: std::ops::Range<usize>,
        zero: bool,
    ) -> Result<(), Malformed> {
        let flags = if part.end == data.len() {
            chunk::FLAG_DONE
        } else {
            0
        };
        let offset_bytes = reply.request.offset_bytes + part.start as u64;
        match u32::try_from(part.len()) {
            Ok(len_bytes) if zero => {
                let hole = Hole {
                    offset_bytes,
                    len_bytes,
                };
                self.chunk(reply, chunk::OFFSET_HOLE, flags, Hole::LEN as u64)?;
                self.bytes.extend(hole.encode());
            }
            _ => {
                let len = 8 + part.len() as u64;
                self.chunk(reply, chunk::OFFSET_DATA, flags, len)?;
                self.bytes.extend(offset_bytes.to_be_bytes());
                self.data(data.slice(part));
            }
        }
        Ok(())
    }

    fn failed(&mut self, reply: &Reply, error: u32, message: &str) -> Result<(), Malformed> {
        let error = ErrorChunk {
            error,
            message: message.to_owned(),
            offset_bytes: None,
        };
        let payload = error.encode();
        self.chunk(reply, error.kind(), chunk::FLAG_DONE, payload.len() as u64)?;
        self.bytes.extend(payload);
        Ok(())
    }

    fn status(&mut self, reply: &Reply, contexts: &[BlockStatus]) -> Result<(), Malformed> {
        for (index, context) in contexts.iter().enumerate() {
            let last = index + 1 == contexts.len();
            let flags = if last { chunk::FLAG_DONE } else { 0 };
            let payload = context.encode(self.headers);
            let kind = BlockStatus::kind(self.headers);
            self.chunk(reply, kind, flags, payload.len() as u64)?;
            self.bytes.extend(payload);
        }
        Ok(())
    }
}

/// Whether nothing but zeroes follows, for as long as a hole has to be; data mostly shows at once.
fn is_hole(data: &[u8], start: usize) -> bool {
    static ZEROES: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
    let block = &data[start..data.len().min(start + HOLE_BYTES)];
    block == &ZEROES[..block.len()]
}
