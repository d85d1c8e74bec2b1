//! What an open image consists of, and how it is opened.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use uuid::Uuid;

use super::bat::Bat;
use super::bitmap::Bitmaps;
use super::commit::LogState;
use super::header::{Header, Headers};
use super::layout::{self, HEADER_SECTION_BYTES, MAX_FILE_BYTES, MIB, Region, SIGNATURE};
use super::lock::{COMMIT, Locks};
use super::log::{self, Overlay};
use super::metadata::Metadata;
use super::regions;
use super::space::Space;
use super::{Info, OpenOptions, Parent};
use crate::disk::{Disk, Error, ErrorKind, Geometry, Result};
use crate::engine::to_the_end;

/// An open image. Tasks that must end share it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) file: Rc<dyn Disk>,
    pub(super) metadata: Metadata,
    /// The disk's size now.
    pub(super) size: Cell<u64>,
    pub(super) read_only: bool,
    pub(super) parent: Option<Parent>,
    pub(super) bat: Bat,
    pub(super) bitmaps: Bitmaps,
    pub(super) space: Space,
    pub(super) locks: Locks,
    pub(super) headers: RefCell<Headers>,
    /// What the headers call this opening.
    session: Uuid,
    begun: Cell<bool>,
    /// Pages of the file that differ from what the log has.
    pub(super) dirty: RefCell<BTreeSet<u64>>,
    /// Space of blocks whose entries no longer point to it, once those entries are durable.
    pub(super) freed: RefCell<Vec<Region>>,
    /// Data must be durable before the entries that point to it.
    pub(super) barrier: Cell<bool>,
    pub(super) committing: Cell<bool>,
    pub(super) log: LogState,
    /// Why nothing may be changed any more.
    pub(super) broken: RefCell<Option<Error>>,
}

/// What stands in a file before its blocks do.
struct Parts {
    file: Rc<dyn Disk>,
    headers: Headers,
}

/// What is known of an image without opening its blocks.
pub(super) async fn peek(file: Rc<dyn Disk>) -> Result<Info> {
    let parts = Parts::load(file, true, Uuid::nil()).await?;
    let (_, metadata) = parts.metadata().await?;
    Ok(Info::of(&metadata, &parts.headers.current))
}

impl Parts {
    /// Finds the headers and replays the log.
    async fn load(file: Rc<dyn Disk>, read_only: bool, session: Uuid) -> Result<Self> {
        let size = file.geometry().size_bytes;
        if size > MAX_FILE_BYTES {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the file has {size} bytes, more than 128 TiB"),
            ));
        }
        let signature = layout::read_at(&*file, "the signature", 0, SIGNATURE.len()).await?;
        if signature[..] != SIGNATURE[..] {
            return Err(Error::corrupt("the file does not begin with `vhdxfile`"));
        }
        let mut headers = Headers::load(&*file).await?;
        let Header {
            log, log_region, ..
        } = headers.current;
        if log.is_nil() {
            return Ok(Self { file, headers });
        }
        let replay = log::load(&*file, log_region, log).await?;
        if read_only {
            return Ok(Self {
                file: Rc::new(Overlay::new(file, replay)),
                headers,
            });
        }
        headers
            .update(&*file, |next| next.file_write = session)
            .await?;
        replay.apply(&*file).await?;
        headers
            .update(&*file, |next| next.log = Uuid::nil())
            .await?;
        Ok(Self { file, headers })
    }

    async fn metadata(&self) -> Result<(regions::Regions, Metadata)> {
        let regions = regions::load(&*self.file, self.headers.current.log_region).await?;
        let metadata = Metadata::load(&*self.file, regions.metadata).await?;
        Ok((regions, metadata))
    }
}

