//! Reads.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::image::Image;
use super::layout::{Compressed, Kind};
use crate::disk::{Extent, Result};
use crate::engine::IoBufMut;

/// Parts of one request that are read at the same time.
const AT_ONCE: usize = 16;

impl Image {
    pub(super) async fn read(&self, offset: u64, buf: IoBufMut) -> Result<IoBufMut> {
        self.geometry()
            .check(Extent::new(offset, buf.len() as u64))?;
        if buf.is_empty() {
            return Ok(buf);
        }
        let _ticket = self.requests.start();
        self.read_parts(offset, buf).await
    }

    /// Reads what is within the disk; the caller has a ticket.
    pub(super) async fn read_parts(&self, offset: u64, mut buf: IoBufMut) -> Result<IoBufMut> {
        let len = buf.len() as u64;
        let (kind, run) = self.find(offset, len).await?;
        if run == len {
            return match kind {
                Kind::Data { host, .. } => self.file.read(host, buf).await,
                _ => self.read_part(kind, offset, buf).await,
            };
        }
        let mut parts = vec![(kind, offset, buf.split_to(run as usize))];
        let mut at = offset + run;
        while !buf.is_empty() {
            let (kind, run) = self.find(at, buf.len() as u64).await?;
            parts.push((kind, at, buf.split_to(run as usize)));
            at += run;
        }
        let parts: Vec<IoBufMut> = stream::iter(parts)
            .map(|(kind, at, buf)| self.read_part(kind, at, buf))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut parts = parts.into_iter();
        let Some(mut whole) = parts.next() else {
            return Ok(buf);
        };
        parts.for_each(|part| whole.unsplit(part));
        Ok(whole)
    }

    async fn read_part(&self, kind: Kind, offset: u64, mut buf: IoBufMut) -> Result<IoBufMut> {
        match kind {
            Kind::Data { host, .. } => self.file.read(host, buf).await,
            Kind::Backing => self.read_backing(offset, buf).await,
            Kind::Compressed(place) => self.read_compressed(place, offset, buf).await,
            Kind::Zero => {
                buf.fill(0);
                Ok(buf)
            }
        }
    }

    async fn read_backing(&self, offset: u64, mut buf: IoBufMut) -> Result<IoBufMut> {
        let len = buf.len() as u64;
        let shown = self.backing_bytes().saturating_sub(offset).min(len);
        let Some(backing) = self.backing.as_ref().filter(|_| shown > 0) else {
            buf.fill(0);
            return Ok(buf);
        };
        if shown == len {
            return backing.read(offset, buf).await;
        }
        let head = buf.split_to(shown as usize);
        buf.fill(0);
        let mut head = backing.read(offset, head).await?;
        head.unsplit(buf);
        Ok(head)
    }

    async fn read_compressed(
        &self,
        place: Compressed,
        offset: u64,
        mut buf: IoBufMut,
    ) -> Result<IoBufMut> {
        let at = self.layout.in_cluster(offset) as usize;
        let cluster = self.decompressed(place).await?;
        let len = buf.len();
        buf.copy_from_slice(&cluster[at..at + len]);
        Ok(buf)
    }
}
