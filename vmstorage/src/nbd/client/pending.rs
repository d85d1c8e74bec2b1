//! A request until it is answered, and its reply put together from what the server sends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use super::loss::Loss;
use crate::disk::{Error, ErrorKind, Extent, Result};
use crate::engine::{IoBuf, IoBufMut};
use crate::nbd::proto::{
    BlockStatus, Chunk, ErrorChunk, Headers, Hole, Request, StatusExtent, chunk, command,
    command_flag, errno,
};

/// Most chunks of one reply: a read of 32 MiB whose every sector is one comes to half of it.
const MAX_CHUNKS: u32 = 1 << 17;
/// Most parts of a read that have come and do not touch each other.
const MAX_PARTS: usize = 4096;
/// Longest payload of a chunk without data, in bytes: a million extents.
pub(super) const MAX_STATUS_BYTES: u64 = 16 << 20;

/// What is asked of the server.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) command: u16,
    pub(super) flags: u16,
    pub(super) extent: Extent,
    /// What is written.
    pub(super) payload: Option<IoBuf>,
    /// Where to put what is read.
    pub(super) buf: Option<IoBufMut>,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) command: u16,
    pub(super) flags: u16,
    pub(super) extent: Extent,
    pub(super) payload: Option<IoBuf>,
    reply: RefCell<Reply>,
    outcome: RefCell<Option<Result<Answered>>>,
    waker: RefCell<Option<Waker>>,
    /// When waiting for a connection ends.
    pub(super) deadline: Cell<Option<Instant>>,
}

/// What a request was answered with.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// What was read.
    pub(super) buf: Option<IoBufMut>,
    /// What each metadata context says.
    pub(super) contexts: Vec<Vec<StatusExtent>>,
}

#[derive(Debug, Default)]
struct Reply {
    buf: Option<IoBufMut>,
    /// Parts of the buffer that have come, by their start, with their end; none touch.
    parts: BTreeMap<usize, usize>,
    contexts: Vec<Vec<StatusExtent>>,
    error: Option<(u32, String)>,
    chunks: u32,
}

impl Pending {
    pub(super) fn new(ask: Ask) -> Rc<Self> {
        let reply = Reply {
            buf: ask.buf,
            ..Reply::default()
        };
        Rc::new(Self {
            command: ask.command,
            flags: ask.flags,
            extent: ask.extent,
            payload: ask.payload,
            reply: RefCell::new(reply),
            outcome: RefCell::new(None),
            waker: RefCell::new(None),
            deadline: Cell::new(None),
        })
    }

    /// As it goes over the wire.
    pub(super) fn request(&self, cookie: u64, headers: Headers) -> Request {
        // With extended headers the length of a write is that of its payload, which is the same.
        let payload_len = match (headers, &self.payload) {
            (Headers::Extended, Some(_)) => command_flag::PAYLOAD_LEN,
            _ => 0,
        };
        Request {
            flags: self.flags | payload_len,
            command: self.command,
            cookie,
            offset_bytes: self.extent.offset_bytes,
            len_bytes: self.extent.len_bytes,
        }
    }

