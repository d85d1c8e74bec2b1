//! What parts of the disk hold.

use super::image::Image;
use super::layout::Kind;
use crate::disk::{Extent, Result, Status};

impl Image {
    pub(super) async fn status(&self, extent: Extent, limit: usize) -> Result<Vec<Status>> {
        self.geometry().check(extent)?;
        let _ticket = self.requests.start();
        let mut parts: Vec<Status> = Vec::new();
        let (mut at, end) = (extent.offset_bytes, extent.end_bytes());
        while at < end {
            let (kind, run) = self.find(at, end - at).await?;
            for part in self.status_of(kind, Extent::new(at, run)).await? {
                let full = parts.len() >= limit.max(1);
                match parts.last_mut() {
                    Some(last) if last.allocated == part.allocated && last.zero == part.zero => {
                        last.extent.len_bytes += part.extent.len_bytes;
                    }
                    _ if full => return Ok(parts),
                    _ => parts.push(part),
                }
                at = part.extent.end_bytes();
            }
        }
        Ok(parts)
    }

    /// The parts of a run of one kind, the first of them at least.
    async fn status_of(&self, kind: Kind, extent: Extent) -> Result<Vec<Status>> {
        let part = |allocated, zero| {
            Ok(vec![Status {
                extent,
                allocated,
                zero,
            }])
        };
        match kind {
            Kind::Data { .. } | Kind::Compressed(_) => part(true, false),
            Kind::Zero => part(false, true),
            Kind::Backing => {
                let shown = self.backing_bytes().saturating_sub(extent.offset_bytes);
                let shown = shown.min(extent.len_bytes);
                match &self.backing {
                    Some(backing) if shown > 0 => {
                        let below = Extent::new(extent.offset_bytes, shown);
                        backing.status(below, 1024).await
                    }
                    _ => part(false, true),
                }
            }
        }
    }
}
