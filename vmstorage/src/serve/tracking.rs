//! Change tracking of a served disk: its map, its reference points, and what clients ask of them.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use super::config::{DiskConfig, Track};
use super::control::Failure;
use crate::disk::open::Opened;
use crate::disk::{Answer, Disk, Error, Extent};
use crate::engine::{Task, spawn};
use crate::nbd::proto::StatusExtent;
use crate::nbd::server::Context;
use crate::track::catalog::{Catalog, Reply, Request, map_file};
use crate::track::{self, Beginning, CHANGED, Changes, Point, RefPoint, Store, Tracker, lock_map};

/// How often the map is written back.
const TEND: Duration = Duration::from_secs(5);

/// The tracker of a disk.
#[derive(Debug)]
pub(super) struct Tracking {
    tracker: Tracker,
    catalog: Catalog,
    map: PathBuf,
    beginning: String,
    _tending: Task<()>,
}

/// What is told of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TrackingReport {
    map: String,
    /// Whether the map went on, was recovered after a crash, or was begun anew and why.
    beginning: String,
    now: Point,
    block_bytes: u32,
    memory_bytes: usize,
    refpoints: usize,
}

impl Tracking {
    /// Opens the map, or begins it, for a disk that looks as `opened` found it.
    pub(super) async fn open(
        below: Rc<dyn Disk>,
        track: &Track,
        config: &DiskConfig,
        opened: &Opened,
    ) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let call = || format!("open(`{}`)", track.map.display());
        let file = options
            .open(&track.map)
            .map_err(|error| Error::io(call(), error))?;
        let file = lock_map(file, &track.map).await?;
        let map = Rc::new(map_file(file, &track.map)?);
        let options = track::Options {
            block_bytes: track.block_bytes,
            ..track::Options::default()
        };
        let opening = track::open_marked(below, map, &opened.fingerprint, &options, opened.mark());
        let opening = opening.await;
        let doing = format!("open the map `{}`", track.map.display());
        let (tracker, beginning) = opening.map_err(|error| error.context(doing))?;
        let beginning = match beginning {
            Beginning::Continued => "continued".to_owned(),
            Beginning::Recovered { pages } => format!("recovered: {pages} pages count as changed"),
            Beginning::Fresh { reason } => {
                tracing::warn!(disk = config.name, reason, "change tracking begins anew");
                format!("fresh: {reason}")
            }
        };
        let tending = tracker.clone();
        Ok(Self {
            catalog: Catalog::new(tracker.clone(), Store::load(&track.points)?),
            map: track.map.clone(),
            beginning,
            _tending: spawn(async move { tending.tend(TEND).await }),
            tracker,
        })
    }

    /// The disk, with its changes tracked.
    pub(super) fn disk(&self) -> Rc<dyn Disk> {
        Rc::new(self.tracker.clone())
    }

    /// Writes the map back, so that little is left for the moment of a cut.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        Ok(self.tracker.settle().await?)
    }

    /// Ends an epoch; the caller holds the disk's changes.
    pub(super) async fn cut(&self) -> Result<Point, Failure> {
        Ok(self.tracker.hold().await.checkpoint().await?)
    }

    /// Names a point.
    pub(super) fn add(&self, name: &str, point: Point) -> Result<(), Failure> {
        Ok(self.catalog.add(RefPoint::new(name, point))?)
    }

    /// Does something with reference points.
    pub(super) async fn answer(&self, request: Request) -> Result<Reply, Failure> {
        Ok(self.catalog.answer(request).await?)
    }

    async fn points(&self) -> Vec<(RefPoint, bool)> {
        match self.catalog.answer(Request::List).await {
            Ok(Reply::Points(points)) => {
                let points = points.into_iter();
                points
                    .map(|known| (known.point, known.void.is_none()))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// NBD contexts for all reference points that can be answered: by name in both spellings, and
    /// by name and digest, which are never another point's. A checkpoint that ends with `until` is
    /// among them, so that its readers can tell which point they read.
    pub(super) async fn contexts(&self, until: Option<(&str, Point)>) -> Vec<Rc<dyn Context>> {
        let points = self.points().await;
        let until_point = until.map(|(_, point)| point);
        let earlier = |at: Point| until_point.is_none_or(|until| at.epoch <= until.epoch);
        let usable = points
            .iter()
            .filter(|(known, usable)| *usable && earlier(known.point))
            .map(|(known, _)| (known.name.as_str(), known.point));
        let mut named: Vec<(String, Point)> = Vec::new();
        for (name, point) in usable {
            named.push((format!("reeve:changes:{name}"), point));
            named.push((format!("qemu:dirty-bitmap:{name}"), point));
            named.push((by_digest(name, point), point));
        }
        if let Some((name, point)) = until {
            let itself = by_digest(name, point);
            if named.iter().all(|(known, _)| *known != itself) {
                named.push((itself, point));
            }
        }
        let context = |(name, since)| -> Rc<dyn Context> {
            Rc::new(ChangesContext {
                name,
                tracker: self.tracker.clone(),
                since,
                until: until_point,
            })
        };
        named.into_iter().map(context).collect()
    }

    pub(super) async fn report(&self) -> TrackingReport {
        let now = self.tracker.now();
        TrackingReport {
            map: self.map.display().to_string(),
            beginning: self.beginning.clone(),
            now,
            block_bytes: now.block_bytes,
            memory_bytes: self.tracker.memory_bytes(),
            refpoints: self.points().await.len(),
        }
    }

    /// Ends tracking. The image is closed in between, so that the map knows how it looks
    /// afterwards.
    pub(super) async fn close(&self, opened: &Opened) -> crate::disk::Result<()> {
        let look = async || {
            opened.close().await?;
            opened.look()
        };
        self.tracker.close(look).await
    }
}

/// What changed since a point, as a metadata context.
#[derive(Debug)]
struct ChangesContext {
    name: String,
    tracker: Tracker,
    since: Point,
    until: Option<Point>,
}

impl Context for ChangesContext {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<StatusExtent>> {
        Box::pin(async move {
            let until = self.until.as_ref();
            let changes = self
                .tracker
                .changes(&self.since, until, extent, limit.max(1))
                .await?;
            Ok(extents(&changes, extent, limit.max(1)))
        })
    }
}

/// Changes as neighbouring parts of `range`.
fn extents(changes: &Changes, range: Extent, limit: usize) -> Vec<StatusExtent> {
    let part = |len_bytes, status| StatusExtent { len_bytes, status };
    let mut parts = Vec::new();
    let mut at = range.offset_bytes;
    for changed in &changes.extents {
        if changed.offset_bytes > at {
            parts.push(part(changed.offset_bytes - at, 0));
        }
        parts.push(part(changed.len_bytes, u64::from(CHANGED)));
        at = changed.end_bytes();
    }
    let known_end = changes.next_bytes.unwrap_or(range.end_bytes());
    if known_end > at {
        parts.push(part(known_end - at, 0));
    }
    parts.truncate(limit);
    parts
}

fn by_digest(name: &str, point: Point) -> String {
    format!("reeve:changes:{name}/{}", point.digest())
}
