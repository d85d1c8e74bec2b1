//! One disk as it is served: its layers, its checkpoints, its exports.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use super::config::{DiskConfig, RawThrottle};
use super::control::{Failure, Kind};
use super::front::{Front, remove_stale};
use super::service::value;
use super::tracking::Tracking;
use crate::disk::file::{self, FileDisk};
use crate::disk::open::{self, Opened};
use crate::disk::{Disk, Error};
use crate::engine::unblock;
use crate::filter::gate::{Gate, Gated, Held};
use crate::filter::snapshot::{self, Snapshots};
use crate::filter::throttle::{Group, Throttle};
use crate::nbd::server::{Context, Export, ExportError};
use crate::track::catalog;
use crate::vhost;

/// A disk with its layers.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) config: DiskConfig,
    pub(super) opened: Opened,
    pub(super) snapshots: Rc<Snapshots>,
    pub(super) tracking: Option<Tracking>,
    pub(super) gate: Rc<Gate>,
    pub(super) throttle: Rc<Throttle>,
    pub(super) limits: Cell<RawThrottle>,
    pub(super) checkpoints: RefCell<BTreeMap<String, Rc<Checkpoint>>>,
    /// The round that holds the gate, and the hold.
    pub(super) held: RefCell<Option<(u64, Held)>>,
    pub(super) fronts: RefCell<Vec<Rc<Front>>>,
    pub(super) vhost_user: RefCell<Vec<vhost::Server>>,
    scratch: PathBuf,
}

impl Served {
    /// Opens a disk and puts its layers on it.
    pub(super) async fn open(config: DiskConfig, scratch: PathBuf) -> Result<Self, Failure> {
        let options = open::Options {
            format: config.format,
            read_only: config.read_only,
            direct: config.direct,
            shared: false,
        };
        let opened = open::open(&config.source, options).await?;
        match Self::layers(&opened, config, scratch).await {
            Ok(served) => Ok(served),
            Err(failure) => {
                let _ = opened.close().await;
                Err(failure)
            }
        }
    }

    async fn layers(
        opened: &Opened,
        config: DiskConfig,
        scratch: PathBuf,
    ) -> Result<Self, Failure> {
        let options = snapshot::Options {
            granule_bytes: config.checkpoints.granule_bytes,
            timeout: config.checkpoints.timeout,
        };
        let snapshots = Rc::new(Snapshots::new(Rc::clone(&opened.disk), options)?);
        let mut below = Rc::clone(&snapshots) as Rc<dyn Disk>;
        let mut tracking = None;
        if let Some(track) = &config.track {
            let opened = Tracking::open(below, track, &config, opened).await?;
            below = opened.disk();
            tracking = Some(opened);
        }
        let gate = Rc::new(Gate::default());
        let gated = Rc::new(Gated::new(below, Rc::clone(&gate)));
        let group = Group::new(config.throttle.limits())?;
        let throttle = Rc::new(Throttle::new(gated, group));
        Ok(Self {
            opened: opened.clone(),
            snapshots,
            tracking,
            gate,
            throttle,
            limits: Cell::new(config.throttle),
            checkpoints: RefCell::default(),
            held: RefCell::default(),
            fronts: RefCell::default(),
            vhost_user: RefCell::default(),
            scratch,
            config,
        })
    }

    /// What clients see.
    pub(super) fn top(&self) -> Rc<dyn Disk> {
        Rc::clone(&self.throttle) as Rc<dyn Disk>
    }

    /// The export of the disk itself.
    pub(super) async fn export(&self) -> Export {
        Export {
            description: self.config.description.clone(),
            read_only: self.config.read_only,
            contexts: self.contexts().await,
            ..Export::new(self.config.name.clone(), self.top())
        }
    }

    async fn contexts(&self) -> Vec<Rc<dyn Context>> {
        match &self.tracking {
            Some(tracking) => tracking.contexts(None).await,
            None => Vec::new(),
        }
    }

    /// Has clients see the reference points that there are by now.
    pub(super) async fn refresh(&self) {
        let contexts = self.contexts().await;
        for front in self.fronts.borrow().iter() {
            // An export that is not there any more needs none.
            let _ = front
                .server
                .set_contexts(&self.config.name, contexts.clone());
        }
    }

