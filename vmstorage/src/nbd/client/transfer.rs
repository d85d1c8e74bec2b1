//! What goes over one connection: requests as they are queued, replies in any order.

use std::rc::Rc;
use std::time::Instant;

use super::handshake::Session;
use super::input::Input;
use super::lane::Lane;
use super::loss::Loss;
use super::pending::Pending;
use crate::disk::{Error, ErrorKind};
use crate::engine::IoBuf;
use crate::nbd::proto::{Chunk, Headers, Request, SimpleReply, chunk, command, magic};
use crate::nbd::wire::Wire;

/// Most requests that are sent at once.
const BATCH: usize = 64;

/// Sends what is queued, until the lane is closed and idle.
pub(super) async fn send(lane: &Lane, wire: Wire) -> Loss {
    loop {
        lane.when(|| !lane.queue.borrow().is_empty() || lane.is_done())
            .await;
        let last = lane.queue.borrow().is_empty();
        let bufs = if last { goodbye(lane) } else { batch(lane) };
        if let Err(error) = wire.send_all(&bufs).await {
            return Loss::Lost(format!("send: {error}"));
        }
        if last {
            return Loss::Closed;
        }
    }
}

/// Takes requests from the queue, as the server wants them.
fn batch(lane: &Lane) -> Vec<IoBuf> {
    let mut queue = lane.queue.borrow_mut();
    let mut in_flight = lane.in_flight.borrow_mut();
    if in_flight.is_empty() {
        lane.heard.set(Instant::now());
    }
    let mut bufs = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..BATCH {
        let Some(pending) = queue.pop_front() else {
            break;
        };
        let cookie = lane.next_cookie.get();
        lane.next_cookie.set(cookie + 1);
        let request = pending.request(cookie, lane.exported.headers);
        if let Err(error) = request.encode(lane.exported.headers, &mut bytes) {
            pending.fail(Error::new(ErrorKind::Io, error.to_string()));
            continue;
        }
        if let Some(payload) = &pending.payload {
            bufs.push(IoBuf::copy_of(&bytes));
            bufs.push(payload.clone());
            bytes.clear();
        }
        in_flight.insert(cookie, pending);
    }
    if !bytes.is_empty() {
        bufs.push(IoBuf::copy_of(&bytes));
    }
    bufs
}

/// The request to end the session.
fn goodbye(lane: &Lane) -> Vec<IoBuf> {
    let request = Request {
        flags: 0,
        command: command::DISC,
        cookie: 0,
        offset_bytes: 0,
        len_bytes: 0,
    };
    let mut bytes = Vec::new();
    // A request without a length fits every header.
    let _ = request.encode(lane.exported.headers, &mut bytes);
    vec![IoBuf::copy_of(&bytes)]
}

/// Takes replies until there are none any more.
pub(super) async fn receive(lane: &Lane, session: &mut Session) -> Loss {
    loop {
        if let Err(loss) = reply(lane, session).await {
            return loss;
        }
    }
}

/// Takes a simple reply or a chunk.
async fn reply(lane: &Lane, session: &mut Session) -> Result<(), Loss> {
    let headers = session.exported.headers;
    let found = session.input.array::<4>().await?;
    lane.heard.set(Instant::now());
    let chunked = match (u32::from_be_bytes(found), headers) {
        (magic::SIMPLE_REPLY, Headers::Simple | Headers::Structured) => false,
        (magic::STRUCTURED_REPLY, Headers::Structured)
        | (magic::EXTENDED_REPLY, Headers::Extended) => true,
        (other, _) => return Err(Loss::violated(format!("a reply begins with {other:#x}"))),
    };
    let len = if chunked {
        headers.chunk_len()
    } else {
        SimpleReply::LEN
    };
    let mut header = [0; Chunk::MAX_LEN];
    header[..4].copy_from_slice(&found);
    session.input.fill_slice(&mut header[4..len]).await?;
    if chunked {
        let header = Chunk::decode(headers, &header[..len])?;
        let pending = find(lane, header.cookie)?;
        pending.count(&header)?;
        payload(&pending, &header, lane, session).await?;
        if header.is_done() {
            finish(lane, header.cookie, 0)?;
        }
        return Ok(());
    }
    let header = SimpleReply::decode(&header[..len])?;
    let pending = find(lane, header.cookie)?;
    if pending.reads() && header.error == 0 {
        if headers == Headers::Structured {
            return Err(Loss::violated("a simple reply to a read"));
        }
        let extent = pending.extent;
        data(
            &pending,
            &mut session.input,
            lane,
            extent.offset_bytes,
            extent.len_bytes,
        )
        .await?;
    }
    finish(lane, header.cookie, header.error)
}

fn find(lane: &Lane, cookie: u64) -> Result<Rc<Pending>, Loss> {
    let in_flight = lane.in_flight.borrow();
    let pending = in_flight.get(&cookie);
    pending
        .cloned()
        .ok_or_else(|| Loss::violated(format!("a reply to the unknown cookie {cookie}")))
}

fn finish(lane: &Lane, cookie: u64, error: u32) -> Result<(), Loss> {
    let pending = lane.in_flight.borrow_mut().remove(&cookie);
    lane.changed();
    match pending {
        Some(pending) => {
            lane.answers.set(lane.answers.get() + 1);
            pending.done(error)
        }
        None => Ok(()),
    }
}

async fn payload(
    pending: &Pending,
    header: &Chunk,
    lane: &Lane,
    session: &mut Session,
) -> Result<(), Loss> {
    let headers = session.exported.headers;
    let input = &mut session.input;
    // Data is checked against what was asked for, all else was found short enough.
    match header.kind {
        chunk::OFFSET_DATA => {
            let Some(len) = header.len_bytes.checked_sub(8) else {
                return Err(Loss::violated("a chunk of data without an offset"));
            };
            let offset = u64::from_be_bytes(input.array::<8>().await?);
            data(pending, input, lane, offset, len).await
        }
        chunk::NONE if header.len_bytes == 0 && header.is_done() => Ok(()),
        kind => {
            let bytes = input.bytes(header.len_bytes as usize).await?;
            match kind {
                chunk::OFFSET_HOLE => pending.hole(&bytes),
                chunk::BLOCK_STATUS if headers == Headers::Structured => {
                    pending.status(headers, &bytes, &session.context_ids)
                }
                chunk::BLOCK_STATUS_EXT if headers == Headers::Extended => {
                    pending.status(headers, &bytes, &session.context_ids)
                }
                kind if kind & chunk::ERROR_BIT != 0 => pending.error(kind, &bytes),
                kind => Err(Loss::violated(format!(
                    "a chunk of the unknown kind {kind}"
                ))),
            }
        }
    }
}

/// Takes data into the buffer of a read, as it comes.
async fn data(
    pending: &Pending,
    input: &mut Input,
    lane: &Lane,
    offset_bytes: u64,
    len_bytes: u64,
) -> Result<(), Loss> {
    let mut at = pending.reserve(offset_bytes, len_bytes)?;
    let end = at + len_bytes as usize;
    while at < end {
        let some = input.some(end - at).await?;
        lane.heard.set(Instant::now());
        pending.put(at, some);
        at += some.len();
    }
    Ok(())
}
