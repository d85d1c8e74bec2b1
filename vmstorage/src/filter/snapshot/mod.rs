//! Point-in-time images of a disk in use, by copying before a write.
//!
//! Taking an image is instant and costs nothing. From then on, the first change of a granule waits
//! until the old content is in the store; all images that need it share the one copy. An image
//! reads from the store what was copied, and from the disk what was not.
//!
//! Images live as long as their [`Snapshot`]; they do not survive the process. When one goes, the
//! copies that only it had are given back.

mod copy;
mod image;
mod pool;
mod table;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{IoBuf, IoBufMut};

use crate::engine::to_the_end;
use copy::Core;
use image::Image;
use pool::Pool;

/// The size of granules unless something else is asked for.
pub const GRANULE_BYTES: u64 = 64 << 10;

/// How snapshots of a disk are made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is copied at once, a power of two from 4 KiB to 16 MiB.
    pub granule_bytes: u64,
    /// How long a write may wait for a copy, for ever if not set; then the copy counts as failed.
    pub timeout: Option<Duration>,
}

/// What fails when old content cannot be copied, such as when the store is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The image, for good; the write goes on.
    #[default]
    FailSnapshot,
    /// The write; the image stays whole.
    FailWrite,
}

/// What the images of a disk cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Images that live.
    pub images: usize,
    /// Bytes that were copied since the filter began.
    pub copied_bytes: u64,
    /// Bytes that needed no copy because they were zero.
    pub zero_bytes: u64,
    /// Bytes of the store in use.
    pub store_bytes: u64,
}

/// A disk of which images can be taken.
#[derive(Debug)]
pub struct Snapshots {
    core: Rc<Core>,
}

/// An image and its life: dropping it ends the image, also for those who have it open.
#[derive(Debug)]
pub struct Snapshot {
    core: Rc<Core>,
    image: Rc<Image>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            granule_bytes: GRANULE_BYTES,
            timeout: None,
        }
    }
}

impl Snapshots {
    /// `base`, of which images can be taken once there is a store.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a granule that is not allowed.
    pub fn new(base: Rc<dyn Disk>, options: Options) -> Result<Self> {
        let granule = options.granule_bytes;
        if !granule.is_power_of_two() || !(4 << 10..=16 << 20).contains(&granule) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("`{granule}` is no power of two from 4 KiB to 16 MiB"),
            ));
        }
        Ok(Self {
            core: Rc::new(Core::new(base, options)),
        })
    }

    /// Where old content goes: a disk of any size, whose content is overwritten and which grows to
    /// at most `max_bytes`. Not while there are images.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] while there are images.
    pub fn set_store(&self, store: Rc<dyn Disk>, max_bytes: u64) -> Result<()> {
        if !self.core.images.borrow().is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the store is in use by a snapshot",
            ));
        }
        let pool = Pool::new(store, self.core.options.granule_bytes, max_bytes);
        *self.core.pool.borrow_mut() = Some(Rc::new(pool));
        Ok(())
    }

    /// There is a store.
    pub fn has_store(&self) -> bool {
        self.core.pool.borrow().is_some()
    }

    /// An image of now: of the moment at which no change is under way here. For a moment that
    /// several disks share, hold a [`super::gate::Gate`] above each.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without a store.
    pub async fn take(&self, on_error: OnError) -> Result<Snapshot> {
        let core = &self.core;
        let _held = core.gate.hold().await;
        let pool = core.pool.borrow().clone();
        let Some(pool) = pool else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a snapshot needs a store for old content",
            ));
        };
        let granule_bytes = core.options.granule_bytes;
        let (base, readers) = (Rc::clone(&core.base), Rc::clone(&core.readers));
        let image = Rc::new(Image::new(base, readers, pool, granule_bytes, on_error));
        core.images.borrow_mut().push(Rc::clone(&image));
        Ok(Snapshot {
            core: Rc::clone(core),
            image,
        })
    }

    /// What the images cost.
    pub fn numbers(&self) -> Numbers {
        self.core.numbers()
    }

    /// A change that waits until images have what it overwrites.
    fn change<C, F>(&self, extent: Extent, change: C) -> Answer<'_, ()>
    where
        C: FnOnce(Rc<dyn Disk>) -> F + 'static,
        F: Future<Output = Result<()>> + 'static,
    {
        let core = Rc::clone(&self.core);
        to_the_end(async move {
            let _pass = core.gate.enter().await;
            core.base.geometry().check_write(extent)?;
            core.save(extent).await?;
            change(Rc::clone(&core.base)).await
        })
    }
}

impl Snapshot {
    /// The disk as it was.
    pub fn image(&self) -> Rc<dyn Disk> {
        Rc::clone(&self.image) as Rc<dyn Disk>
    }

    /// Says that `extent` was read and is not needed again: its copies are let go, and writes to it
    /// need none. Reading it fails from now on.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`].
    pub fn forget(&self, extent: Extent) -> Result<()> {
        self.image.geometry().check(extent)?;
        self.image.forget(extent);
        Ok(())
    }

    /// Bytes of the store that it shows, some of them perhaps with other images.
    pub fn held_bytes(&self) -> u64 {
        self.image.held_bytes()
    }

    /// Why the image is lost, if it is.
    pub fn error(&self) -> Option<Error> {
        self.image.error()
    }

    /// Ends the image and gives its space back to the store.
    ///
    /// # Errors
    /// Of the store's discard; the image has ended all the same.
    pub async fn release(self) -> Result<()> {
        let pool = self.core.pool.borrow().clone();
        drop(self);
        match pool {
            Some(pool) => pool.trim().await,
            None => Ok(()),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.image
            .end(Error::new(ErrorKind::Shutdown, "the snapshot was deleted"));
        let mut images = self.core.images.borrow_mut();
        images.retain(|image| !Rc::ptr_eq(image, &self.image));
    }
}

impl Disk for Snapshots {
    fn name(&self) -> String {
        self.core.base.name()
    }

    fn geometry(&self) -> Geometry {
        self.core.base.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.core.base.read(offset_bytes, buf)
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        let extent = Extent::new(offset_bytes, data.len() as u64);
        self.change(extent, move |base| async move {
            base.write(offset_bytes, data, durability).await
        })
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        self.change(extent, move |base| async move {
            base.write_zeroes(extent, how).await
        })
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.change(
            extent,
            move |base| async move { base.discard(extent).await },
        )
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.core.base.flush()
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        self.core.base.cache(extent)
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        self.core.base.status(extent, limit)
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        let core = Rc::clone(&self.core);
        to_the_end(async move {
            let _held = core.gate.hold().await;
            let now = core.base.geometry().size_bytes;
            if size_bytes < now {
                core.save(Extent::new(size_bytes, now - size_bytes)).await?;
                core.readers.leave(size_bytes).await;
            }
            core.base.resize(size_bytes).await
        })
    }
}
