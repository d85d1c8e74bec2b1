//! Which parts of a file have storage, as `SEEK_DATA` and `SEEK_HOLE` tell, and reading ahead.

use std::fs;
use std::num::NonZeroU64;

use rustix::fs::{Advice, SeekFrom, seek};
use rustix::io::Errno;

use super::Inner;
use crate::disk::{Error, Extent, Result, Status};
use crate::engine::unblock;

impl Inner {
    pub(super) async fn status(&self, extent: Extent, limit: usize) -> Result<Vec<Status>> {
        if self.is_device || extent.len_bytes == 0 {
            return Ok(vec![data(extent.offset_bytes, extent.end_bytes())]);
        }
        let file = self.file.clone();
        let found = unblock(move || scan(file.as_std(), extent, limit.max(1))).await;
        found.map_err(|error| {
            let at = extent.offset_bytes;
            Error::io(
                format!("lseek(SEEK_DATA, {at}) of {}", self.name),
                error.into(),
            )
        })
    }

    /// Has the page cache filled; where it is not used there is nothing to do.
    pub(super) async fn read_ahead(&self, extent: Extent) {
        if self.direct {
            return;
        }
        let file = self.file.clone();
        let (start, len) = (extent.offset_bytes, NonZeroU64::new(extent.len_bytes));
        if len.is_some() {
            // A hint: where it is not taken, reading is as it was.
            let _ =
                unblock(move || rustix::fs::fadvise(file.as_std(), start, len, Advice::WillNeed))
                    .await;
        }
    }
}

fn scan(file: &fs::File, extent: Extent, limit: usize) -> rustix::io::Result<Vec<Status>> {
    let end = extent.end_bytes();
    let mut at = extent.offset_bytes;
    let mut found = Vec::new();
    while at < end && found.len() < limit {
        let first_data = match seek(file, SeekFrom::Data(at)) {
            Ok(first) => first.clamp(at, end),
            Err(Errno::NXIO) => end,
            // The file system does not tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                found.push(data(at, end));
                break;
            }
            Err(error) => return Err(error),
        };
        if first_data > at {
            found.push(hole(at, first_data));
            at = first_data;
            continue;
        }
        let stop = match seek(file, SeekFrom::Hole(at)) {
            Ok(hole) if hole > at => hole.min(end),
            // It was truncated or punched at this moment.
            Ok(_) | Err(Errno::NXIO) => end,
            Err(error) => return Err(error),
        };
        found.push(data(at, stop));
        at = stop;
    }
    Ok(found)
}

fn data(start: u64, end: u64) -> Status {
    Status {
        extent: Extent::new(start, end - start),
        allocated: true,
        zero: false,
    }
}

fn hole(start: u64, end: u64) -> Status {
    Status {
        extent: Extent::new(start, end - start),
        allocated: false,
        zero: true,
    }
}
