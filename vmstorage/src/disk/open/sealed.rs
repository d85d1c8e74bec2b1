//! A disk that is not to be changed, though it could be.

use std::rc::Rc;

use crate::disk::{Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut};

/// A disk without its changes.
#[derive(Debug)]
pub(super) struct Sealed(pub(super) Rc<dyn Disk>);

impl Disk for Sealed {
    fn name(&self) -> String {
        self.0.name()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            read_only: true,
            ..self.0.geometry()
        }
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.0.read(offset_bytes, buf)
    }

    fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
        refuse()
    }

    fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
        refuse()
    }

    fn discard(&self, _: Extent) -> Answer<'_, ()> {
        refuse()
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.0.flush()
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        self.0.cache(extent)
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.0.status(extent, limit)
    }

    fn resize(&self, _: u64) -> Answer<'_, ()> {
        refuse()
    }
}

fn refuse() -> Answer<'static, ()> {
    let error = Error::new(ErrorKind::ReadOnly, "the disk is open for reading only");
    Box::pin(std::future::ready(Err(error)))
}
