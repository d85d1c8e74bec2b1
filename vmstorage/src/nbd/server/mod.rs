//! An NBD server: disks under names, for many clients at once, on the engine's thread.
//!
//! A connection is a reader, a writer and a task for each request under way. The reader takes many
//! requests from one receive (`input`), checks them (`check`) and starts them as the budget
//! allows (`budget`); requests run beside each other and end in any order (`execute`); the
//! writer sends all replies that are ready at once (`send`). A request is a token that is
//! answered, with an error if nothing else (`link`).
//!
//! Clients are not trusted. Whatever they send, the server neither panics nor uses more memory than
//! its [`Limits`] say, and other clients are served on. They may use their part of the
//! limits for as long as they like, unless others wait for it ([`Limits::patience`]).
//!
//! Not here: throttling, which is a filter on the disk, and the `RESIZE` extension, of which no
//! released client makes use.

mod budget;
mod check;
mod execute;
mod export;
mod handshake;
mod input;
mod link;
mod options;
mod receive;
mod registry;
mod send;
mod status;

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use rustls::ServerConfig;

pub use budget::Limits;
pub use export::{Context, Export, Statistics};

use crate::disk;
use crate::engine::{Listener, Stream, sleep, spawn, yield_now};
use crate::nbd::wire::Wire;
use budget::Budget;
use export::Served;
use handshake::Session;
use link::Link;
use registry::{Counted, Registry};

/// How long nothing is accepted after accepting has failed, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client has to move in [`Limits::patience`] while others wait for its memory, in bytes.
const LEAST_MOVED_BYTES: u64 = 1 << 20;

/// Whether clients use TLS.
#[derive(Debug, Clone, Default)]
pub enum Tls {
    /// They cannot.
    #[default]
    Off,
    /// They may, and have to for exports that ask for it.
    Allow(Arc<ServerConfig>),
    /// They have to.
    Require(Arc<ServerConfig>),
}

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// What clients may use.
    pub limits: Limits,
    /// Whether clients use TLS.
    pub tls: Tls,
    /// Clients may list the exports.
    pub list: bool,
    /// The export that clients get who name none; without it, the only one there is.
    pub default_export: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tls: Tls::Off,
            list: true,
            default_export: None,
        }
    }
}

/// An export cannot be added, found or ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExportError {
    /// The name is taken.
    #[error("an export `{0}` exists already")]
    Exists(String),
    /// There is no such name.
    #[error("there is no export `{0}`")]
    Unknown(String),
    /// The name cannot be sent.
    #[error("the export's name has {0} bytes, or a NUL among them; 4096 are possible")]
    Name(usize),
    /// It is offered no more, but what was written is not known to be durable.
    #[error(transparent)]
    Flush(#[from] disk::Error),
}

/// A server. Clones are the same server.
#[derive(Debug, Clone)]
pub struct Server {
    registry: Rc<Registry>,
}

impl Server {
    /// A server without exports.
    pub fn new(options: Options) -> Self {
        Self {
            registry: Registry::new(options),
        }
    }

    /// Offers another disk.
    ///
    /// # Errors
    /// When the name is taken or too long.
    pub fn add(&self, export: Export) -> Result<(), ExportError> {
        check_name(&export.name)?;
        if self
            .registry
            .served()
            .iter()
            .any(|served| served.export.name == export.name)
        {
            return Err(ExportError::Exists(export.name));
        }
        self.registry.put(Served::new(export));
        Ok(())
    }

    /// Offers a disk in place of the one that has its name, if any. Who has the old one open keeps
    /// it until the end of the connection; [`Server::remove`] does not know of it any more.
    ///
    /// # Errors
    /// When the name is too long.
    pub fn replace(&self, export: Export) -> Result<(), ExportError> {
        check_name(&export.name)?;
        self.registry.put(Served::new(export));
        Ok(())
    }

    /// Offers a disk no more. Its clients' requests under way are finished, later ones refused with
    /// `ESHUTDOWN`; once all clients have gone the disk is flushed.
    ///
    /// # Errors
    /// When there is no such export, or what [`disk::Disk::flush`] says.
    pub async fn remove(&self, name: &str) -> Result<(), ExportError> {
        let served = self.registry.take(name);
        let served = served.ok_or_else(|| ExportError::Unknown(name.to_owned()))?;
        served.close();
        served.drained().await;
        Ok(settle(&served).await?)
    }

    /// Changes the metadata contexts of an export, for clients that come from now on; those that
    /// have it open keep what they chose.
    ///
    /// # Errors
    /// When there is no such export.
    pub fn set_contexts(
        &self,
        name: &str,
        contexts: Vec<Rc<dyn Context>>,
    ) -> Result<(), ExportError> {
        let exact = |served: &Rc<Served>| served.export.name == name;
        match self.registry.served().into_iter().find(exact) {
            Some(served) => {
                served.set_contexts(contexts);
                Ok(())
            }
            None => Err(ExportError::Unknown(name.to_owned())),
        }
    }

