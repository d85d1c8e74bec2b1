//! What metadata contexts say, asked for in pieces and joined.

use super::pending::Ask;
use super::{Remote, disk::aligned};
use crate::disk::{Error, ErrorKind, Extent, Result};
use crate::nbd::proto::{StatusExtent, command, command_flag};

/// A part of a disk and what a metadata context says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextExtent {
    /// The part.
    pub extent: Extent,
    /// What it means is defined by the context; of a dirty bitmap, 1 is dirty.
    pub value: u64,
}

impl Remote {
    /// What a metadata context says of a part: at most `limit` neighbouring parts from its start,
    /// at least one unless the part is empty. The context is one of [`super::Options::contexts`].
    ///
    /// # Errors
    /// When the context was not asked for on opening, and those of the connection.
    pub async fn context_status(
        &self,
        name: &str,
        extent: Extent,
        limit: usize,
    ) -> Result<Vec<ContextExtent>> {
        let index = self
            .exported
            .contexts
            .iter()
            .position(|known| known == name);
        let index = index.ok_or_else(|| {
            let what = format!("{}: no metadata context `{name}`", self.target);
            Error::new(ErrorKind::Unsupported, what)
        })?;
        self.extents(index, extent, limit).await
    }

    pub(super) async fn extents(
        &self,
        index: usize,
        extent: Extent,
        limit: usize,
    ) -> Result<Vec<ContextExtent>> {
        self.check(extent)?;
        let whole = aligned(extent, &self.exported);
        let mut found: Vec<ContextExtent> = Vec::new();
        let mut at = whole.offset_bytes;
        while at < whole.end_bytes()
            && extent.len_bytes > 0
            && (found.len() < limit || at == whole.offset_bytes)
        {
            let len = (whole.end_bytes() - at).min(self.exported.most_bytes());
            let piece = Extent::new(at, len);
            let ask = Ask {
                command: command::BLOCK_STATUS,
                flags: if limit <= 1 { command_flag::REQ_ONE } else { 0 },
                extent: piece,
                payload: None,
                buf: None,
            };
            let mut contexts = self.ask(ask).await?.contexts;
            if index >= contexts.len() || contexts[index].is_empty() {
                return Err(Error::new(
                    ErrorKind::Io,
                    format!("{}: the server left a context out", self.target),
                ));
            }
            at = join(&mut found, piece, &contexts.swap_remove(index));
        }
        found.truncate(limit.max(1));
        Ok(clipped(found, extent))
    }
}

/// Appends what was said of `piece`; answers how far it was.
fn join(found: &mut Vec<ContextExtent>, piece: Extent, said: &[StatusExtent]) -> u64 {
    let mut at = piece.offset_bytes;
    for part in said {
        // The last one may go on beyond what was asked for.
        let len_bytes = part.len_bytes.min(piece.end_bytes() - at);
        if len_bytes == 0 {
            break;
        }
        match found.last_mut() {
            Some(last) if last.value == part.status => last.extent.len_bytes += len_bytes,
            _ => found.push(ContextExtent {
                extent: Extent::new(at, len_bytes),
                value: part.status,
            }),
        }
        at += len_bytes;
    }
    at
}

/// Leaves only what lies within `bounds`.
fn clipped(found: Vec<ContextExtent>, bounds: Extent) -> Vec<ContextExtent> {
    let clip = |mut part: ContextExtent| {
        let start = part.extent.offset_bytes.max(bounds.offset_bytes);
        let end = part.extent.end_bytes().min(bounds.end_bytes());
        part.extent = Extent::new(start, end.checked_sub(start)?);
        (part.extent.len_bytes > 0).then_some(part)
    };
    found.into_iter().filter_map(clip).collect()
}