    /// Waits for the answer.
    pub(super) async fn answered(&self) -> Result<Answered> {
        std::future::poll_fn(|context| match self.outcome.borrow_mut().take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                *self.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Gives up.
    pub(super) fn fail(&self, error: Error) {
        self.complete(Err(error));
    }

    fn complete(&self, outcome: Result<Answered>) {
        *self.outcome.borrow_mut() = Some(outcome);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Forgets what came of a reply, because the request is sent again.
    pub(super) fn forget(&self) {
        let mut reply = self.reply.borrow_mut();
        *reply = Reply {
            buf: reply.buf.take(),
            ..Reply::default()
        };
    }

    /// Whether a simple reply that is no error carries the data that was read.
    pub(super) fn reads(&self) -> bool {
        self.command == command::READ
    }

    /// Reserves a part of what is read, by its offset on the disk, for [`Pending::put`].
    pub(super) fn reserve(
        &self,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> std::result::Result<usize, Loss> {
        let wrong = |what: &str| {
            Loss::violated(format!(
                "{what}: {len_bytes} bytes at {offset_bytes}, asked for {} at {}",
                self.extent.len_bytes, self.extent.offset_bytes
            ))
        };
        if !self.reads() {
            return Err(wrong("data in reply to what is no read"));
        }
        let from = offset_bytes.checked_sub(self.extent.offset_bytes);
        let end = from.and_then(|from| from.checked_add(len_bytes));
        let (Some(from), Some(end)) = (from, end) else {
            return Err(wrong("data that was not asked for"));
        };
        if len_bytes == 0 || end > self.extent.len_bytes {
            return Err(wrong("data that was not asked for"));
        }
        // A buffer was given for the extent, so both fit.
        let (from, mut end) = (from as usize, end as usize);
        let mut reply = self.reply.borrow_mut();
        let before = reply.parts.range(..end).next_back();
        let before = before.map(|(&start, &end)| (start, end));
        if before.is_some_and(|(_, before)| before > from) {
            return Err(wrong("data that came before"));
        }
        let start = match before {
            Some((start, before)) if before == from => start,
            _ => from,
        };
        if let Some(after) = reply.parts.remove(&end) {
            end = after;
        }
        reply.parts.insert(start, end);
        if reply.parts.len() > MAX_PARTS {
            return Err(wrong("a reply in too many parts"));
        }
        Ok(from)
    }

    /// Takes data that was read.
    pub(super) fn put(&self, at: usize, data: &[u8]) {
        if let Some(buf) = &mut self.reply.borrow_mut().buf {
            buf[at..at + data.len()].copy_from_slice(data);
        }
    }

    /// Takes a hole in what is read.
    pub(super) fn hole(&self, payload: &[u8]) -> std::result::Result<(), Loss> {
        let hole = Hole::decode(payload)?;
        let at = self.reserve(hole.offset_bytes, hole.len_bytes.into())?;
        if let Some(buf) = &mut self.reply.borrow_mut().buf {
            buf[at..at + hole.len_bytes as usize].fill(0);
        }
        Ok(())
    }

    /// Takes what a metadata context says.
    pub(super) fn status(
        &self,
        headers: Headers,
        payload: &[u8],
        context_ids: &[u32],
    ) -> std::result::Result<(), Loss> {
        if self.command != command::BLOCK_STATUS {
            return Err(Loss::violated("a status that was not asked for"));
        }
        let status = BlockStatus::decode(headers, payload)?;
        let known = context_ids.iter().position(|&id| id == status.context_id);
        let Some(index) = known else {
            let what = format!("the status of the unknown context {}", status.context_id);
            return Err(Loss::violated(what));
        };
        let mut reply = self.reply.borrow_mut();
        reply.contexts.resize(context_ids.len(), Vec::new());
        if !reply.contexts[index].is_empty() {
            return Err(Loss::violated("a context's status came twice"));
        }
        reply.contexts[index] = status.extents;
        Ok(())
    }

    /// Takes an error.
    pub(super) fn error(&self, kind: u16, payload: &[u8]) -> std::result::Result<(), Loss> {
        let error = ErrorChunk::decode(kind, payload)?;
        let mut reply = self.reply.borrow_mut();
        if error.error == 0 {
            return Err(Loss::violated("an error that is none"));
        }
        reply.error.get_or_insert((error.error, error.message));
        Ok(())
    }

    /// Counts a chunk.
    pub(super) fn count(&self, header: &Chunk) -> std::result::Result<(), Loss> {
        let mut reply = self.reply.borrow_mut();
        reply.chunks += 1;
        if reply.chunks > MAX_CHUNKS {
            return Err(Loss::violated("a reply of too many chunks"));
        }
        let data = header.kind == chunk::OFFSET_DATA;
        if !data && header.len_bytes > MAX_STATUS_BYTES {
            let what = format!("a chunk of {} bytes", header.len_bytes);
            return Err(Loss::violated(what));
        }
        Ok(())
    }

    /// The reply has ended; `error` is that of a simple one.
    pub(super) fn done(&self, error: u32) -> std::result::Result<(), Loss> {
        let mut reply = std::mem::take(&mut *self.reply.borrow_mut());
        if error != 0 {
            reply.error = Some((error, String::new()));
        }
        if let Some((error, message)) = reply.error {
            self.complete(Err(self.failure(error, &message)));
            return Ok(());
        }
        let whole = self.extent.len_bytes as usize;
        let complete = match self.command {
            command::READ => whole == 0 || reply.parts.get(&0) == Some(&whole),
            command::BLOCK_STATUS => !reply.contexts.is_empty(),
            _ => true,
        };
        if !complete {
            let what = format!("{} is answered in part only", self.describe());
            let loss = Loss::violated(what);
            self.complete(Err(loss.clone().into_error("reply")));
            return Err(loss);
        }
        self.complete(Ok(Answered {
            buf: reply.buf,
            contexts: reply.contexts,
        }));
        Ok(())
    }

    fn failure(&self, error: u32, message: &str) -> Error {
        let (kind, name) = match error {
            errno::EPERM => (ErrorKind::ReadOnly, "EPERM"),
            errno::EIO => (ErrorKind::Io, "EIO"),
            errno::ENOMEM => (ErrorKind::Io, "ENOMEM"),
            errno::EINVAL => (ErrorKind::Io, "EINVAL"),
            errno::ENOSPC => (ErrorKind::NoSpace, "ENOSPC"),
            errno::EOVERFLOW => (ErrorKind::Io, "EOVERFLOW"),
            errno::ENOTSUP => (ErrorKind::Unsupported, "ENOTSUP"),
            errno::ESHUTDOWN => (ErrorKind::Shutdown, "ESHUTDOWN"),
            _ => (ErrorKind::Io, "an unknown error"),
        };
        let said = match message {
            "" => String::new(),
            said => format!(": {}", said.escape_debug()),
        };
        Error::new(kind, format!("{}: {name} ({error}){said}", self.describe()))
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        let name = match self.command {
            command::READ => "read",
            command::WRITE => "write",
            command::FLUSH => return "flush".into(),
            command::TRIM => "trim",
            command::CACHE => "cache",
            command::WRITE_ZEROES => "write zeroes",
            _ => "block status",
        };
        let Extent {
            offset_bytes,
            len_bytes,
        } = self.extent;
        format!("{name} of {len_bytes} bytes at {offset_bytes}")
    }
}
