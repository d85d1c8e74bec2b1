//! qcow2 images, versions 2 and 3 (QEMU's `docs/interop/qcow2.txt`).
//!
//! [`Qcow2`] is a [`Disk`] over the disk that holds the file. A request to clusters that are in the
//! file, and the image's own, goes straight to its place; all else changes tables in memory, which
//! the next flush makes durable in an order that is said in [`commit`]. Reference counts are never
//! too low, so images with lazy reference counts need no repair after a power loss either.
//!
//! Files are not trusted: offsets, lengths and flags are checked before they are used, sizes of
//! tables are limited as in QEMU, and data is never written over tables.
//!
//! In reading order: [`layout`], [`header`] (the format), [`file`], [`cache`], [`refcount`],
//! [`blocks`], [`requests`], [`image`] (what is open), [`lookup`], [`read`], [`compress`],
//! [`write`], [`zero`], [`status`] (requests), [`commit`] (how changes become durable), [`resize`],
//! [`extend`], [`bitmap`], [`tracked`], [`snapshot`], [`check`], [`create`], [`chain`].

mod bitmap;
mod blocks;
mod cache;
mod chain;
mod check;
mod commit;
mod compress;
mod create;
mod extend;
mod file;
mod header;
mod image;
mod layout;
mod lookup;
mod mark;
mod read;
mod refcount;
mod requests;
mod resize;
mod snapshot;
mod status;
mod tracked;
mod write;
mod zero;

#[cfg(test)]
mod tests;

use std::rc::Rc;

pub use bitmap::Bitmap;
pub use chain::{Opener, open_chain};
pub use check::Check;
pub use create::{BackingName, CreateOptions, Preallocation};
pub use header::Compression;
pub use mark::tracking_mark;
pub use snapshot::Snapshot;

use super::{Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes};
use crate::engine::to_the_end;
use crate::engine::{IoBuf, IoBufMut};
use header::{BACKING_FORMAT, Header};
use image::Image;

/// The header extension that change tracking keeps its identity in ("Rtrk"). It is of our own
/// choosing; others keep it as one that they do not know.
pub const TRACKING_EXTENSION: u32 = 0x5274_726b;

/// An open qcow2 image.
#[derive(Debug)]
pub struct Qcow2 {
    image: Rc<Image>,
}

/// How an image is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Nothing is written.
    pub read_only: bool,
    /// What the image stands on. An image that names a backing file needs it; see
    /// [`Info::backing_file`].
    pub backing: Option<Rc<dyn Disk>>,
}

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Size of the disk.
    pub size_bytes: u64,
    /// 2 or 3.
    pub version: u32,
    /// Size of a cluster.
    pub cluster_bytes: u64,
    /// Width of a reference count.
    pub refcount_bits: u32,
    /// Clusters have subclusters.
    pub extended_l2: bool,
    /// How compressed clusters were compressed.
    pub compression: Compression,
    /// Reference counts may be written late.
    pub lazy_refcounts: bool,
    /// Reference counts may be wrong.
    pub dirty: bool,
    /// The image is marked corrupt.
    pub corrupt: bool,
    /// The backing file's name, as it is in the image.
    pub backing_file: Option<String>,
    /// The backing file's format, if it is said.
    pub backing_format: Option<String>,
}

impl Info {
    fn of(header: &Header) -> Self {
        let format = header.extension(BACKING_FORMAT);
        Self {
            size_bytes: header.size_bytes,
            version: header.version,
            cluster_bytes: 1 << header.cluster_bits,
            refcount_bits: 1 << header.refcount_order,
            extended_l2: header.layout().extended,
            compression: header.compression,
            lazy_refcounts: header.compatible & header::LAZY_REFCOUNTS != 0,
            dirty: header.incompatible & header::DIRTY != 0,
            corrupt: header.incompatible & header::CORRUPT != 0,
            backing_file: header.backing.clone(),
            backing_format: format.map(|name| String::from_utf8_lossy(name).into_owned()),
        }
    }
}

impl Qcow2 {
    /// Makes an image of `file`, whose content is lost.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for options that the format does not allow; those of `file`.
    pub async fn create(file: Rc<dyn Disk>, options: &CreateOptions) -> Result<()> {
        create::create(file, options).await
    }

