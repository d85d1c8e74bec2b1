//! Reference points of one disk: what the command line does to a closed disk and a server to an
//! open one. Both call [`Catalog::answer`]; a server hands requests and replies through its control
//! socket as they are.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::point::{Point, RefPoint};
use super::query::Changes;
use super::store::{Store, parse, render};
use super::tracker::Tracker;
use crate::disk::{Error, ErrorKind, Extent, Result};

pub use super::offline::map_file;

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
    /// What a point has allocated.
    Allocated {
        /// Name or id of the point.
        name: String,
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
    /// Makes a point of a dirty bitmap: known is what changed since.
    Bitmap {
        /// Of the point; unique among the points of the disk.
        name: String,
        /// What the bitmap calls dirty, as pairs of offset and length in bytes.
        extents: Vec<(u64, u64)>,
        /// How far it tells, in bytes; what is beyond counts as changed.
        size_bytes: u64,
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
    /// Changes, or what is allocated, as pairs of offset and length in bytes.
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

/// Most extents in a reply.
const MAX_EXTENTS: usize = 65_536;

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
    /// [`ErrorKind::NotFound`] for unknown names, [`ErrorKind::Unsupported`] for names that are
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
                let limit = limit.min(MAX_EXTENTS);
                let changes = self.changes(&since, until, offset_bytes, limit).await?;
                Ok(self.extents(&changes))
            }
            Request::Allocated {
                name,
                offset_bytes,
                limit,
            } => {
                let point = self.find(&name)?.point;
                let limit = limit.min(MAX_EXTENTS);
                let allocated = self.tracker.allocated(&point, offset_bytes, limit).await?;
                Ok(self.extents(&allocated))
            }
            Request::Export { names } => self.export(&names).map(Reply::Text),
            Request::Bitmap {
                name,
                mut extents,
                size_bytes,
            } => {
                let beyond = self.tracker.now().size_bytes.saturating_sub(size_bytes);
                extents.extend((beyond > 0).then_some((size_bytes, beyond)));
                self.bitmap(name, &extents).await.map(Reply::Point)
            }
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

    async fn bitmap(&self, name: String, dirty: &[(u64, u64)]) -> Result<Described> {
        self.store.borrow().check_free(&name)?;
        let dirty: Vec<Extent> = dirty
            .iter()
            .map(|&(at, len)| Extent::new(at, len))
            .collect();
        let point = self.tracker.import_bitmap(&dirty).await?;
        let mut point = RefPoint::new(name, point);
        point.imported = true;
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
    /// [`ErrorKind::NotFound`] when there is none.
    pub fn find(&self, name: &str) -> Result<RefPoint> {
        self.store.borrow().find(name).cloned()
    }

    /// As [`Tracker::changes`], by names, from a byte to the end of the disk.
    ///
    /// # Errors
    /// As [`Tracker::changes`], and when a name is unknown or of an imported point that is to be
    /// the later one.
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

    fn extents(&self, changes: &Changes) -> Reply {
        let pairs = changes
            .extents
            .iter()
            .map(|e| (e.offset_bytes, e.len_bytes));
        Reply::Changes {
            extents: pairs.collect(),
            next_bytes: changes.next_bytes,
            block_bytes: self.tracker.now().block_bytes,
        }
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn replies_come_back_from_a_control_socket() {
        let point = Point {
            disk_id: Uuid::from_u128(1),
            generation: Uuid::from_u128(2),
            session: Uuid::from_u128(3),
            epoch: 4,
            size_bytes: 5,
            block_bytes: 65536,
        };
        let point = Described {
            point: RefPoint::new("one", point),
            void: Some("why".into()),
        };
        let changes = Reply::Changes {
            extents: vec![(0, 5)],
            next_bytes: None,
            block_bytes: 65536,
        };
        let replies = [
            Reply::Point(point.clone()),
            Reply::Points(vec![point]),
            changes,
            Reply::Text("text".into()),
        ];
        for reply in replies {
            let text = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
        }
    }
}
