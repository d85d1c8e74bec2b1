//! What a server has to offer: disks under names, and what can be asked about them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;

use serde::Serialize;

use super::link::Link;
use crate::disk::{Answer, Disk, Extent, Ranges};
use crate::engine::Notify;
use crate::nbd::proto::{StatusExtent, command};

/// A disk under a name.
#[derive(Debug, Clone)]
pub struct Export {
    /// By which clients ask for it; at most 4096 bytes.
    pub name: String,
    /// For people; empty if there is nothing to say.
    pub description: String,
    /// The disk.
    pub disk: Rc<dyn Disk>,
    /// Writes are refused, also if the disk would take them.
    pub read_only: bool,
    /// Left out when a client lists the exports.
    pub hidden: bool,
    /// Only for clients that use TLS.
    pub tls_only: bool,
    /// Requests that are not aligned to the disk's smallest block are refused, and so are clients
    /// that do not ask for it. Not needed for correctness: disks take any request.
    pub strict_blocks: bool,
    /// Metadata contexts besides `base:allocation`.
    pub contexts: Vec<Rc<dyn Context>>,
}

/// Something that can be asked about ranges of a disk: a metadata context.
pub trait Context: Debug {
    /// Its name: a name space, a colon, and what it likes (`reeve:changes:monday`).
    fn name(&self) -> String;

    /// What it says of a part: at most `limit` neighbouring parts from its start, at least one,
    /// none of them empty. Their status has 32 bits.
    ///
    /// # Errors
    /// Whatever keeps it from answering; the client's request fails with it.
    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<StatusExtent>>;
}

impl Export {
    /// A disk under a name, with nothing else about it.
    pub fn new(name: impl Into<String>, disk: Rc<dyn Disk>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            disk,
            read_only: false,
            hidden: false,
            tls_only: false,
            strict_blocks: false,
            contexts: Vec::new(),
        }
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only || self.disk.geometry().read_only
    }

    /// Smallest request and alignment that it takes, in bytes.
    pub(super) fn min_block_bytes(&self) -> u32 {
        if self.strict_blocks {
            self.disk.geometry().min_block_bytes.clamp(1, 1 << 16)
        } else {
            1
        }
    }
}

/// An export that clients may have open.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) export: Export,
    pub(super) read_only: bool,
    /// Changes under way, of all its clients.
    pub(super) changing: Ranges,
    /// Of clients that come from now on.
    contexts: RefCell<Vec<Rc<dyn Context>>>,
    pub(super) statistics: Counters,
    /// No more clients: it is being removed, or the server goes down.
    closing: Cell<bool>,
    links: RefCell<BTreeMap<u64, Rc<Link>>>,
    left: Notify,
}

impl Served {
    pub(super) fn new(export: Export) -> Rc<Self> {
        Rc::new(Self {
            read_only: export.is_read_only(),
            changing: Ranges::default(),
            contexts: RefCell::new(export.contexts.clone()),
            export,
            statistics: Counters::default(),
            closing: Cell::new(false),
            links: RefCell::default(),
            left: Notify::default(),
        })
    }

    /// Its metadata contexts besides `base:allocation`.
    pub(super) fn contexts(&self) -> Vec<Rc<dyn Context>> {
        self.contexts.borrow().clone()
    }

    pub(super) fn set_contexts(&self, contexts: Vec<Rc<dyn Context>>) {
        *self.contexts.borrow_mut() = contexts;
    }

    pub(super) fn join(&self, id: u64, link: Rc<Link>) {
        if self.closing.get() {
            link.close();
        }
        let total = self.statistics.connections.get() + 1;
        self.statistics.connections.set(total);
        link.number.set(total);
        self.links.borrow_mut().insert(id, link);
    }

    /// Whether a client came after this one.
    pub(super) fn has_joined_since(&self, link: &Link) -> bool {
        self.statistics.connections.get() > link.number.get()
    }

    pub(super) fn leave(&self, id: u64) {
        self.links.borrow_mut().remove(&id);
        self.left.wake();
    }

    /// Lets its clients finish.
    pub(super) fn close(&self) {
        self.closing.set(true);
        let links: Vec<_> = self.links.borrow().values().cloned().collect();
        for link in links {
            link.close();
        }
    }

    /// Waits until its clients have gone.
    pub(super) async fn drained(&self) {
        self.left.when(|| self.links.borrow().is_empty()).await;
    }

    pub(super) fn report(&self) -> Statistics {
        let counters = &self.statistics;
        let of = |which: u16| counters.requests[usize::from(which)].get();
        Statistics {
            connections: self.links.borrow().len(),
            connections_total: counters.connections.get(),
            reads: of(command::READ),
            writes: of(command::WRITE),
            flushes: of(command::FLUSH),
            trims: of(command::TRIM),
            caches: of(command::CACHE),
            zeroes: of(command::WRITE_ZEROES),
            status_queries: of(command::BLOCK_STATUS),
            read_bytes: counters.read_bytes.get(),
            written_bytes: counters.written_bytes.get(),
            trimmed_bytes: counters.trimmed_bytes.get(),
            zeroed_bytes: counters.zeroed_bytes.get(),
            errors: counters.errors.get(),
        }
    }
}

/// What is counted while it happens.
#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: Cell<u64>,
    requests: [Cell<u64>; 8],
    read_bytes: Cell<u64>,
    written_bytes: Cell<u64>,
    trimmed_bytes: Cell<u64>,
    zeroed_bytes: Cell<u64>,
    errors: Cell<u64>,
}

impl Counters {
    pub(super) fn count(&self, kind: u16, len_bytes: u64, failed: bool) {
        let add = |cell: &Cell<u64>, more: u64| cell.set(cell.get().saturating_add(more));
        if let Some(requests) = self.requests.get(usize::from(kind)) {
            add(requests, 1);
        }
        if failed {
            add(&self.errors, 1);
            return;
        }
        match kind {
            command::READ => add(&self.read_bytes, len_bytes),
            command::WRITE => add(&self.written_bytes, len_bytes),
            command::TRIM => add(&self.trimmed_bytes, len_bytes),
            command::WRITE_ZEROES => add(&self.zeroed_bytes, len_bytes),
            _ => {}
        }
    }
}

/// What was done with an export since it was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Clients that have it open.
    pub connections: usize,
    /// Clients that ever had it open.
    pub connections_total: u64,
    /// Requests of each kind, failed ones included.
    pub reads: u64,
    /// See `reads`.
    pub writes: u64,
    /// See `reads`.
    pub flushes: u64,
    /// See `reads`.
    pub trims: u64,
    /// See `reads`.
    pub caches: u64,
    /// See `reads`.
    pub zeroes: u64,
    /// See `reads`.
    pub status_queries: u64,
    /// Bytes of reads that succeeded.
    pub read_bytes: u64,
    /// Bytes of writes that succeeded.
    pub written_bytes: u64,
    /// Bytes of trims that succeeded.
    pub trimmed_bytes: u64,
    /// Bytes of zero writes that succeeded.
    pub zeroed_bytes: u64,
    /// Requests that failed.
    pub errors: u64,
}
