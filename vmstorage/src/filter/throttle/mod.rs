//! Limits of requests and bytes a second, as QEMU's throttle groups have them: for all requests,
//! reads and writes, with bursts, shared by several disks that take turns, and changed while they
//! run.
//!
//! A request is let through when the ones before it have been paid for, whatever it costs itself,
//! so a request that is larger than a second's worth waits no longer than others. Flushes never
//! wait.

mod bucket;
mod group;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

pub use bucket::{Limits, Rate, Rates};
pub use group::{Alarm, Clock, Group};

use crate::disk::{Answer, Disk, Durability, Extent, Geometry, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut};
use bucket::Direction;

/// A disk whose requests wait for their turn.
#[derive(Debug)]
pub struct Throttle {
    disk: Rc<dyn Disk>,
    group: Arc<Group>,
    /// Its number in the group.
    id: u64,
}

impl Throttle {
    /// Puts a disk into a group.
    pub fn new(disk: Rc<dyn Disk>, group: Arc<Group>) -> Self {
        Self {
            id: group.join(),
            disk,
            group,
        }
    }

    /// The group, to change its limits.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    async fn pass(&self, direction: Direction, bytes: u64) {
        self.group.pass(self.id, direction, bytes).await;
    }
}

impl Disk for Throttle {
    fn name(&self) -> String {
        self.disk.name()
    }

    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            self.pass(Direction::Read, buf.len() as u64).await;
            self.disk.read(offset_bytes, buf).await
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            self.pass(Direction::Write, data.len() as u64).await;
            self.disk.write(offset_bytes, data, durability).await
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(async move {
            self.pass(Direction::Write, extent.len_bytes).await;
            self.disk.write_zeroes(extent, how).await
        })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            self.pass(Direction::Write, extent.len_bytes).await;
            self.disk.discard(extent).await
        })
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.disk.flush()
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            self.pass(Direction::Read, extent.len_bytes).await;
            self.disk.cache(extent).await
        })
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.disk.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        self.disk.resize(size_bytes)
    }
}
