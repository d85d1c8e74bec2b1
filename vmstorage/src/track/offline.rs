//! Reference points of a disk that nobody serves.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::catalog::{Catalog, Reply, Request, map_path, store_path};
use super::fingerprint::Fingerprint;
use super::open::{Options, inspect, open};
use super::store::{Store, io, lock_map};
use crate::disk::file::FileDisk;
use crate::disk::open::{Format, Source, open as open_disk};
use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{self, IoBuf, IoBufMut};

/// A disk and its map as files.
#[derive(Debug, Clone)]
pub struct Offline {
    /// The disk.
    pub disk: PathBuf,
    /// Its map, if that is not beside it.
    pub map: Option<PathBuf>,
    /// Its format, if its name does not say it.
    pub format: Option<Format>,
}

impl Offline {
    fn paths(&self) -> (PathBuf, PathBuf) {
        match &self.map {
            None => (map_path(&self.disk), store_path(&self.disk)),
            Some(map) => {
                let mut points = map.clone().into_os_string();
                points.push(".points");
                (map.clone(), points.into())
            }
        }
    }

    /// Whether the disk was tracked ever.
    pub fn has_map(&self) -> bool {
        // What cannot be looked at is asked, which says why.
        self.paths().0.try_exists().unwrap_or(true)
    }

    /// Does what is asked, and leaves all files closed. A new point begins a map if there is none.
    ///
    /// # Errors
    /// As [`Catalog::answer`]; when the map is missing or in use ([`lock_map`]), or the disk is.
    pub async fn answer(&self, request: Request) -> Result<Reply> {
        let (map_path, store_path) = self.paths();
        let marks = matches!(request, Request::Create { .. } | Request::Bitmap { .. });
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(marks)
            .truncate(false)
            .open(&map_path);
        let file = file.map_err(|error| not_tracked(&map_path, error))?;
        let file = lock_map(file, &map_path).await?;
        let map: Rc<dyn Disk> = Rc::new(map_file(file, &map_path)?);
        let store = Store::load(store_path)?;
        if marks {
            return self.mark(map, store, request).await;
        }
        let disk = File::open(&self.disk).map_err(|error| io("open", &self.disk, error))?;
        let mark = crate::disk::qcow2::tracking_mark(&disk)?;
        let look = Fingerprint::of_file(&disk)?.with_mark(mark.as_deref());
        let tracker = inspect(map, &look).await?;
        Catalog::new(tracker, store).answer(request).await
    }

    /// Makes a point.
    async fn mark(&self, map: Rc<dyn Disk>, store: Store, request: Request) -> Result<Reply> {
        let how = crate::disk::open::Options {
            format: self.format,
            read_only: true,
            ..Default::default()
        };
        let opened = open_disk(&Source::File(self.disk.clone()), how).await?;
        let file = File::open(&self.disk).map_err(|error| io("open", &self.disk, error))?;
        let closed = Rc::new(ClosedDisk {
            size_bytes: opened.disk.geometry().size_bytes,
            file: Some(Arc::new(file)),
        });
        let look = opened.fingerprint.clone();
        let (tracker, _) = open(closed, map, &look, &Options::default()).await?;
        let catalog = Catalog::new(tracker, store);
        let reply = catalog.answer(request).await;
        // Closed also if the point could not be made: the disk did not change meanwhile.
        let closed = catalog.tracker().close(async || Ok(look)).await;
        opened.close().await?;
        let reply = reply?;
        closed.map(|()| reply)
    }
}

fn not_tracked(map: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::new(
            ErrorKind::Unsupported,
            format!(
                "the disk is not tracked: there is no map `{}`\nhelp: `vmstorage refpoint create` \
                 and `vmstorage serve --track` begin one",
                map.display()
            ),
        );
    }
    io("open", map, error)
}

/// The open file of a map, as a disk to the tracker. It keeps to that no lost write is forgotten.
///
/// # Errors
/// When it is no regular file.
pub fn map_file(file: File, path: &Path) -> Result<FileDisk> {
    let meta = file.metadata().map_err(|error| io("fstat", path, error))?;
    if !meta.is_file() {
        let message = format!("`{}` is no regular file", path.display());
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    FileDisk::from_file(file, path)
}

/// A disk that is not open: it has a size and no content.
#[derive(Debug)]
pub(super) struct ClosedDisk {
    pub(super) size_bytes: u64,
    /// Its file, where a flush is to mean something.
    pub(super) file: Option<Arc<File>>,
}

impl Disk for ClosedDisk {
    fn name(&self) -> String {
        "a closed disk".into()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size_bytes,
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: true,
        }
    }

    fn read(&self, _: u64, _: IoBufMut) -> Answer<'_, IoBufMut> {
        refuse("the disk is not open")
    }

    fn write(&self, _: u64, _: IoBuf, _: Durability) -> Answer<'_, ()> {
        refuse("the disk is not open")
    }

    fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
        refuse("the disk is not open")
    }

    fn discard(&self, _: Extent) -> Answer<'_, ()> {
        refuse("the disk is not open")
    }

    fn flush(&self) -> Answer<'_, ()> {
        let file = self.file.clone();
        Box::pin(async move {
            let Some(file) = file else { return Ok(()) };
            // Who wrote it may have been killed, with all in the page cache only.
            let synced = engine::unblock(move || file.sync_data()).await;
            synced.map_err(|error| Error::io("fdatasync of the disk", error))
        })
    }

    fn status(&self, extent: Extent, _: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(std::future::ready(Ok(vec![whole(extent)])))
    }

    fn resize(&self, _: u64) -> Answer<'_, ()> {
        refuse("the disk is not open")
    }
}

fn whole(extent: Extent) -> Status {
    Status {
        extent,
        allocated: true,
        zero: false,
    }
}

fn refuse<T: 'static>(message: &'static str) -> Answer<'static, T> {
    Box::pin(std::future::ready(Err(Error::new(
        ErrorKind::Unsupported,
        message,
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_disk_is_made_durable_before_a_point_of_it_is() {
        let flush = |file: File| {
            let disk = ClosedDisk {
                size_bytes: 0,
                file: Some(Arc::new(file)),
            };
            engine::run(async move { disk.flush().await }).unwrap()
        };
        flush(tempfile::tempfile().unwrap()).unwrap();
        // Which cannot be made durable, and says so only if it is asked.
        let (pipe, _other) = std::io::pipe().unwrap();
        let error = flush(File::from(std::os::fd::OwnedFd::from(pipe))).unwrap_err();
        assert!(error.to_string().contains("fdatasync"), "{error}");
    }
}