    /// Offers a disk at all addresses.
    pub(super) fn offer(&self, export: &Export) -> Result<(), Failure> {
        for front in self.fronts.borrow().iter() {
            let added = front.server.add(export.clone());
            added.map_err(|error| Failure::new(Kind::Exists, error.to_string()))?;
        }
        Ok(())
    }

    /// Listens for vhost-user front ends.
    pub(super) async fn listen_vhost_user(&self, socket_mode: u32) -> Result<(), Failure> {
        let options = vhost::Options {
            serial: self.config.name.clone(),
            ..vhost::Options::default()
        };
        for path in &self.config.vhost_user {
            let stale = path.clone();
            let server = unblock(move || remove_stale(&stale))
                .await
                .and_then(|()| vhost::Server::start(path, self.top(), &options))
                .and_then(|server| {
                    std::fs::set_permissions(path, Permissions::from_mode(socket_mode))?;
                    Ok(server)
                });
            let server = server.map_err(|error| {
                let why = format!("listen on `vhost-user:{}`: {error}", path.display());
                Failure::new(Kind::Failed, why)
            })?;
            self.vhost_user.borrow_mut().push(server);
        }
        Ok(())
    }

    /// Offers something no more, and waits for its clients.
    pub(super) async fn withdraw(&self, name: &str) -> Result<(), Failure> {
        let fronts = self.fronts.borrow().clone();
        let mut result = Ok(());
        for front in fronts {
            // An error other than of the flush says that it is not offered there, as is wanted.
            if let Err(ExportError::Flush(error)) = front.server.remove(name).await {
                result = Err(error.into());
            }
        }
        result
    }

    /// Changes the limits.
    pub(super) fn set_limits(&self, raw: RawThrottle) -> Result<Value, Failure> {
        self.throttle.group().set_limits(raw.limits())?;
        self.limits.set(raw);
        value(&raw)
    }

    /// Does something with reference points; what clients can ask for follows.
    pub(super) async fn refpoint(&self, request: catalog::Request) -> Result<Value, Failure> {
        let Some(tracking) = &self.tracking else {
            let disk = &self.config.name;
            let why = format!("the changes of disk `{disk}` are not tracked; help: `track`");
            return Err(Failure::new(Kind::Unsupported, why));
        };
        let reply = tracking.answer(request).await?;
        self.refresh().await;
        value(&reply)
    }

    /// Changes the size.
    pub(super) async fn resize(&self, size_bytes: u64, shrink: bool) -> Result<Value, Failure> {
        let top = self.top();
        let now = top.geometry().size_bytes;
        if size_bytes < now && !shrink {
            let why = format!(
                "`{}` would shrink from {now} to {size_bytes} bytes and lose the rest; help: \
                 `vmstorage ctl resize --shrink`, or `shrink` in the request, lets it",
                self.config.name
            );
            return Err(Failure::new(Kind::Unsupported, why));
        }
        top.resize(size_bytes).await?;
        self.vhost_user
            .borrow()
            .iter()
            .for_each(vhost::Server::resized);
        Ok(json!({ "size_bytes": top.geometry().size_bytes }))
    }

    /// Sees to it that checkpoints have a store: a file without a name, which goes with the
    /// process.
    pub(super) async fn prepare_store(&self) -> Result<(), Failure> {
        if self.snapshots.has_store() {
            return Ok(());
        }
        let store = scratch_file(&self.scratch).await?;
        let limit = self.config.checkpoints.limit_bytes;
        Ok(self.snapshots.set_store(Rc::new(store), limit)?)
    }

    /// Ends it: clients have gone before. Everything is tried; the first error is answered.
    pub(super) async fn close(&self) -> Result<(), Failure> {
        let checkpoints = self.checkpoints.take();
        for checkpoint in checkpoints.values() {
            checkpoint.release().await;
        }
        let mut result = Ok(());
        if let Some(tracking) = &self.tracking {
            result = tracking.close(&self.opened).await.map_err(Failure::from);
        }
        let closed = self.opened.close().await.map_err(Failure::from);
        result.and(closed)
    }
}

async fn scratch_file(directory: &Path) -> Result<FileDisk, Failure> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(libc::O_TMPFILE);
    let file = options.open(directory).map_err(|error| {
        let call = format!("open(`{}`, O_TMPFILE)", directory.display());
        Error::io(call, error).context("a place for the old content of checkpoints")
    })?;
    let options = file::OpenOptions {
        lock: false,
        ..file::OpenOptions::default()
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(FileDisk::open(Path::new(&path), &options).await?)
}
