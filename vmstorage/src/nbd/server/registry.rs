//! What all connections of a server share: its exports and its limits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use super::budget::{Limits, Pool};
use super::export::Served;
use super::{Options, Tls};
use crate::engine::Notify;

/// Exports by name, and what goes for all of them.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) limits: Limits,
    pub(super) tls: Tls,
    pub(super) list: bool,
    pub(super) pool: Rc<Pool>,
    default: Option<String>,
    exports: RefCell<BTreeMap<String, Rc<Served>>>,
    /// Exports that others took the place of, while clients have them open.
    replaced: RefCell<Vec<Weak<Served>>>,
    connections: Cell<usize>,
    next_id: Cell<u64>,
    closing: Cell<bool>,
    /// It is closing.
    closed: Notify,
    /// A connection ended.
    left: Notify,
}

/// A connection that counts as long as it lives.
pub(super) struct Counted {
    registry: Rc<Registry>,
    pub(super) id: u64,
}

impl Registry {
    pub(super) fn new(options: Options) -> Rc<Self> {
        let limits = options.limits.sane();
        Rc::new(Self {
            pool: Pool::new(limits.pool_bytes),
            limits,
            tls: options.tls,
            list: options.list,
            default: options.default_export,
            exports: RefCell::default(),
            replaced: RefCell::default(),
            connections: Cell::new(0),
            next_id: Cell::new(0),
            closing: Cell::new(false),
            closed: Notify::default(),
            left: Notify::default(),
        })
    }

    /// The export of that name; of the empty one the default.
    pub(super) fn find(&self, name: &str) -> Option<Rc<Served>> {
        let exports = self.exports.borrow();
        if let Some(served) = exports.get(name) {
            return Some(Rc::clone(served));
        }
        if !name.is_empty() {
            return None;
        }
        match &self.default {
            Some(default) => exports.get(default).cloned(),
            None if exports.len() == 1 => exports.values().next().cloned(),
            None => None,
        }
    }

    pub(super) fn served(&self) -> Vec<Rc<Served>> {
        self.exports.borrow().values().cloned().collect()
    }

    /// Puts an export in place of the one of that name.
    pub(super) fn put(&self, served: Rc<Served>) {
        let name = served.export.name.clone();
        if let Some(old) = self.exports.borrow_mut().insert(name, served) {
            let mut replaced = self.replaced.borrow_mut();
            replaced.retain(|served| served.strong_count() > 0);
            replaced.push(Rc::downgrade(&old));
        }
    }

    /// Exports that are not offered any more and still open.
    pub(super) fn replaced(&self) -> Vec<Rc<Served>> {
        self.replaced
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }

    pub(super) fn take(&self, name: &str) -> Option<Rc<Served>> {
        self.exports.borrow_mut().remove(name)
    }

    /// Counts a connection, unless there are too many.
    pub(super) fn count(self: &Rc<Self>) -> Option<Counted> {
        if self.connections.get() >= self.limits.connections || self.is_closing() {
            return None;
        }
        self.connections.set(self.connections.get() + 1);
        Some(Counted {
            registry: Rc::clone(self),
            id: self.next_id.replace(self.next_id.get() + 1),
        })
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.get()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    pub(super) fn close(&self) {
        self.closing.set(true);
        self.closed.wake();
    }

    /// Waits until the server goes down.
    pub(super) async fn closed(&self) {
        self.closed.when(|| self.closing.get()).await;
    }

    /// Waits until nobody is connected.
    pub(super) async fn empty(&self) {
        self.left.when(|| self.connections.get() == 0).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let connections = &self.registry.connections;
        connections.set(connections.get() - 1);
        self.registry.left.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_for_the_end_does_not_notice_who_leaves() {
        let registry = Registry::new(Options::default());
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut closed = pin!(registry.closed());
        let mut context = Context::from_waker(&waker);
        assert!(closed.as_mut().poll(&mut context).is_pending());
        // Thousands in their handshakes wait like this: each that goes must not wake all of them.
        drop(registry.count().unwrap());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        registry.close();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
