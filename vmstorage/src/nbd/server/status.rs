//! What metadata contexts say of a range, `base:allocation` among them.

use std::rc::Rc;

use super::export::{Context, Served};
use super::link::{Body, Link};
use crate::disk::{Answer, Disk, Error, ErrorKind, Extent, Result};
use crate::nbd::proto::{
    BASE_ALLOCATION, BlockStatus, Headers, Request, StatusExtent, allocation, command_flag,
};

/// How many parts a context is asked for at once.
pub(super) const PARTS: usize = 4096;
/// The same where the client wants one: neighbours that say the same become one.
const PARTS_OF_ONE: usize = 64;
/// Longest part without extended headers, in bytes: what fits 32 bits, whole blocks of 64 KiB.
const COMPACT_BYTES: u64 = (1 << 32) - (1 << 16);

/// What is allocated of a disk and what reads as zeroes.
#[derive(Debug)]
struct Allocation {
    disk: Rc<dyn Disk>,
}

impl Context for Allocation {
    fn name(&self) -> String {
        BASE_ALLOCATION.into()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<StatusExtent>> {
        Box::pin(async move {
            let parts = self.disk.status(extent, limit).await?;
            let status = |hole: bool, zero: bool| {
                let hole = if hole { allocation::HOLE } else { 0 };
                hole | if zero { allocation::ZERO } else { 0 }
            };
            let extents = parts.iter().map(|part| StatusExtent {
                len_bytes: part.extent.len_bytes,
                status: status(!part.allocated, part.zero),
            });
            Ok(extents.collect())
        })
    }
}

/// All contexts of an export.
pub(super) fn contexts(served: &Served) -> Vec<Rc<dyn Context>> {
    let allocation = Allocation {
        disk: Rc::clone(&served.export.disk),
    };
    let mut all: Vec<Rc<dyn Context>> = vec![Rc::new(allocation)];
    all.extend(served.contexts());
    all
}

/// Asks the contexts with the numbers in `chosen`, or all that the client chose.
pub(super) async fn of(link: &Link, request: &Request, chosen: Option<&[u32]>) -> Result<Body> {
    let extent = Extent::new(request.offset_bytes, request.len_bytes);
    let one = request.flags & command_flag::REQ_ONE != 0;
    let mut answers = Vec::new();
    for (id, context) in (0..).zip(&link.contexts) {
        if chosen.is_some_and(|chosen| !chosen.contains(&id)) {
            continue;
        }
        let parts = context
            .status(extent, if one { PARTS_OF_ONE } else { PARTS })
            .await?;
        let extents = tidy(parts, extent.len_bytes, link.headers, one);
        if extents.is_empty() {
            let message = format!("metadata context `{}` gave no answer", context.name());
            return Err(Error::new(ErrorKind::Io, message));
        }
        answers.push(BlockStatus {
            context_id: id,
            extents,
        });
    }
    Ok(Body::Status(answers))
}

/// Joins neighbours that say the same, and keeps within the request and what headers can say.
fn tidy(parts: Vec<StatusExtent>, len: u64, headers: Headers, one: bool) -> Vec<StatusExtent> {
    let most = if headers == Headers::Extended {
        u64::MAX
    } else {
        COMPACT_BYTES
    };
    let mut left = len;
    let mut tidied: Vec<StatusExtent> = Vec::with_capacity(parts.len());
    for mut part in parts {
        part.len_bytes = part.len_bytes.min(left);
        if part.len_bytes == 0 {
            break;
        }
        left -= part.len_bytes;
        match tidied.last_mut() {
            Some(last) if last.status == part.status => last.len_bytes += part.len_bytes,
            Some(_) if one => break,
            _ => tidied.push(part),
        }
        if let Some(last) = tidied.last_mut()
            && last.len_bytes > most
        {
            last.len_bytes = most;
            break;
        }
    }
    tidied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(len_bytes: u64, status: u64) -> StatusExtent {
        StatusExtent { len_bytes, status }
    }

    #[test]
    fn neighbours_are_joined_within_the_request() {
        let parts = vec![part(10, 1), part(20, 1), part(5, 0), part(100, 3)];
        let all = tidy(parts.clone(), 50, Headers::Structured, false);
        assert_eq!(all, [part(30, 1), part(5, 0), part(15, 3)]);
        let one = tidy(parts, 50, Headers::Structured, true);
        assert_eq!(one, [part(30, 1)]);
    }

    #[test]
    fn long_parts_are_cut_for_compact_headers() {
        let parts = vec![part(1 << 40, 3), part(1, 0)];
        let compact = tidy(parts.clone(), 1 << 41, Headers::Structured, false);
        assert_eq!(compact, [part(COMPACT_BYTES, 3)]);
        let extended = tidy(parts.clone(), 1 << 41, Headers::Extended, false);
        assert_eq!(extended, parts);
    }
}
