//! Checkpoints: images of disks at an instant that they share.
//!
//! A round has four steps, each on all threads before the next begins: *prepare* (what can be
//! written before is written), *hold* (no change is under way, none begins), *cut* (trackers end
//! their epoch, images are taken), *release*. A round that takes too long, or fails on one disk, is
//! void on all. A hold ends by itself when the control plane does not come back.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::{Either, select};
use serde::Serialize;

use super::control::{Failure, Kind};
use super::host::Host;
use super::served::Served;
use crate::engine::{sleep, spawn};
use crate::filter::snapshot::Snapshot;
use crate::nbd::server::Export;
use crate::track::Point;

/// An image of a disk, and where the tracker was then.
#[derive(Debug)]
pub(super) struct Checkpoint {
    snapshot: RefCell<Option<Snapshot>>,
    pub(super) point: Option<Point>,
    round: u64,
    created: SystemTime,
    size_bytes: u64,
    exported: Cell<bool>,
}

/// What is told of a checkpoint.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CheckpointReport {
    disk: String,
    pub(super) name: String,
    size_bytes: u64,
    created_unix_ms: u64,
    /// Old content that is kept for it.
    held_bytes: u64,
    /// Name of its export.
    export: Option<String>,
    /// Why it cannot be read any more.
    error: Option<String>,
    /// Where the tracker was.
    point: Option<Point>,
}

impl Checkpoint {
    /// Lets its data go.
    pub(super) async fn release(&self) {
        let snapshot = self.snapshot.take();
        if let Some(snapshot) = snapshot
            && let Err(error) = snapshot.release().await
        {
            tracing::warn!(%error, "space of a checkpoint is not given back");
        }
    }

    fn report(&self, disk: &str, name: &str) -> CheckpointReport {
        let snapshot = self.snapshot.borrow();
        let error = snapshot.as_ref().and_then(Snapshot::error);
        let created = self.created.duration_since(UNIX_EPOCH).unwrap_or_default();
        CheckpointReport {
            disk: disk.to_owned(),
            name: name.to_owned(),
            size_bytes: self.size_bytes,
            created_unix_ms: u64::try_from(created.as_millis()).unwrap_or(u64::MAX),
            held_bytes: snapshot.as_ref().map_or(0, Snapshot::held_bytes),
            export: self.exported.get().then(|| export_name(disk, name)),
            error: error.map(|error| error.to_string()),
            point: self.point,
        }
    }
}

/// Under which name a checkpoint is exported.
fn export_name(disk: &str, name: &str) -> String {
    format!("{disk}@{name}")
}

impl Host {
    /// Writes what can be written before changes have to wait, and checks that the name is free.
    pub(super) async fn prepare(&self, disks: &[String], name: &str) -> Result<(), Failure> {
        for served in self.some(disks)? {
            if served.checkpoints.borrow().contains_key(name) {
                let disk = &served.config.name;
                let why = format!("disk `{disk}` has a checkpoint `{name}` already");
                return Err(Failure::new(Kind::Exists, why));
            }
            served.prepare_store().await?;
            served.opened.disk.flush().await?;
            if let Some(tracking) = &served.tracking {
                tracking.prepare().await?;
            }
        }
        Ok(())
    }

    /// Holds the changes of disks, at most for `limit` from now on.
    pub(super) async fn hold(
        self: Rc<Self>,
        disks: Vec<String>,
        round: u64,
        limit: Duration,
    ) -> Result<(), Failure> {
        let all = self.some(&disks)?;
        let deadline = Instant::now() + limit;
        let watched: Vec<_> = all.iter().map(Rc::downgrade).collect();
        spawn(async move {
            sleep(limit).await;
            for served in watched.iter().filter_map(std::rc::Weak::upgrade) {
                if release(&served, round) {
                    tracing::warn!(disk = served.config.name, "held for too long, and let go");
                }
            }
        })
        .detach();
        for served in all {
            let left = deadline.saturating_duration_since(Instant::now());
            let hold = pin!(served.gate.hold());
            let Either::Left((held, _)) = select(hold, pin!(sleep(left))).await else {
                let disk = &served.config.name;
                let why = format!("changes of disk `{disk}` did not end in time");
                return Err(Failure::new(Kind::Timeout, why));
            };
            *served.held.borrow_mut() = Some((round, held));
        }
        Ok(())
    }

