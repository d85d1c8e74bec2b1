//! Reference points of one disk: what the command line does to a closed disk and a server to an open
//! one. Both call [`Catalog::answer`]; a server hands requests and replies through its control
//! socket as they are.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::open::{Beginning, Options, open, peek};
use super::point::{Point, RefPoint};
use super::query::Changes;
use super::store::{Store, io, lock_map, parse, render};
use super::tracker::Tracker;
use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{self, IoBuf, IoBufMut};

/// What can be asked about reference points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refpoint", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Ends an epoch and names its end.
    Create {
        /// Unique among the points of the disk.
        name: String,
    },
    /// All points.
    List,
    /// One point.
    Show {
        /// Or its id.
        name: String,
    },
    /// Forgets a point.
    Delete {
        /// Or its id.
        name: String,
    },
    /// What changed.
    Changes {
        /// Name or id of the earlier point.
        since: String,
        /// Of the later one; now without it.
        until: Option<String>,
        /// Where to begin.
        offset_bytes: u64,
        /// Most extents to answer.
        limit: usize,
    },
    /// Points as text, to travel with the disk.
    Export {
        /// Those to export; all if there are none.
        names: Vec<String>,
    },
    /// Takes points from such a text.
    Import {
        /// What an export gave.
        text: String,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// One point: created, shown or deleted.
    Point(Described),
    /// Several: listed or imported.
    Points(Vec<Described>),
    /// Changes, as pairs of offset and length in bytes.
    Changes {
        /// In order.
        extents: Vec<(u64, u64)>,
        /// Where to ask for more.
        next_bytes: Option<u64>,
        /// Size of a tracked block.
        block_bytes: u32,
    },
    /// Text of an export.
    Text(String),
}

/// A point, and whether it can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The point.
    #[serde(flatten)]
    pub point: RefPoint,
    /// Why changes since it cannot be told; nothing when they can.
    pub void: Option<String>,
}

/// The reference points of a disk and the map that answers for them.
#[derive(Debug)]
pub struct Catalog {
    tracker: Tracker,
    store: RefCell<Store>,
}

/// Where the map of a disk is: beside it, `NAME.reeve-map`.
pub fn map_path(disk: &Path) -> PathBuf {
    beside(disk, ".reeve-map")
}

/// Where the points of a disk are: beside it, `NAME.reeve-points`.
pub fn store_path(disk: &Path) -> PathBuf {
    beside(disk, ".reeve-points")
}

fn beside(disk: &Path, suffix: &str) -> PathBuf {
    let mut path = disk.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

impl Catalog {
    /// The points in `store`, answered by `tracker`.
    pub fn new(tracker: Tracker, store: Store) -> Self {
        Self {
            tracker,
            store: RefCell::new(store),
        }
    }

    /// The tracker.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Does what is asked.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`] for unknown names, [`ErrorKind::Unsupported`] for names that are
    /// taken or cannot be any, [`ErrorKind::FullNeeded`] when changes cannot be told; and those of
    /// the files.
    pub async fn answer(&self, request: Request) -> Result<Reply> {
        match request {
            Request::Create { name } => self.create(name).await.map(Reply::Point),
            Request::List => {
                let store = self.store.borrow();
                let points = store.points().iter().map(|point| self.describe(point));
                Ok(Reply::Points(points.collect()))
            }
            Request::Show { name } => Ok(Reply::Point(
                self.describe(self.store.borrow().find(&name)?),
            )),
            Request::Delete { name } => {
                let gone = self.store.borrow_mut().remove(&name)?;
                Ok(Reply::Point(self.describe(&gone)))
            }
            Request::Changes {
                since,
                until,
                offset_bytes,
                limit,
            } => {
                let until = until.as_deref();
                let changes = self.changes(&since, until, offset_bytes, limit).await?;
                Ok(Reply::Changes {
                    extents: pairs(&changes.extents),
                    next_bytes: changes.next_bytes,
                    block_bytes: self.tracker.now().block_bytes,
                })
            }
            Request::Export { names } => self.export(&names).map(Reply::Text),
            Request::Import { text } => self.import(&text).map(Reply::Points),
        }
    }

    async fn create(&self, name: String) -> Result<Described> {
        self.store.borrow().check_free(&name)?;
        let point = self.tracker.checkpoint().await?;
        let point = RefPoint::new(name, point);
        self.store.borrow_mut().add(vec![point.clone()])?;
        Ok(self.describe(&point))
    }

    /// Names a point that was made otherwise, by a snapshot or an import for instance.
    ///
    /// # Errors
    /// When the name is taken, or the store cannot be written.
    pub fn add(&self, point: RefPoint) -> Result<()> {
        self.store.borrow_mut().add(vec![point])
    }

    /// The point of this name or id.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`] when there is none.
    pub fn find(&self, name: &str) -> Result<RefPoint> {
        self.store.borrow().find(name).cloned()
    }

    /// As [`Tracker::changes`], by names, from a byte to the end of the disk.
    ///
    /// # Errors
    /// As [`Tracker::changes`], and when a name is unknown or of an imported point that is to be the
    /// later one.
    pub async fn changes(
        &self,
        since: &str,
        until: Option<&str>,
        offset_bytes: u64,
        limit: usize,
    ) -> Result<Changes> {
        let since = self.find(since)?.point;
        let until = match until {
            Some(name) => Some(later(self.find(name)?)?),
            None => None,
        };
        let rest = Extent::new(offset_bytes, u64::MAX - offset_bytes);
        self.tracker
            .changes(&since, until.as_ref(), rest, limit)
            .await
    }

    fn export(&self, names: &[String]) -> Result<String> {
        let store = self.store.borrow();
        let points = if names.is_empty() {
            store.points().to_vec()
        } else {
            let named = names.iter().map(|name| store.find(name).cloned());
            named.collect::<Result<_>>()?
        };
        Ok(String::from_utf8_lossy(&render(&points)?).into_owned())
    }

    /// Takes the points that this disk can answer for; if it cannot for one, it takes none.
    fn import(&self, text: &str) -> Result<Vec<Described>> {
        let points = parse(text.as_bytes())?;
        let known = self.store.borrow().points().to_vec();
        let new: Vec<RefPoint> = points.into_iter().filter(|p| !known.contains(p)).collect();
        for point in &new {
            let checked = self.tracker.check(&point.point);
            checked.map_err(|error| error.context(format!("point `{}`", point.name)))?;
        }
        self.store.borrow_mut().add(new.clone())?;
        Ok(new.iter().map(|point| self.describe(point)).collect())
    }

    fn describe(&self, point: &RefPoint) -> Described {
        Described {
            point: point.clone(),
            void: self
                .tracker
                .check(&point.point)
                .err()
                .map(|error| error.to_string()),
        }
    }
}

fn later(point: RefPoint) -> Result<Point> {
    if point.imported {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "`{}` came from a dirty bitmap: changes until it are not known, only since it",
                point.name
            ),
        ));
    }
    Ok(point.point)
}

