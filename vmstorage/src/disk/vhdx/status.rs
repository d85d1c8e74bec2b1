//! What parts of the disk hold.

use super::bat::State;
use super::image::Image;
use super::read::Part;
use super::zero::breathe;
use crate::disk::{Disk, Extent, Result, Status};

/// Parts found so far; neighbours that hold the same are one.
struct Found {
    parts: Vec<Status>,
    limit: usize,
}

impl Found {
    /// Adds what follows; `false` once there are more parts than wanted.
    fn add(&mut self, offset: u64, len: u64, allocated: bool, zero: bool) -> bool {
        if len == 0 {
            return true;
        }
        let full = self.parts.len() == self.limit;
        match self.parts.last_mut() {
            Some(last) if (last.allocated, last.zero) == (allocated, zero) => {
                last.extent.len_bytes += len;
            }
            _ if full => return false,
            _ => self.parts.push(Status {
                extent: Extent::new(offset, len),
                allocated,
                zero,
            }),
        }
        true
    }

    /// Adds what a disk below says of its own `place`.
    async fn add_below(
        &mut self,
        disk: &dyn Disk,
        place: Extent,
        offset: u64,
        here: bool,
    ) -> Result<bool> {
        let mut at = place.offset_bytes;
        while at < place.end_bytes() {
            let rest = Extent::new(at, place.end_bytes() - at);
            for part in disk.status(rest, self.limit).await? {
                let end = part.extent.end_bytes().min(place.end_bytes());
                let position = offset + (at - place.offset_bytes);
                let len = end.saturating_sub(at);
                if len == 0 {
                    return Ok(false);
                }
                if !self.add(position, len, here || part.allocated, part.zero) {
                    return Ok(false);
                }
                at = end;
            }
        }
        Ok(true)
    }
}

impl Image {
    /// At most `limit` parts from the start of a range.
    pub(super) async fn status(&self, extent: Extent, limit: usize) -> Result<Vec<Status>> {
        self.geometry().check(extent)?;
        let mut found = Found {
            parts: Vec::new(),
            limit: limit.max(1),
        };
        for (index, part) in self.parts(extent).enumerate() {
            breathe(index).await;
            // Only what is in the file can move while somebody looks.
            let more = if self.bat.payload(part.block)?.in_file() {
                let guard = self.locks.shared(part.block).await;
                let more = self.status_part(part, &mut found).await;
                guard.done();
                more
            } else {
                self.status_part(part, &mut found).await
            };
            if !more? {
                break;
            }
        }
        Ok(found.parts)
    }

    async fn status_part(&self, part: Part, found: &mut Found) -> Result<bool> {
        let entry = self.bat.payload(part.block)?;
        let offset = part.block * self.bat.block_bytes + part.within;
        match entry.state {
            State::Present => {
                let place = Extent::new(entry.offset + part.within, part.len);
                found.add_below(&*self.file, place, offset, true).await
            }
            State::NotPresent => self.status_parent(part, found).await,
            State::Undefined | State::Zero | State::Unmapped => {
                Ok(found.add(offset, part.len, false, true))
            }
            State::Partial => {
                let mut within = part.within;
                for (len, here) in self.runs(part.block, part.within, part.len).await? {
                    let run = Part {
                        within,
                        len,
                        ..part
                    };
                    let start = part.block * self.bat.block_bytes + within;
                    let more = if here {
                        found.add(start, len, true, false)
                    } else {
                        self.status_parent(run, found).await?
                    };
                    if !more {
                        return Ok(false);
                    }
                    within += len;
                }
                Ok(true)
            }
        }
    }

    async fn status_parent(&self, part: Part, found: &mut Found) -> Result<bool> {
        let offset = part.block * self.bat.block_bytes + part.within;
        let below = match &self.parent {
            Some(parent) => parent.disk.geometry().size_bytes.saturating_sub(offset),
            None => 0,
        };
        let below = below.min(part.len);
        if let Some(parent) = &self.parent
            && below > 0
            && !found
                .add_below(&*parent.disk, Extent::new(offset, below), offset, false)
                .await?
        {
            return Ok(false);
        }
        Ok(found.add(offset + below, part.len - below, false, true))
    }
}