    /// Takes the images, while changes are held.
    pub(super) async fn cut(
        self: Rc<Self>,
        disks: Vec<String>,
        name: String,
        round: u64,
    ) -> Result<(), Failure> {
        for served in self.some(&disks)? {
            let point = match &served.tracking {
                Some(tracking) => Some(tracking.cut().await?),
                None => None,
            };
            let snapshot = served
                .snapshots
                .take(served.config.checkpoints.on_error)
                .await?;
            let checkpoint = Checkpoint {
                size_bytes: snapshot.image().geometry().size_bytes,
                snapshot: RefCell::new(Some(snapshot)),
                point,
                round,
                created: SystemTime::now(),
                exported: Cell::new(false),
            };
            // Still held: what was taken is of the instant.
            if !is_held(&served, round) {
                let why = "changes could not be held for long enough";
                return Err(Failure::new(Kind::Timeout, why));
            }
            let mut checkpoints = served.checkpoints.borrow_mut();
            checkpoints.insert(name.clone(), Rc::new(checkpoint));
        }
        Ok(())
    }

    /// Ends the round's hold; if it is void its checkpoints go too.
    pub(super) async fn release(
        self: Rc<Self>,
        disks: Vec<String>,
        name: String,
        round: u64,
        void: bool,
    ) -> Result<Vec<CheckpointReport>, Failure> {
        let mut reports = Vec::new();
        for served in self.some(&disks)? {
            release(&served, round);
            let taken = served.checkpoints.borrow().get(&name).cloned();
            let Some(taken) = taken.filter(|taken| taken.round == round) else {
                continue;
            };
            if void {
                served.checkpoints.borrow_mut().remove(&name);
                taken.release().await;
            } else {
                reports.push(taken.report(&served.config.name, &name));
            }
        }
        Ok(reports)
    }
}

fn is_held(served: &Served, round: u64) -> bool {
    served
        .held
        .borrow()
        .as_ref()
        .is_some_and(|(holder, _)| *holder == round)
}

fn release(served: &Served, round: u64) -> bool {
    let held = is_held(served, round);
    if held {
        served.held.borrow_mut().take();
    }
    held
}

impl Served {
    /// All checkpoints.
    pub(super) fn checkpoint_reports(&self) -> Vec<CheckpointReport> {
        let checkpoints = self.checkpoints.borrow();
        let report = |(name, it): (&String, &Rc<Checkpoint>)| it.report(&self.config.name, name);
        checkpoints.iter().map(report).collect()
    }

    fn checkpoint(&self, name: &str) -> Result<Rc<Checkpoint>, Failure> {
        let found = self.checkpoints.borrow().get(name).cloned();
        found.ok_or_else(|| {
            let disk = &self.config.name;
            let why = format!("disk `{disk}` has no checkpoint `{name}`");
            Failure::new(Kind::NotFound, why)
        })
    }

    /// Offers a checkpoint at the disk's addresses.
    pub(super) async fn export_checkpoint(&self, name: &str) -> Result<CheckpointReport, Failure> {
        let checkpoint = self.checkpoint(name)?;
        let image = checkpoint.snapshot.borrow().as_ref().map(Snapshot::image);
        let Some(image) = image else {
            let why = format!("checkpoint `{name}` is being deleted");
            return Err(Failure::new(Kind::NotFound, why));
        };
        if checkpoint.exported.get() {
            return Ok(checkpoint.report(&self.config.name, name));
        }
        if self.fronts.borrow().is_empty() {
            let why = "the disk has no NBD address; help: give it one with `listen`";
            return Err(Failure::new(Kind::Unsupported, why));
        }
        let contexts = match (&self.tracking, &checkpoint.point) {
            (Some(tracking), Some(point)) => tracking.contexts(Some((name, *point))).await,
            _ => Vec::new(),
        };
        let export = Export {
            description: format!("checkpoint {name} of {}", self.config.name),
            read_only: true,
            contexts,
            ..Export::new(export_name(&self.config.name, name), image)
        };
        self.offer(&export)?;
        checkpoint.exported.set(true);
        Ok(checkpoint.report(&self.config.name, name))
    }

    /// Ends a checkpoint; its clients are let finish what they have begun.
    pub(super) async fn delete_checkpoint(&self, name: &str) -> Result<(), Failure> {
        let checkpoint = self.checkpoint(name)?;
        self.checkpoints.borrow_mut().remove(name);
        if checkpoint.exported.get() {
            self.withdraw(&export_name(&self.config.name, name)).await?;
        }
        checkpoint.release().await;
        Ok(())
    }

    /// Stores a checkpoint's identifiers, then lets its data go.
    pub(super) async fn convert_checkpoint(
        &self,
        name: &str,
        refpoint: &str,
    ) -> Result<(), Failure> {
        let checkpoint = self.checkpoint(name)?;
        let (Some(tracking), Some(point)) = (&self.tracking, checkpoint.point) else {
            let disk = &self.config.name;
            let why = format!("the changes of disk `{disk}` are not tracked; help: `track`");
            return Err(Failure::new(Kind::Unsupported, why));
        };
        tracking.add(refpoint, point)?;
        self.refresh().await;
        self.delete_checkpoint(name).await
    }
}
