//! What lives on one thread: disks, and the addresses at which they are served.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::config::{DiskConfig, RawThrottle};
use super::control::{Failure, Kind};
use super::front::Front;
use super::served::Served;
use super::worker::Stop;
use crate::disk::open::Address;
use crate::nbd::server::Tls;

/// The disks of a thread.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) stop: Stop,
    disks: RefCell<BTreeMap<String, Rc<Served>>>,
    fronts: RefCell<BTreeMap<Address, Rc<Front>>>,
}

/// What all disks of the service share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) scratch: PathBuf,
    /// Permissions of unix sockets.
    pub(super) socket_mode: u32,
    /// TLS at TCP addresses.
    pub(super) tls: TlsConfig,
}

/// [`Tls`] with nothing in it that belongs to a thread.
#[derive(Debug, Clone)]
pub(super) enum TlsConfig {
    Off,
    Allow(Arc<rustls::ServerConfig>),
    Require(Arc<rustls::ServerConfig>),
}

impl TlsConfig {
    fn at(&self, address: &Address) -> Tls {
        match (self, address) {
            (Self::Off, _) | (_, Address::Unix(_)) => Tls::Off,
            (Self::Allow(config), _) => Tls::Allow(Arc::clone(config)),
            (Self::Require(config), _) => Tls::Require(Arc::clone(config)),
        }
    }
}

impl Host {
    /// A disk.
    pub(super) fn disk(&self, name: &str) -> Result<Rc<Served>, Failure> {
        let found = self.disks.borrow().get(name).cloned();
        found.ok_or_else(|| Failure::new(Kind::NotFound, format!("there is no disk `{name}`")))
    }

    /// Several disks.
    pub(super) fn some(&self, names: &[String]) -> Result<Vec<Rc<Served>>, Failure> {
        names.iter().map(|name| self.disk(name)).collect()
    }

    /// All disks.
    pub(super) fn all(&self) -> Vec<Rc<Served>> {
        self.disks.borrow().values().cloned().collect()
    }

    /// Opens a disk and serves it. When something fails, nothing of it is left.
    pub(super) async fn add(
        self: Rc<Self>,
        config: DiskConfig,
        shared: Shared,
    ) -> Result<(), Failure> {
        let name = config.name.clone();
        let context = |failure: Failure| {
            Failure::new(failure.kind, format!("disk `{name}`: {}", failure.message))
        };
        let served = Served::open(config, shared.scratch.clone()).await;
        let served = Rc::new(served.map_err(context)?);
        if let Err(failure) = self.serve(&served, &shared).await {
            let _ = self.leave(&served).await;
            let _ = served.close().await;
            return Err(context(failure));
        }
        self.disks.borrow_mut().insert(name.clone(), served);
        Ok(())
    }

    async fn serve(&self, served: &Rc<Served>, shared: &Shared) -> Result<(), Failure> {
        for address in &served.config.nbd {
            let known = self.fronts.borrow().get(address).cloned();
            let front = match known {
                Some(front) => front,
                None => {
                    let (tls, clients) = (shared.tls.at(address), served.config.max_clients);
                    let front = Front::open(address, tls, clients, shared.socket_mode);
                    let front = Rc::new(front.await?);
                    let mut fronts = self.fronts.borrow_mut();
                    fronts.insert(address.clone(), Rc::clone(&front));
                    front
                }
            };
            served.fronts.borrow_mut().push(front);
        }
        served.listen_vhost_user(shared.socket_mode).await?;
        served.offer(&served.export().await)
    }

    /// Serves a disk no more and closes it.
    pub(super) async fn remove(self: Rc<Self>, name: String) -> Result<(), Failure> {
        let served = self.disk(&name)?;
        self.disks.borrow_mut().remove(&name);
        let left = self.leave(&served).await;
        left.and(served.close().await)
    }

    /// Takes the exports of a disk away, and addresses that no other disk has.
    async fn leave(&self, served: &Rc<Served>) -> Result<(), Failure> {
        // What waits for its limit is done now, and what is long ends half-way: both could keep
        // everybody waiting for hours.
        served.gate.hurry();
        let mut result = served.set_limits(RawThrottle::default()).map(drop);
        let names: Vec<String> = {
            let disk = &served.config.name;
            let checkpoints = served.checkpoints.borrow();
            let checkpoints = checkpoints.keys().map(|name| format!("{disk}@{name}"));
            checkpoints.chain([disk.clone()]).collect()
        };
        for server in served.vhost_user.take() {
            server.stop().await;
        }
        for name in names {
            let withdrawn = served.withdraw(&name).await;
            result = result.and(withdrawn);
        }
        served.fronts.borrow_mut().clear();
        let unused: Vec<_> = {
            let mut fronts = self.fronts.borrow_mut();
            let all = self.disks.borrow();
            let used =
                |address: &Address| all.values().any(|disk| disk.config.nbd.contains(address));
            let gone: Vec<_> = fronts
                .keys()
                .filter(|address| !used(address))
                .cloned()
                .collect();
            gone.iter()
                .filter_map(|address| fronts.remove(address))
                .collect()
        };
        for front in unused {
            result = result.and(front.close().await.map_err(Failure::from));
        }
        result
    }
}
