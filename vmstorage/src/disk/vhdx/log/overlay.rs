//! A file as it will be once its log is replayed, for those who may not write it.

use std::rc::Rc;

use super::replay::Replay;
use crate::disk::vhdx::layout::{PAGE_BYTES, Region};
use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{IoBuf, IoBufMut};

/// A read-only view of a file with its log replayed in memory.
#[derive(Debug)]
pub(in crate::disk::vhdx) struct Overlay {
    image: Rc<dyn Disk>,
    replay: Replay,
}

impl Overlay {
    pub(in crate::disk::vhdx) fn new(image: Rc<dyn Disk>, replay: Replay) -> Self {
        Self { image, replay }
    }

    async fn fill(&self, offset: u64, mut buf: IoBufMut) -> Result<IoBufMut> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.geometry().check(extent)?;
        let size = self.image.geometry().size_bytes;
        let below = size.saturating_sub(offset).min(extent.len_bytes) as usize;
        let mut rest = buf;
        let mut head = rest.split_to(below);
        rest.fill(0);
        if below > 0 {
            head = self.image.read(offset, head).await?;
        }
        head.unsplit(rest);
        buf = head;
        for zero in &self.replay.zeroes {
            if let Some((at, len, _)) = common(extent, *zero) {
                buf[at..at + len].fill(0);
            }
        }
        let from = offset.saturating_sub(PAGE_BYTES as u64 - 1);
        for (&at, page) in self.replay.pages.range(from..extent.end_bytes()) {
            let place = Region {
                offset: at,
                len: page.len() as u64,
            };
            if let Some((at, len, within)) = common(extent, place) {
                buf[at..at + len].copy_from_slice(&page[within..within + len]);
            }
        }
        Ok(buf)
    }
}

/// What an extent and a region share: where in the extent, how long, where in the region.
fn common(extent: Extent, region: Region) -> Option<(usize, usize, usize)> {
    let start = extent.offset_bytes.max(region.offset);
    let end = extent.end_bytes().min(region.end());
    (start < end).then(|| {
        (
            (start - extent.offset_bytes) as usize,
            (end - start) as usize,
            (start - region.offset) as usize,
        )
    })
}

fn refused<T>() -> Result<T> {
    Err(Error::new(
        ErrorKind::ReadOnly,
        "the image is open for reading",
    ))
}

impl Disk for Overlay {
    fn name(&self) -> String {
        self.image.name()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.replay.len_bytes(),
            read_only: true,
            ..self.image.geometry()
        }
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(self.fill(offset_bytes, buf))
    }

    fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
        Box::pin(async { refused() })
    }

    fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
        Box::pin(async { refused() })
    }

    fn discard(&self, _: Extent) -> Answer<'_, ()> {
        Box::pin(async { refused() })
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn status(&self, extent: Extent, _: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async move {
            self.geometry().check(extent)?;
            Ok(vec![Status {
                extent,
                allocated: true,
                zero: false,
            }])
        })
    }

    fn resize(&self, _: u64) -> Answer<'_, ()> {
        Box::pin(async { refused() })
    }
}
