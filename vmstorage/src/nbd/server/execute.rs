//! What each command does to the disk.

use std::rc::Rc;

use super::check::{self, Refusal};
use super::link::{Body, Link, Token};
use super::receive::answer;
use super::status;
use crate::disk::{Disk, Durability, Error, ErrorKind, Extent, Result, Zeroes};
use crate::engine::{IoBuf, IoBufMut};
use crate::nbd::proto::{Request, StatusPayload, command, command_flag, errno};

/// Does what a request asks for, and answers it.
pub(super) async fn run(link: Rc<Link>, token: Token, request: Request, payload: Option<IoBuf>) {
    let disk = &*link.served.export.disk;
    // A client whose connection was lost sends its writes again over the next one, and then others
    // to the same place: those of the lost one must not be done after them.
    let _turn = match request.command {
        command::WRITE | command::TRIM | command::WRITE_ZEROES => {
            let end = request.offset_bytes.saturating_add(request.len_bytes);
            let changing = &link.served.changing;
            Some(changing.enter(request.offset_bytes, end, true).await)
        }
        _ => None,
    };
    match request.command {
        command::READ => answer(token, read(disk, &request).await),
        command::WRITE => answer(token, write(disk, &request, payload).await),
        command::BLOCK_STATUS => block_status(&link, token, request, payload).await,
        _ => answer(token, other(disk, &request).await),
    }
}

async fn read(disk: &dyn Disk, request: &Request) -> Result<Body> {
    let len = usize::try_from(request.len_bytes)
        .map_err(|_| Error::new(ErrorKind::OutOfRange, "a read beyond the address space"))?;
    if len == 0 {
        return Ok(Body::Done);
    }
    let data = disk
        .read(request.offset_bytes, IoBufMut::scratch(len))
        .await?;
    if data.len() != len {
        let message = format!("a read of {len} bytes gave {}", data.len());
        return Err(Error::new(ErrorKind::Io, message));
    }
    Ok(Body::Data(data.freeze()))
}

async fn write(disk: &dyn Disk, request: &Request, payload: Option<IoBuf>) -> Result<Body> {
    if let Some(data) = payload {
        disk.write(request.offset_bytes, data, durability(request))
            .await?;
    }
    Ok(Body::Done)
}

/// The commands without data on either side.
async fn other(disk: &dyn Disk, request: &Request) -> Result<Body> {
    let extent = Extent::new(request.offset_bytes, request.len_bytes);
    match request.command {
        command::FLUSH => disk.flush().await?,
        _ if request.len_bytes == 0 => {}
        command::TRIM => {
            disk.discard(extent).await?;
            if durability(request) == Durability::Durable {
                disk.flush().await?;
            }
        }
        command::WRITE_ZEROES => {
            let how = Zeroes {
                durability: durability(request),
                may_unmap: request.flags & command_flag::NO_HOLE == 0,
                fast_only: request.flags & command_flag::FAST_ZERO != 0,
            };
            disk.write_zeroes(extent, how).await?;
        }
        command::CACHE => disk.cache(extent).await?,
        other => {
            let message = format!("command {other} is unknown");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(Body::Done)
}

fn durability(request: &Request) -> Durability {
    if request.flags & command_flag::FUA != 0 {
        Durability::Durable
    } else {
        Durability::Volatile
    }
}

async fn block_status(link: &Link, token: Token, mut request: Request, payload: Option<IoBuf>) {
    let mut chosen = None;
    if check::has_payload(&request) {
        match status_payload(link, &mut request, payload.as_deref().unwrap_or_default()) {
            Ok(ids) => chosen = Some(ids),
            Err(Refusal(error, message)) => return token.complete(Body::Failed(error, message)),
        }
    }
    answer(token, status::of(link, &request, chosen.as_deref()).await);
}

/// The contexts that a payload names; the request's length becomes that of the range.
fn status_payload(
    link: &Link,
    request: &mut Request,
    payload: &[u8],
) -> std::result::Result<Vec<u32>, Refusal> {
    let payload = StatusPayload::decode(payload)
        .map_err(|error| Refusal(errno::EINVAL, error.to_string()))?;
    let mut ids = payload.context_ids;
    ids.sort_unstable();
    let known = ids
        .last()
        .is_some_and(|&id| (id as usize) < link.contexts.len());
    if !known || ids.windows(2).any(|pair| pair[0] == pair[1]) {
        let message = "each metadata context that was chosen may be named once";
        return Err(Refusal(errno::EINVAL, message.into()));
    }
    request.len_bytes = payload.len_bytes;
    check::range(link, request)?;
    Ok(ids)
}
