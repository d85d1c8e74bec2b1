//! A disk that remembers what it was asked for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::disk::{Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Status, Zeroes};
use crate::engine::Notify;
use crate::engine::{IoBuf, IoBufMut};

/// Remembers what it was asked for; huge, and empty.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) calls: RefCell<Vec<String>>,
    /// Reads wait until it is opened.
    pub(super) gate: Option<Rc<(Cell<bool>, Notify)>>,
    /// Smallest block, if it is not a byte.
    pub(super) block_bytes: Option<u32>,
}

impl Recorder {
    fn record(&self, call: String) -> Answer<'_, ()> {
        self.calls.borrow_mut().push(call);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Disk for Recorder {
    fn name(&self) -> String {
        "recorder".into()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: 1 << 50,
            min_block_bytes: self.block_bytes.unwrap_or(1),
            preferred_block_bytes: 65536,
            read_only: false,
        }
    }

    fn read(&self, _: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            if let Some(gate) = &self.gate {
                gate.1.when(|| gate.0.get()).await;
            }
            Ok(buf)
        })
    }

    fn write(&self, at: u64, data: IoBuf, how: Durability) -> Answer<'_, ()> {
        self.record(format!("write {at} {} {how:?}", data.len()))
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        let (at, len) = (extent.offset_bytes, extent.len_bytes);
        if how.fast_only {
            let error = Error::new(ErrorKind::Unsupported, "slow");
            return Box::pin(std::future::ready(Err(error)));
        }
        self.record(format!(
            "zero {at} {len} {:?} {}",
            how.durability, how.may_unmap
        ))
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.record(format!("trim {} {}", extent.offset_bytes, extent.len_bytes))
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.record("flush".into())
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        self.record(format!(
            "cache {} {}",
            extent.offset_bytes, extent.len_bytes
        ))
    }

    fn status(&self, extent: Extent, _: usize) -> Answer<'_, Vec<Status>> {
        let all = Status {
            extent,
            allocated: false,
            zero: true,
        };
        Box::pin(std::future::ready(Ok(vec![all])))
    }

    fn resize(&self, _: u64) -> Answer<'_, ()> {
        self.record("resize".into())
    }
}
