//! An NBD client: a disk that another program exports.
//!
//! [`Remote`] is a [`crate::disk::Disk`]. It keeps one connection up, or several if the server
//! promises that a flush on one covers all (`CAN_MULTI_CONN`); requests are pipelined on each.
//!
//! # When a connection is lost
//! It is made again, and what was in flight is sent again: reads and writes of blocks come to the
//! same however often they are done. The server has to offer the same export as before, to the last
//! flag; another size or other contexts end the disk with an error. Two things rest on the server,
//! as they do with QEMU's client and the kernel's:
//!
//! - Writes that were acknowledged and not flushed are not kept here. A server that loses them when
//!   it goes down (its own crash does not lose what is in the page cache, a crash of its machine
//!   does) has to be noticed by other means, or the disk to be written through
//!   ([`crate::disk::Durability::Durable`]).
//! - A write that a server still has under way when its connection is lost must not be done after
//!   the same write was done again over another connection and then overwritten. Servers that drop
//!   the requests of a lost connection, or end them first, keep this; so does [`super::server`],
//!   which does overlapping changes in the order in which they came.
//!
//! # Servers are not trusted
//! Every length, offset and cookie is checked; what violates the protocol fails the requests of the
//! connection, and the connection is given up. Memory is bounded by what was asked for and
//! [`Options::in_flight`].

mod dial;
mod disk;
mod handshake;
mod input;
mod lane;
mod lookup;
mod loss;
mod pending;
mod status;
#[cfg(test)]
mod tests;
mod transfer;
mod uri;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

pub use status::ContextExtent;
pub use uri::{Address, Target};

use crate::disk::{Error, Ranges, Result};
use crate::engine::{Task, spawn};
use crate::nbd::proto::{BASE_ALLOCATION, ServerEntry, export_flag, option};
use dial::Dial;
use handshake::{Exported, Handshake, Session};
use lane::{Lane, in_time};
use loss::Loss;
use pending::{Answered, Ask};

/// How to use an export.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most connections. More than one is made only if the server promises `CAN_MULTI_CONN`.
    pub connections: usize,
    /// Most requests under way on each connection; more wait.
    pub in_flight: usize,
    /// How long connecting, with the handshake, may take.
    pub connect_timeout: Duration,
    /// How long requests wait for a lost connection to be made again before they fail. Connecting
    /// is tried on and on also after that.
    pub reconnect_delay: Duration,
    /// A server that answers nothing for so long, though something was asked, has its connection
    /// ended. Without a value it is waited for as long as it takes.
    pub reply_timeout: Option<Duration>,
    /// Metadata contexts beside `base:allocation`, for [`Remote::context_status`].
    pub contexts: Vec<String>,
    /// How servers are checked; overrides the certificates that the target names.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 4,
            in_flight: 64,
            connect_timeout: Duration::from_secs(10),
            reconnect_delay: Duration::from_secs(30),
            reply_timeout: Some(Duration::from_secs(300)),
            contexts: Vec::new(),
            tls: None,
        }
    }
}

/// An export of another program as a disk.
#[derive(Debug)]
pub struct Remote {
    target: Target,
    exported: Exported,
    lanes: Vec<Rc<Lane>>,
    tasks: RefCell<Vec<Task<()>>>,
    /// Blocks that are written in part are read first; nobody may write them in between.
    changing: Ranges,
}