    /// What was done with each export since it was added.
    pub fn statistics(&self) -> BTreeMap<String, Statistics> {
        let served = self.registry.served();
        let report = |served: &Rc<Served>| (served.export.name.clone(), served.report());
        served.iter().map(report).collect()
    }

    /// How many clients are connected, those in their handshake included.
    pub fn connections(&self) -> usize {
        self.registry.connections()
    }

    /// Takes connections until the server is shut down.
    pub async fn serve(&self, listener: Listener) {
        loop {
            let accepted = {
                let accept = pin!(listener.accept());
                match select(accept, pin!(self.registry.closed())).await {
                    Either::Left((accepted, _)) => accepted,
                    Either::Right(_) => return,
                }
            };
            match accepted {
                Ok(stream) => {
                    self.connect(stream);
                    // Whoever connects time and again keeps nobody waiting.
                    yield_now().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one client that is connected already; one too many is disconnected.
    pub fn connect(&self, stream: Stream) {
        match self.registry.count() {
            Some(counted) => {
                let registry = Rc::clone(&self.registry);
                spawn(connection(registry, counted, stream)).detach();
            }
            None => stream.shutdown(),
        }
    }

    /// Takes no more connections, lets clients finish as [`Server::remove`] does, and flushes all
    /// disks.
    ///
    /// # Errors
    /// Of the first flush that failed; the others were made.
    pub async fn shutdown(&self) -> disk::Result<()> {
        self.registry.close();
        let mut all = self.registry.served();
        all.extend(self.registry.replaced());
        for served in &all {
            served.close();
        }
        let mut result = Ok(());
        for served in &all {
            served.drained().await;
            result = result.and(settle(served).await);
        }
        self.registry.empty().await;
        result
    }
}

fn check_name(name: &str) -> Result<(), ExportError> {
    if name.len() > crate::nbd::proto::MAX_STRING_BYTES || name.contains('\0') {
        return Err(ExportError::Name(name.len()));
    }
    Ok(())
}

/// Makes what clients wrote durable.
async fn settle(served: &Served) -> disk::Result<()> {
    if served.read_only {
        return Ok(());
    }
    let flushed = served.export.disk.flush().await;
    flushed.map_err(|error| error.context(format!("flush export `{}`", served.export.name)))
}

/// A connection from its beginning to its end.
async fn connection(registry: Rc<Registry>, counted: Counted, stream: Stream) {
    let session = {
        let shake = pin!(handshake::shake(&registry, Wire::Plain(stream.clone())));
        let limit = pin!(async {
            let deadline = pin!(sleep(registry.limits.handshake));
            select(deadline, pin!(registry.closed())).await;
        });
        match select(shake, limit).await {
            Either::Left((Ok(session), _)) => session,
            Either::Left((Err(end), _)) => {
                tracing::debug!(connection = counted.id, %end, "no session");
                stream.shutdown();
                return;
            }
            Either::Right(_) => {
                tracing::debug!(connection = counted.id, "the handshake was cut off");
                stream.shutdown();
                return;
            }
        }
    };
    transmission(&registry, counted.id, session).await;
}

/// Waits until a client keeps memory from others by taking no replies, or sending no payload.
async fn hoards(link: &Link, wire: &Wire, patience: Duration) {
    let (mut before, mut slow) = (wire.moved_bytes(), false);
    loop {
        sleep(patience).await;
        let moved = wire.moved_bytes();
        let waited_for = link.sending.get() || link.receiving.get();
        let still = waited_for && link.budget.is_wanted() && moved - before < LEAST_MOVED_BYTES;
        if still && slow {
            return;
        }
        (before, slow) = (moved, still);
    }
}

async fn transmission(registry: &Rc<Registry>, id: u64, session: Session) {
    let limits = registry.limits;
    let mut input = session.input;
    let wire = input.wire().clone();
    let link = Link::new(
        session.served,
        session.headers,
        session.contexts,
        Budget::new(Rc::clone(&registry.pool), limits),
        limits.payload_bytes,
    );
    link.served.join(id, Rc::clone(&link));
    let writer = spawn(send::replies(Rc::clone(&link), wire.clone()));
    {
        let reader = pin!(receive::requests(&link, &mut input));
        let stop = pin!(async {
            if !link.closed().await {
                sleep(limits.farewell).await;
            }
        });
        let hoards = pin!(hoards(&link, &wire, limits.patience));
        let export = &link.served.export.name;
        match select(select(reader, stop), hoards).await {
            Either::Left((Either::Left((end, _)), _)) => {
                tracing::debug!(connection = id, export, %end, "disconnect");
            }
            Either::Left((Either::Right(_), _)) => {}
            Either::Right(_) => {
                tracing::debug!(connection = id, export, "hoards memory that others need");
                link.die();
                wire.shutdown();
            }
        }
    }
    link.end();
    let mut writer = writer;
    if let Either::Right(_) = select(&mut writer, pin!(sleep(limits.linger))).await {
        // It does not read its replies.
        link.die();
        wire.shutdown();
        writer.await;
    }
    select(pin!(wire.close()), pin!(sleep(limits.linger))).await;
    wire.shutdown();
    link.served.leave(id);
}

#[cfg(test)]
mod tests;