fn pairs(extents: &[Extent]) -> Vec<(u64, u64)> {
    let pairs = extents.iter().map(|e| (e.offset_bytes, e.len_bytes));
    pairs.collect()
}

/// Opens the map of a disk that nobody serves, does what is asked, and closes it again.
///
/// # Errors
/// As [`Catalog::answer`]; when the map is missing or in use ([`lock_map`]); when the disk was
/// changed untracked.
pub async fn answer_offline(disk: &Path, request: Request) -> Result<Reply> {
    let path = map_path(disk);
    let map_file = OpenOptions::new().read(true).write(true).open(&path);
    let map_file = map_file.map_err(|error| io("open", &path, error))?;
    lock_map(&map_file, &path)?;
    let disk_file = File::open(disk).map_err(|error| io("open", disk, error))?;
    let look = || Fingerprint::of_file(&disk_file);
    let map: Rc<dyn Disk> = Rc::new(MapFile::new(map_file, &path)?);
    let writes = matches!(request, Request::Create { .. });
    let closed = Rc::new(ClosedDisk {
        size_bytes: peek(&*map).await?.size_bytes,
    });
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    // First without a change: whether the map fits is to be said before anything is begun anew.
    let (mut tracker, _) = open(closed.clone(), map.clone(), &look()?, &options).await?;
    if writes {
        let options = Options::default();
        let opened = open(closed, map, &look()?, &options).await?;
        if let Beginning::Fresh { reason } = opened.1 {
            return Err(super::inner::full_needed(&reason));
        }
        tracker = opened.0;
    }
    let catalog = Catalog::new(tracker, Store::load(store_path(disk))?);
    let reply = catalog.answer(request).await;
    if writes {
        catalog.tracker.close(async || look()).await?;
    }
    reply
}

/// The map of a disk as a file: a disk to the tracker.
#[derive(Debug)]
pub struct MapFile {
    file: engine::File,
    path: PathBuf,
}

impl MapFile {
    /// Takes an open file.
    ///
    /// # Errors
    /// When it is no regular file.
    pub fn new(file: File, path: &Path) -> Result<Self> {
        let meta = file.metadata().map_err(|error| io("fstat", path, error))?;
        if !meta.is_file() {
            let message = format!("`{}` is no regular file", path.display());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(Self {
            file: engine::File::new(file),
            path: path.to_owned(),
        })
    }

    fn size(&self) -> u64 {
        self.file.as_std().metadata().map_or(0, |meta| meta.len())
    }
}

impl Disk for MapFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size(),
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: false,
        }
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(async move {
            let len = buf.len();
            let read = self.file.read_at(offset_bytes, buf).await;
            let read = read.map_err(|error| io("pread", &self.path, error))?;
            if read.len() < len {
                let message = format!("`{}` ends within a page", self.path.display());
                return Err(Error::new(ErrorKind::OutOfRange, message));
            }
            Ok(read)
        })
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        Box::pin(async move {
            let written = self.file.write_at(offset_bytes, data).await;
            written.map_err(|error| io("pwrite", &self.path, error))?;
            match durability {
                Durability::Volatile => Ok(()),
                Durability::Durable => self.flush().await,
            }
        })
    }

    fn write_zeroes(&self, _: Extent, _: Zeroes) -> Answer<'_, ()> {
        refuse("a map's file is written in pages")
    }

    fn discard(&self, _: Extent) -> Answer<'_, ()> {
        refuse("a map's file is written in pages")
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let synced = self.file.sync_data().await;
            synced.map_err(|error| io("fdatasync", &self.path, error))
        })
    }

    fn status(&self, extent: Extent, _: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(std::future::ready(Ok(vec![whole(extent)])))
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let file = self.file.clone();
            let resized = engine::unblock(move || file.as_std().set_len(size_bytes)).await;
            resized.map_err(|error| io("ftruncate", &self.path, error))
        })
    }
}

/// A disk that is not open: it has a size and no content.
#[derive(Debug)]
pub(super) struct ClosedDisk {
    pub(super) size_bytes: u64,
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
        Box::pin(std::future::ready(Ok(())))
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
