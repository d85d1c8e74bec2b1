//! All disks of the service and the threads that they live on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use super::config::{Config, DiskConfig, check_name};
use super::control::{Failure, Kind};
use super::host::{Host, Shared};
use super::report::DiskReport;
use super::served::Served;
use super::service::value;
use super::worker::Worker;
use crate::disk::Error;
use crate::disk::open::Source;

/// What is served.
#[derive(Debug, Default)]
pub(super) struct Group {
    disks: BTreeMap<String, Placed>,
    threads: BTreeMap<u64, Worker>,
    next_thread: u64,
}

/// A disk and its thread.
#[derive(Debug, Clone)]
struct Placed {
    config: DiskConfig,
    thread: u64,
}

impl Group {
    /// Serves what the configuration says; if one disk cannot be, none is.
    pub(super) async fn begin(&mut self, config: Config, shared: Shared) -> Result<(), Failure> {
        for disk in config.disks {
            if let Err(failure) = self.add(disk, &shared).await {
                let _ = self.end().await;
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Closes everything. The first error is answered, and nothing is left out because of it.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        let names: Vec<_> = self.disks.keys().cloned().collect();
        let removals = names.iter().map(|name| self.close(name));
        let closed = join_all(removals).await;
        self.disks.clear();
        for (_, worker) in std::mem::take(&mut self.threads) {
            worker.end();
        }
        closed.into_iter().collect()
    }

    /// Serves what the configuration says now. Disks of which nothing is different are not touched,
    /// and one that cannot be served as it should keeps none of the others from it.
    pub(super) async fn change(
        &mut self,
        config: Config,
        shared: Shared,
    ) -> Result<Value, Failure> {
        let mut done = Map::new();
        let wanted: BTreeSet<_> = config.disks.iter().map(|disk| disk.name.clone()).collect();
        let gone: Vec<_> = self
            .disks
            .keys()
            .filter(|name| !wanted.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            let removed = self.remove(&name).await;
            note(&mut done, "removed", &name, removed);
        }
        for disk in config.disks {
            let name = disk.name.clone();
            match self.disks.get(&name).map(|placed| placed.config.clone()) {
                None => {
                    let added = self.add(disk, &shared).await;
                    note(&mut done, "added", &name, added);
                }
                Some(old) if old == disk => {}
                Some(old) if old.clone().with_limits_of(&disk) == disk => {
                    let limits = disk.throttle;
                    let set = move |served: Rc<Served>| async move { served.set_limits(limits) };
                    let changed = self.on(&name, set).await.map(|_| ());
                    if let Some(placed) = self.disks.get_mut(&name) {
                        placed.config = disk;
                    }
                    note(&mut done, "changed", &name, changed);
                }
                Some(old) => {
                    let changed = self.replace(old, disk, &shared).await;
                    note(&mut done, "changed", &name, changed);
                }
            }
        }
        Ok(done.into())
    }

    /// Serves a disk in another way, or as before if that fails.
    async fn replace(
        &mut self,
        old: DiskConfig,
        new: DiskConfig,
        shared: &Shared,
    ) -> Result<(), Failure> {
        // Its checkpoints end with it: not for a path that is wrong.
        if let Source::File(path) = &new.source {
            let opened = std::fs::File::open(path).map(drop);
            opened.map_err(|error| Error::io(format!("open(`{}`)", path.display()), error))?;
        }
        self.remove(&old.name).await?;
        let added = self.add(new, shared).await;
        if added.is_err() {
            self.add(old, shared).await?;
        }
        added
    }

    async fn add(&mut self, config: DiskConfig, shared: &Shared) -> Result<(), Failure> {
        let thread = self.thread_for(&config)?;
        let name = config.name.clone();
        let (disk, shared) = (config.clone(), shared.clone());
        let added = match self.threads.get(&thread) {
            Some(worker) => worker.call(move |host| host.add(disk, shared)).await,
            None => Err(gone(&name)),
        };
        match added {
            Ok(()) => {
                self.disks.insert(name, Placed { config, thread });
                Ok(())
            }
            Err(failure) => {
                self.drop_idle_threads();
                Err(failure)
            }
        }
    }

    async fn remove(&mut self, name: &str) -> Result<(), Failure> {
        let closed = self.close(name).await;
        self.disks.remove(name);
        self.drop_idle_threads();
        closed
    }

    async fn close(&self, name: &str) -> Result<(), Failure> {
        let owned = name.to_owned();
        self.worker(name)?
            .call(move |host| host.remove(owned))
            .await
    }

    /// The thread that has the disk's addresses already, or a new one.
    fn thread_for(&mut self, config: &DiskConfig) -> Result<u64, Failure> {
        let shares = |other: &&Placed| {
            other
                .config
                .nbd
                .iter()
                .any(|address| config.nbd.contains(address))
        };
        let sharing: Vec<_> = self.disks.values().filter(shares).collect();
        let threads: BTreeSet<_> = sharing.iter().map(|placed| placed.thread).collect();
        let bad = |why: &str| {
            let why = format!("disk `{}`: {why}", config.name);
            Err(Failure::new(Kind::BadConfig, why))
        };
        if threads.len() > 1 {
            return bad("shares addresses with disks that share none with each other");
        }
        let alike = |other: &&Placed| {
            other.config.engine == config.engine && other.config.max_clients == config.max_clients
        };
        if !sharing.iter().all(alike) {
            return bad("disks that share an address need the same `engine` and `max_clients`");
        }
        if let Some(thread) = threads.first() {
            return Ok(*thread);
        }
        let worker = Worker::start(&config.name, config.engine).map_err(|error| {
            let why = format!("start a thread for disk `{}`: {error}", config.name);
            Failure::new(Kind::Failed, why)
        })?;
        let thread = self.next_thread;
        self.next_thread += 1;
        self.threads.insert(thread, worker);
        Ok(thread)
    }

    fn drop_idle_threads(&mut self) {
        let used: BTreeSet<_> = self.disks.values().map(|placed| placed.thread).collect();
        let idle: Vec<_> = self
            .threads
            .keys()
            .filter(|id| !used.contains(id))
            .copied()
            .collect();
        for id in idle {
            if let Some(worker) = self.threads.remove(&id) {
                worker.end();
            }
        }
    }

    fn worker(&self, disk: &str) -> Result<&Worker, Failure> {
        let placed = self.disks.get(disk);
        let worker = placed.and_then(|placed| self.threads.get(&placed.thread));
        worker.ok_or_else(|| Failure::new(Kind::NotFound, format!("there is no disk `{disk}`")))
    }

    /// Has something done with a disk, on its thread.
    pub(super) async fn on<F>(
        &self,
        disk: &str,
        work: impl FnOnce(Rc<Served>) -> F + Send + 'static,
    ) -> Result<Value, Failure>
    where
        F: Future<Output = Result<Value, Failure>> + 'static,
    {
        let name = disk.to_owned();
        let work = move |host: Rc<Host>| async move { work(host.disk(&name)?).await };
        self.worker(disk)?.call(work).await
    }

    /// Has something done with several disks, one after the other, and puts the answers together.
    pub(super) async fn each<F>(
        &self,
        key: &str,
        disks: &[String],
        work: impl FnOnce(Rc<Served>) -> F + Clone + Send + 'static,
    ) -> Result<Value, Failure>
    where
        F: Future<Output = Result<Value, Failure>> + 'static,
    {
        let mut answers = Vec::new();
        for disk in disks {
            answers.push(self.on(disk, work.clone()).await?);
        }
        Ok(json!({ key: answers }))
    }

    /// All disks as they are.
    pub(super) async fn report(&self) -> Result<Vec<DiskReport>, Failure> {
        let mut reports = Vec::new();
        for worker in self.threads.values() {
            reports.extend(
                worker
                    .call(|host| async move { Ok(host.report().await) })
                    .await?,
            );
        }
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(reports)
    }

    /// The disks that are named, or all that have a checkpoint of that name.
    pub(super) async fn with_checkpoint(
        &self,
        name: &str,
        disks: Vec<String>,
    ) -> Result<Vec<String>, Failure> {
        if !disks.is_empty() {
            return Ok(disks);
        }
        let reports = self.report().await?;
        let having = reports.into_iter().filter(|disk| disk.has_checkpoint(name));
        let having: Vec<_> = having.map(|disk| disk.name).collect();
        if having.is_empty() {
            let why = format!("no disk has a checkpoint `{name}`");
            return Err(Failure::new(Kind::NotFound, why));
        }
        Ok(having)
    }

    /// The disks that are named, or all whose checkpoint of that name is a point of their tracker.
    pub(super) async fn with_point(
        &self,
        name: &str,
        disks: Vec<String>,
    ) -> Result<Vec<String>, Failure> {
        let reports = self.report().await?;
        let having = self.with_checkpoint(name, disks.clone()).await?;
        if !disks.is_empty() {
            return Ok(disks);
        }
        let tracked = |disk: &String| {
            let report = reports.iter().find(|report| report.name == *disk);
            report.is_some_and(DiskReport::is_tracked)
        };
        let having: Vec<_> = having.into_iter().filter(tracked).collect();
        if having.is_empty() {
            let why = format!("no disk with a checkpoint `{name}` is tracked; help: `track`");
            return Err(Failure::new(Kind::Unsupported, why));
        }
        Ok(having)
    }

    /// Takes a checkpoint of disks at one instant.
    pub(super) async fn checkpoint(
        &self,
        name: String,
        disks: Vec<String>,
        round: u64,
        limit: Duration,
    ) -> Result<Value, Failure> {
        check_name(&name).map_err(|why| Failure::new(Kind::BadRequest, why))?;
        let disks = if disks.is_empty() {
            self.disks.keys().cloned().collect()
        } else {
            disks
        };
        let mut parts: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for disk in disks {
            let placed = self.disks.get(&disk).ok_or_else(|| gone(&disk))?;
            let part = parts.entry(placed.thread).or_default();
            if !part.contains(&disk) {
                part.push(disk);
            }
        }
        let round = Round {
            parts: parts
                .iter()
                .filter_map(|(id, part)| Some((self.threads.get(id)?, part)))
                .collect(),
            name,
            round,
            limit,
        };
        let taken = round.take().await;
        let released = round.release(taken.is_err()).await;
        taken?;
        Ok(json!({ "checkpoints": released? }))
    }
}

/// A checkpoint of several disks that is being taken.
struct Round<'a> {
    parts: Vec<(&'a Worker, &'a Vec<String>)>,
    name: String,
    round: u64,
    limit: Duration,
}

impl Round<'_> {
    /// All steps up to the cut; each is done everywhere before the next begins.
    async fn take(&self) -> Result<(), Failure> {
        let (round, limit) = (self.round, self.limit);
        let prepare = self.parts.iter().map(|(worker, part)| {
            let (part, name) = ((*part).clone(), self.name.clone());
            worker.call(move |host| async move { host.prepare(&part, &name).await })
        });
        join_all(prepare)
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
        let hold = self.parts.iter().map(|(worker, part)| {
            let part = (*part).clone();
            worker.call(move |host| host.hold(part, round, limit))
        });
        join_all(hold)
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
        let cut = self.parts.iter().map(|(worker, part)| {
            let (part, name) = ((*part).clone(), self.name.clone());
            worker.call(move |host| host.cut(part, name, round))
        });
        join_all(cut).await.into_iter().collect()
    }

    /// Ends the holds everywhere, also where others failed.
    async fn release(&self, void: bool) -> Result<Vec<Value>, Failure> {
        let round = self.round;
        let release = self.parts.iter().map(|(worker, part)| {
            let (part, name) = ((*part).clone(), self.name.clone());
            worker.call(move |host| host.release(part, name, round, void))
        });
        let mut reports = Vec::new();
        for released in join_all(release).await {
            for report in released? {
                reports.push(value(&report)?);
            }
        }
        Ok(reports)
    }
}

fn gone(disk: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("there is no disk `{disk}`"))
}

/// Notes what became of a disk at a change of the configuration.
fn note(done: &mut Map<String, Value>, what: &str, disk: &str, result: Result<(), Failure>) {
    let (key, entry) = match result {
        Ok(()) => (what, json!(disk)),
        Err(failure) => {
            tracing::error!(disk, %failure, "not {what}");
            ("failed", json!({ "disk": disk, "error": failure }))
        }
    };
    let list = done.entry(key).or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.push(entry);
    }
}
