//! The receiving side of a connection: requests are taken, checked and started.

use std::io;
use std::rc::Rc;

use super::budget::Permit;
use super::check::{self, Refusal};
use super::execute;
use super::input::Input;
use super::link::{Body, Link, Token};
use super::status;
use crate::engine::spawn;
use crate::nbd::proto::{Headers, Malformed, Request, command, command_flag, errno};

/// A payload that is not wanted is received all the same up to so many bytes, so that the request
/// can be refused; a longer one ends the connection.
const MOST_SKIPPED_BYTES: u64 = 256 << 20;

/// What the answer of a metadata context takes in memory, in bytes, at most.
const STATUS_BYTES: u64 = 32 * status::PARTS as u64;

/// Why a connection's requests ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client said that it was done.
    #[error("the client disconnected")]
    Disconnect,
    /// The stream ended between two requests.
    #[error("the client went without a word")]
    Gone,
    /// The client does not speak the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A payload is so long that it is not received even to be refused.
    #[error("a payload of {0} bytes")]
    Excessive(u64),
    /// The stream failed.
    #[error("receive: {0}")]
    Io(#[from] io::Error),
}

/// Takes requests until there are no more.
pub(super) async fn requests(link: &Rc<Link>, input: &mut Input) -> End {
    loop {
        if let Err(end) = next(link, input).await {
            return end;
        }
    }
}

async fn next(link: &Rc<Link>, input: &mut Input) -> Result<(), End> {
    let len = link.headers.request_len();
    let bytes = input.peek(len).await?;
    if bytes.is_empty() {
        return Err(End::Gone);
    }
    let request = Request::decode(link.headers, bytes)?;
    input.take(len);
    if request.command == command::DISC {
        return Err(End::Disconnect);
    }
    let payload = payload_len(link.headers, &request);
    if let Err(refusal) = check::request(link, &request) {
        return refuse(link, input, request, payload, refusal).await;
    }
    let memory = match request.command {
        command::READ => request.len_bytes,
        command::BLOCK_STATUS => {
            let answer = STATUS_BYTES * link.contexts.len() as u64;
            (payload + answer).min(link.payload_bytes.into())
        }
        _ => payload,
    };
    let permit = room(link, input, memory).await?;
    // Checked to be no longer than a payload may be.
    let payload = match usize::try_from(payload) {
        Ok(0) => None,
        Ok(len) => {
            link.receiving.set(true);
            let payload = input.payload(len).await?;
            link.receiving.set(false);
            Some(payload.freeze())
        }
        Err(_) => return Err(End::Excessive(payload)),
    };
    let token = link.token(request, Some(permit));
    spawn(execute::run(Rc::clone(link), token, request, payload)).detach();
    Ok(())
}

/// Room for a request, once there is; its client may have gone by then, come back over another
/// connection and sent it again, and gone on from there.
async fn room(link: &Rc<Link>, input: &Input, bytes: u64) -> Result<Permit, End> {
    if let Some(permit) = link.budget.try_acquire(bytes) {
        return Ok(permit);
    }
    let permit = link.budget.acquire(bytes).await;
    // One that only sends no more wants its replies, if it is not back.
    let may_be_back = link.served.has_joined_since(link);
    match input.wire().is_lost(may_be_back) {
        true => Err(End::Gone),
        false => Ok(permit),
    }
}

/// How much follows a request.
fn payload_len(headers: Headers, request: &Request) -> u64 {
    let flagged = headers == Headers::Extended && request.flags & command_flag::PAYLOAD_LEN != 0;
    if request.command == command::WRITE || flagged {
        request.len_bytes
    } else {
        0
    }
}

/// Goes past a request's payload and answers with an error.
async fn refuse(
    link: &Rc<Link>,
    input: &mut Input,
    request: Request,
    payload: u64,
    Refusal(error, message): Refusal,
) -> Result<(), End> {
    if payload > MOST_SKIPPED_BYTES {
        return Err(End::Excessive(payload));
    }
    // A client that sends nothing but wrong requests and reads no replies has to wait as well.
    let permit = link.budget.acquire(0).await;
    input.skip(payload).await?;
    link.token(request, Some(permit))
        .complete(Body::Failed(error, message));
    Ok(())
}

/// Answers what a disk said.
pub(super) fn answer(token: Token, result: crate::disk::Result<Body>) {
    match result {
        Ok(body) => token.complete(body),
        Err(error) => token.complete(Body::Failed(wire_errno(&error), error.to_string())),
    }
}

/// An error in the numbers of the protocol.
fn wire_errno(error: &crate::disk::Error) -> u32 {
    use crate::disk::ErrorKind;
    match error.kind() {
        ErrorKind::Io | ErrorKind::Corrupt | ErrorKind::FullNeeded => errno::EIO,
        ErrorKind::OutOfRange | ErrorKind::NotFound => errno::EINVAL,
        ErrorKind::ReadOnly => errno::EPERM,
        ErrorKind::NoSpace => errno::ENOSPC,
        ErrorKind::Unsupported => errno::ENOTSUP,
        ErrorKind::Shutdown => errno::ESHUTDOWN,
    }
}