    /// What an image says of itself, without opening it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] and [`ErrorKind::Unsupported`] as [`Qcow2::open`].
    pub async fn peek(file: Rc<dyn Disk>) -> Result<Info> {
        let name = file.name();
        let header = image::read_header(&file::ImageFile::new(file)).await;
        let (header, _) = header.map_err(|e| e.context(format!("qcow2 image `{name}`")))?;
        Ok(Info::of(&header))
    }

    /// Opens an image. Opened for writing, reference counts of one that is marked dirty are
    /// repaired (if nothing else is wrong), and features that the image says are to be cleared by
    /// others who write are cleared.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the offset of what is wrong, [`ErrorKind::Unsupported`] for what
    /// is not known, [`ErrorKind::ReadOnly`] for writing to an image that is marked corrupt; those
    /// of `file`.
    pub async fn open(file: Rc<dyn Disk>, options: OpenOptions) -> Result<Self> {
        let name = file.name();
        let image = to_the_end(Image::open(file, options, false)).await;
        let image = image.map_err(|error| error.context(format!("qcow2 image `{name}`")))?;
        Ok(Self { image })
    }

    /// Makes everything durable, gives back what is free, and stores the bitmaps that note writes.
    /// An image that is not closed is whole too, but may have lost space, and those bitmaps.
    ///
    /// # Errors
    /// Those of the file.
    pub async fn close(&self) -> Result<()> {
        if self.image.read_only {
            return Ok(());
        }
        let image = Rc::clone(&self.image);
        to_the_end(async move {
            image.finish_tracking().await?;
            image.settle().await
        })
        .await
    }

    /// What the image says of itself.
    pub fn info(&self) -> Info {
        Info::of(&self.image.header.borrow())
    }

    /// The internal snapshots. They keep their content; there is no going back to one.
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.image.snapshots
    }

    /// Compares the image's tables with each other, after making changes durable. Nobody should
    /// change the image at the same time.
    ///
    /// # Errors
    /// Those of the file; [`ErrorKind::Unsupported`] for a file with more than 2²⁸ clusters.
    pub async fn check(&self) -> Result<Check> {
        if !self.image.read_only {
            let image = Rc::clone(&self.image);
            to_the_end(async move { image.settle().await }).await?;
        }
        check::check(&self.image).await
    }

    /// The persistent dirty bitmaps; none if others wrote to the image without keeping them.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`]; those of the file.
    pub async fn bitmaps(&self) -> Result<Vec<Bitmap>> {
        self.image.bitmaps().await
    }

    /// The parts of the disk that a stored bitmap marks, in order and apart. Whether it can be
    /// trusted is said by [`Bitmap::in_use`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of that name; [`ErrorKind::Corrupt`].
    pub async fn bitmap_extents(&self, name: &str) -> Result<Vec<Extent>> {
        self.image.bitmap_extents(name).await
    }

    /// Stores a bitmap durably, in the place of one with that name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for version 2, a wrong name or granularity; those of the file.
    pub async fn set_bitmap(&self, bitmap: Bitmap, extents: Vec<Extent>) -> Result<()> {
        let image = Rc::clone(&self.image);
        to_the_end(async move { image.set_bitmap(&bitmap, &extents).await }).await
    }

    /// Takes a bitmap away.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of that name; those of the file.
    pub async fn remove_bitmap(&self, name: &str) -> Result<()> {
        let (image, name) = (Rc::clone(&self.image), name.to_owned());
        to_the_end(async move { image.remove_bitmap(&name).await }).await
    }

    /// What a header extension holds.
    pub fn header_extension(&self, id: u32) -> Option<Vec<u8>> {
        let header = self.image.header.borrow();
        header.extension(id).map(<[u8]>::to_vec)
    }

    /// Sets a header extension of our own, or takes it away; durably, and wholly or not at all
    /// (with clusters of 4 KiB and more).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an extension of the format's; [`ErrorKind::NoSpace`] when the
    /// first cluster is full; those of the file.
    pub async fn set_header_extension(&self, id: u32, data: Option<Vec<u8>>) -> Result<()> {
        self.image.extent_check(Extent::new(0, 0))?;
        if header::RESERVED.contains(&id) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the header extension {id:#x} belongs to the format"),
            ));
        }
        let image = Rc::clone(&self.image);
        to_the_end(async move {
            image
                .rewrite_header(|header| header.set_extension(id, data))
                .await
        })
        .await
    }
}

impl Disk for Qcow2 {
    fn name(&self) -> String {
        format!("qcow2 over {}", self.image.file.disk().name())
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

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(self.image.status(extent, limit))
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(self.image.resize(size_bytes))
    }
}