impl Remote {
    /// Connects.
    ///
    /// # Errors
    /// When that fails the first time, or the server lacks the export or one of the contexts that
    /// [`Options::contexts`] names.
    pub async fn open(target: Target, options: Options) -> Result<Self> {
        let dial = Dial::new(target.clone(), options.tls.clone())?;
        let mut wanted = vec![BASE_ALLOCATION.to_owned()];
        wanted.extend(options.contexts.iter().cloned());
        wanted.sort();
        wanted.dedup();
        let fail = |loss: Loss| loss.into_error(&target.to_string());
        let first = session(&dial, &options, &wanted).await.map_err(fail)?;
        let exported = first.exported.clone();
        for name in &options.contexts {
            if !exported.contexts.contains(name) {
                let wire = first.input.wire();
                wire.shutdown();
                return Err(fail(Loss::refused(format!(
                    "the export has no metadata context `{name}`"
                ))));
            }
        }
        let mut sessions = vec![first];
        if exported.can(export_flag::CAN_MULTI_CONN) {
            while sessions.len() < options.connections {
                // A server may limit its clients: fewer connections are slower, not wrong.
                match session(&dial, &options, &exported.contexts).await {
                    Ok(more) if more.exported == exported => sessions.push(more),
                    _ => break,
                }
            }
        }
        let broken = Rc::new(RefCell::new(None));
        let (mut lanes, mut tasks) = (Vec::new(), Vec::new());
        for session in sessions {
            let broken = Rc::clone(&broken);
            let lane = Lane::new(dial.clone(), options.clone(), exported.clone(), broken);
            tasks.push(spawn(Rc::clone(&lane).run(Some(session))));
            lanes.push(lane);
        }
        Ok(Self {
            target,
            exported,
            lanes,
            tasks: RefCell::new(tasks),
            changing: Ranges::default(),
        })
    }

    /// The metadata contexts that the server has, of those that were asked for.
    pub fn contexts(&self) -> &[String] {
        &self.exported.contexts
    }

    /// How many connections it uses.
    pub fn connections(&self) -> usize {
        self.lanes.len()
    }

    /// Ends the connections once what is under way has ended. Nothing can be asked any more.
    pub async fn close(&self) {
        self.lanes.iter().for_each(|lane| lane.close());
        let tasks = self.tasks.take();
        for task in tasks {
            task.await;
        }
    }

    /// Asks on the connection that has least to do.
    async fn ask(&self, ask: Ask) -> Result<Answered> {
        match self.lanes.iter().min_by_key(|lane| lane.load()) {
            Some(lane) => lane.ask(ask).await,
            None => Err(self.closed()),
        }
    }

    fn closed(&self) -> Error {
        Loss::Closed.into_error(&self.target.to_string())
    }
}

impl Drop for Remote {
    /// What is under way ends by itself, and then the connections.
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.close());
        self.tasks.take().into_iter().for_each(Task::detach);
    }
}

async fn session(
    dial: &Dial,
    options: &Options,
    contexts: &[String],
) -> std::result::Result<Session, Loss> {
    let opening = async {
        let handshake = dial.connect().await?;
        handshake.go(&dial.target.export, contexts).await
    };
    in_time(options.connect_timeout, opening).await
}

/// The exports of a server; the target's own export does not matter.
///
/// # Errors
/// When the server cannot be reached or does not list them.
pub async fn list_exports(target: &Target, options: &Options) -> Result<Vec<ServerEntry>> {
    look(target, options, async |handshake| handshake.list().await).await
}

/// The metadata contexts of an export whose names are, or begin with, one of the queries; all of
/// them without a query.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn list_contexts(
    target: &Target,
    options: &Options,
    queries: &[String],
) -> Result<Vec<String>> {
    let number = option::LIST_META_CONTEXT;
    let found = look(target, options, async |handshake| {
        handshake.contexts(number, &target.export, queries).await
    });
    let found = found.await?;
    Ok(found.into_iter().map(|context| context.name).collect())
}

async fn look<T>(
    target: &Target,
    options: &Options,
    question: impl AsyncFnOnce(&mut Handshake) -> std::result::Result<T, Loss>,
) -> Result<T> {
    let dial = Dial::new(target.clone(), options.tls.clone())?;
    let looking = async {
        let mut handshake = dial.connect().await?;
        let found = question(&mut handshake).await?;
        handshake.abort().await;
        Ok(found)
    };
    let found = in_time(options.connect_timeout, looking).await;
    found.map_err(|loss| loss.into_error(&target.to_string()))
}
