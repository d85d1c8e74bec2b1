//! VHDX images: fixed, dynamic and differencing ([MS-VHDX], revision 8).
//!
//! [`Vhdx`] is a [`Disk`] over the disk that holds the file. All of the BAT is in memory (8 bytes
//! for a block), so a request to a block that is in the file goes straight to its place. Changes of
//! the BAT and of sector bitmaps become durable with the next flush, always through the log; what
//! that promises after a power loss is said in `commit`. Files are not trusted: whatever points out
//! of the file, into metadata or to the same place twice is an error at opening.
//!
//! In reading order: `layout`, `header`, `regions`, `metadata`, `locator`, `bat` (the
//! format), `space`, `lock`, `image` (what is open), `read`, `write`, `zero`, `status`
//! (requests),
//! `bitmap`, `commit`, `log` (how changes become durable), `resize`, `create`,
//! `chain`.

mod bat;
mod bitmap;
mod chain;
mod commit;
mod create;
mod header;
mod image;
mod layout;
mod locator;
mod lock;
mod log;
mod metadata;
mod read;
mod regions;
mod resize;
mod space;
mod status;
mod write;
mod zero;

#[cfg(test)]
mod tests;

use std::rc::Rc;

pub use chain::open_chain;
pub use create::{CreateOptions, Kind};
pub use locator::Locator;
use uuid::Uuid;

use super::{Answer, Disk, Durability, Extent, Geometry, Result, Status, Zeroes};
use crate::engine::{IoBuf, IoBufMut};
use header::Header;
use image::Image;
use metadata::Metadata;

/// An open VHDX image.
#[derive(Debug)]
pub struct Vhdx {
    image: Rc<Image>,
}

/// How an image is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Nothing is written; a log is replayed in memory.
    pub read_only: bool,
    /// What a differencing disk stands on. Others need none.
    pub parent: Option<Parent>,
}

/// A disk that a differencing one stands on.
#[derive(Debug, Clone)]
pub struct Parent {
    /// The disk. Nobody may write it.
    pub disk: Rc<dyn Disk>,
    /// What its header says of its content.
    pub data_write_guid: Uuid,
}

/// What an image says of itself.
#[derive(Debug, Clone)]
pub struct Info {
    /// Size of the disk.
    pub size_bytes: u64,
    /// Size of a block.
    pub block_bytes: u64,
    /// Sector size that a guest sees.
    pub logical_sector_bytes: u32,
    /// Sector size that a guest is told to align to.
    pub physical_sector_bytes: u32,
    /// All blocks have space of their own.
    pub fixed: bool,
    /// Where the parent is, of a differencing disk.
    pub parent: Option<Locator>,
    /// Identifies the disk.
    pub disk_id: Uuid,
    /// Identifies its content as of the last opening that changed it.
    pub data_write_guid: Uuid,
}

impl Vhdx {
    /// Makes an image of `file`, whose content is lost.
    ///
    /// # Errors
    /// [`super::ErrorKind::Unsupported`] for options that the format does not allow; those
    /// of `file`.
    pub async fn create(file: &dyn Disk, options: &CreateOptions) -> Result<()> {
        create::create(file, options).await
    }

    /// What an image says of itself, without opening it.
    ///
    /// # Errors
    /// As [`Vhdx::open`]; a missing parent is none.
    pub async fn peek(file: Rc<dyn Disk>) -> Result<Info> {
        image::peek(file).await
    }

    /// Opens an image.
    ///
    /// # Errors
    /// [`super::ErrorKind::Corrupt`] with the offset of what is wrong,
    /// [`super::ErrorKind::Unsupported`] for what is not known; those of `file`.
    pub async fn open(file: Rc<dyn Disk>, options: OpenOptions) -> Result<Self> {
        let name = file.name();
        let image = Image::open(file, options).await;
        let image = image.map_err(|error| error.context(format!("vhdx image `{name}`")))?;
        Ok(Self {
            image: Rc::new(image),
        })
    }

    /// Makes everything durable and empties the log, so that programs which only read find nothing
    /// to replay. An image that is not closed is whole too.
    ///
    /// # Errors
    /// Those of the file.
    pub async fn close(&self) -> Result<()> {
        self.image.close().await
    }

    /// What the image says of itself.
    pub fn info(&self) -> Info {
        self.image.info()
    }

    /// The image as the parent of a differencing one.
    pub fn into_parent(self) -> Parent {
        Parent {
            data_write_guid: self.info().data_write_guid,
            disk: Rc::new(self),
        }
    }
}

impl Info {
    fn of(metadata: &Metadata, header: &Header) -> Self {
        Self {
            size_bytes: metadata.disk_bytes,
            block_bytes: metadata.block_bytes,
            logical_sector_bytes: metadata.logical_bytes,
            physical_sector_bytes: metadata.physical_bytes,
            fixed: metadata.leave_allocated,
            parent: metadata.locator.clone(),
            disk_id: metadata.disk_id,
            data_write_guid: header.data_write,
        }
    }
}

impl Disk for Vhdx {
    fn name(&self) -> String {
        format!("vhdx over {}", self.image.file.name())
    }

    fn geometry(&self) -> Geometry {
        self.image.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(self.image.read(offset_bytes, buf))
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        Box::pin(self.image.write(offset_bytes, data, durability))
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(self.image.write_zeroes(extent, how))
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(self.image.discard(extent))
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(self.image.flush())
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(self.image.cache(extent))
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(self.image.status(extent, limit))
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(self.image.resize(size_bytes))
    }
}
