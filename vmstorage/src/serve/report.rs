//! What the service tells about itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;

use super::checkpoint::CheckpointReport;
use super::config::RawThrottle;
use super::front::Front;
use super::host::Host;
use super::served::Served;
use super::tracking::TrackingReport;
use crate::disk::open::Address;
use crate::nbd::server::Statistics;

/// A disk as it is now.
#[derive(Debug, Clone, Serialize)]
pub(super) struct DiskReport {
    pub(super) name: String,
    description: String,
    source: String,
    format: String,
    pub(super) size_bytes: u64,
    read_only: bool,
    /// URIs at which clients reach it.
    pub(super) uris: Vec<String>,
    vhost_user: Vec<String>,
    /// What was done with its exports, the checkpoints' too.
    exports: BTreeMap<String, Statistics>,
    tracking: Option<TrackingReport>,
    checkpoints: Vec<CheckpointReport>,
    /// Old content that checkpoints keep, and how much was copied since the disk was opened.
    checkpoint_store_bytes: u64,
    checkpoint_copied_bytes: u64,
    throttle: RawThrottle,
}

impl DiskReport {
    /// Its changes are tracked.
    pub(super) fn is_tracked(&self) -> bool {
        self.tracking.is_some()
    }

    /// It has a checkpoint of that name.
    pub(super) fn has_checkpoint(&self, name: &str) -> bool {
        self.checkpoints
            .iter()
            .any(|checkpoint| checkpoint.name == name)
    }
}

impl Host {
    /// All disks of the thread.
    pub(super) async fn report(self: Rc<Self>) -> Vec<DiskReport> {
        let mut reports = Vec::new();
        for served in self.all() {
            reports.push(served.report().await);
        }
        reports
    }
}

impl Served {
    async fn report(&self) -> DiskReport {
        let tracking = match &self.tracking {
            Some(tracking) => Some(tracking.report().await),
            None => None,
        };
        let geometry = self.top().geometry();
        let numbers = self.snapshots.numbers();
        let fronts = self.fronts.borrow();
        let mut exports: BTreeMap<String, Statistics> = BTreeMap::new();
        let own = |name: &str| {
            let rest = name.strip_prefix(&self.config.name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        for front in fronts.iter() {
            for (name, more) in front.server.statistics() {
                if own(&name) {
                    add(exports.entry(name).or_default(), &more);
                }
            }
        }
        let vhost_user = self.config.vhost_user.iter();
        DiskReport {
            name: self.config.name.clone(),
            description: self.config.description.clone(),
            source: self.config.source.to_string(),
            format: self.opened.format.name().to_owned(),
            size_bytes: geometry.size_bytes,
            read_only: geometry.read_only || self.config.read_only,
            uris: fronts
                .iter()
                .map(|front| uri(front, &self.config.name))
                .collect(),
            vhost_user: vhost_user.map(|path| path.display().to_string()).collect(),
            exports,
            tracking,
            checkpoints: self.checkpoint_reports(),
            checkpoint_store_bytes: numbers.store_bytes,
            checkpoint_copied_bytes: numbers.copied_bytes,
            throttle: self.limits.get(),
        }
    }
}

/// The URI of an export.
fn uri(front: &Front, export: &str) -> String {
    let s = if front.secure { "s" } else { "" };
    match &front.address {
        Address::Unix(path) => format!("nbd+unix:///{export}?socket={}", path.display()),
        Address::Tcp { host, port } if host.contains(':') => {
            format!("nbd{s}://[{host}]:{port}/{export}")
        }
        Address::Tcp { host, port } => format!("nbd{s}://{host}:{port}/{export}"),
    }
}

fn add(sum: &mut Statistics, more: &Statistics) {
    sum.connections += more.connections;
    sum.connections_total += more.connections_total;
    sum.reads += more.reads;
    sum.writes += more.writes;
    sum.flushes += more.flushes;
    sum.trims += more.trims;
    sum.caches += more.caches;
    sum.zeroes += more.zeroes;
    sum.status_queries += more.status_queries;
    sum.read_bytes += more.read_bytes;
    sum.written_bytes += more.written_bytes;
    sum.trimmed_bytes += more.trimmed_bytes;
    sum.zeroed_bytes += more.zeroed_bytes;
    sum.errors += more.errors;
}