impl Image {
    pub(super) async fn open(file: Rc<dyn Disk>, options: OpenOptions) -> Result<Self> {
        let read_only = options.read_only || file.geometry().read_only;
        let session = Uuid::new_v4();
        let parts = Parts::load(file, read_only, session).await?;
        let (regions, metadata) = parts.metadata().await?;
        let log_region = parts.headers.current.log_region;
        if !(MIB..=log::MAX_LOG_BYTES).contains(&log_region.len) && !read_only {
            let what = format!(
                "the file has a log of {} bytes, not of 1 MiB to 64 MiB: open it for reading only",
                log_region.len
            );
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let parent = check_parent(&metadata, options.parent)?;
        let space = map(&parts.file, &regions)?;
        let bat = Bat::load(&*parts.file, regions.bat, &metadata, &space).await?;
        let durable_bytes = parts.file.geometry().size_bytes;
        Ok(Self {
            size: Cell::new(metadata.disk_bytes),
            bitmaps: Bitmaps::new(&metadata),
            log: LogState::new(log_region, durable_bytes),
            file: parts.file,
            headers: RefCell::new(parts.headers),
            metadata,
            read_only,
            parent,
            bat,
            space,
            locks: Locks::default(),
            session,
            begun: Cell::new(false),
            dirty: RefCell::default(),
            freed: RefCell::default(),
            barrier: Cell::new(false),
            committing: Cell::new(false),
            broken: RefCell::new(None),
        })
    }

    pub(super) fn info(&self) -> Info {
        let mut info = Info::of(&self.metadata, &self.headers.borrow().current);
        info.size_bytes = self.size.get();
        info
    }

    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size.get(),
            min_block_bytes: self.metadata.logical_bytes,
            preferred_block_bytes: self.metadata.physical_bytes.max(4096),
            read_only: self.read_only,
        }
    }

    /// Says in the headers, before the first change of this opening, that there are some.
    pub(super) async fn begin(self: &Rc<Self>) -> Result<()> {
        self.usable()?;
        if self.begun.get() {
            return Ok(());
        }
        let image = Rc::clone(self);
        to_the_end(async move {
            let _alone = image.locks.exclusive(COMMIT).await;
            if image.begun.get() {
                return Ok(());
            }
            let data_write = Uuid::new_v4();
            image
                .update_headers(|next| next.data_write = data_write)
                .await?;
            image.begun.set(true);
            Ok(())
        })
        .await
    }

    /// Changes both headers; the caller holds the commit lock.
    pub(super) async fn update_headers(&self, change: impl Fn(&mut Header)) -> Result<()> {
        let mut headers = self.headers.borrow().clone();
        let done = headers.update(&*self.file, |next| {
            next.file_write = self.session;
            change(next);
        });
        let done = done.await;
        *self.headers.borrow_mut() = headers;
        done
    }

    /// Refuses to change an image whose metadata could not be written.
    pub(super) fn usable(&self) -> Result<()> {
        match &*self.broken.borrow() {
            None => Ok(()),
            Some(error) => Err(error.clone().context(
                "the image takes no more changes until it is opened again, as its metadata could \
                 not be written",
            )),
        }
    }
}

fn check_parent(metadata: &Metadata, parent: Option<Parent>) -> Result<Option<Parent>> {
    let Some(locator) = &metadata.locator else {
        return Ok(None);
    };
    let path = locator
        .relative_path
        .as_ref()
        .or(locator.absolute_path.as_ref());
    let path = path.map_or("", String::as_str);
    let Some(parent) = parent else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the disk is differencing and needs its parent `{path}`"),
        ));
    };
    if !locator.accepts(parent.data_write_guid) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the parent `{path}` was changed since this disk was made: its `DataWriteGuid` is \
                 `{}`, not `{}`",
                parent.data_write_guid, locator.linkage
            ),
        ));
    }
    Ok(Some(parent))
}

/// The map of the file with all regions marked.
fn map(file: &Rc<dyn Disk>, regions: &regions::Regions) -> Result<Space> {
    let space = Space::new(file.geometry().size_bytes);
    let headers = Region {
        offset: 0,
        len: HEADER_SECTION_BYTES,
    };
    for region in std::iter::once(headers).chain(regions.all.iter().copied()) {
        if region.len > 0 && !space.claim(region) {
            return Err(Error::corrupt(format!(
                "the region at offset {:#x} with {} bytes overlaps another or ends beyond the file",
                region.offset, region.len
            )));
        }
    }
    Ok(space)
}
