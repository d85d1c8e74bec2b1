//! What other threads reach of an engine: tasks that they wake, and calls that they make.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use async_task::Runnable;

use super::exec::{is_current, push_local};
use super::pool::lock;

/// A call made on the engine's thread by another one.
type Call = Box<dyn FnOnce() + Send>;

/// A handle with which other threads have something done on the engine's thread.
#[derive(Clone, Debug)]
pub struct Remote {
    pub(super) shared: Arc<Shared>,
}

/// The part of an engine that belongs to no thread.
pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    /// There is something in the inbox.
    pending: AtomicBool,
    /// The loop waits, or is about to: only then it needs the event.
    sleeping: AtomicBool,
    /// The future of `block_on` is to be polled.
    main_woken: AtomicBool,
    pub(super) event: Arc<OwnedFd>,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) ready: VecDeque<Runnable>,
    pub(super) calls: Vec<Call>,
}

impl Remote {
    /// Has `call` made on the engine's thread, soon.
    pub fn call(&self, call: impl FnOnce() + Send + 'static) {
        lock(&self.shared.inbox).calls.push(Box::new(call));
        self.shared.announce();
    }
}

impl Shared {
    pub(super) fn new(event: OwnedFd) -> Self {
        Self {
            inbox: Mutex::default(),
            pending: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            main_woken: AtomicBool::new(true),
            event: Arc::new(event),
        }
    }

    /// Has a task run, from whatever thread.
    pub(super) fn schedule(&self, runnable: Runnable) {
        if let Err(runnable) = push_local(self, runnable) {
            lock(&self.inbox).ready.push_back(runnable);
            self.announce();
        }
    }

    fn announce(&self) {
        self.pending.store(true, Ordering::SeqCst);
        self.rouse();
    }

    /// Wakes the loop if it sleeps. The one order of `pending` and `sleeping` makes sure that the
    /// loop sees the one or this thread the other.
    fn rouse(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // It fails only when the counter is full, and then the loop is awake anyway.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// What came from other threads.
    pub(super) fn take_inbox(&self) -> Option<Inbox> {
        if !self.pending.load(Ordering::Relaxed) || !self.pending.swap(false, Ordering::SeqCst) {
            return None;
        }
        Some(std::mem::take(&mut *lock(&self.inbox)))
    }

    /// Says that the loop is going to wait; it must not when the answer is false.
    pub(super) fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        !self.pending.load(Ordering::SeqCst) && !self.main_woken.load(Ordering::SeqCst)
    }

    pub(super) fn wake_up(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    pub(super) fn wake_main(&self) {
        self.main_woken.store(true, Ordering::SeqCst);
        // The loop's own thread is awake, also where it still counts as sleeping.
        if !is_current(self) {
            self.rouse();
        }
    }

    pub(super) fn main_woken(&self) -> bool {
        self.main_woken.load(Ordering::Relaxed)
    }

    pub(super) fn take_main_woken(&self) -> bool {
        self.main_woken() && self.main_woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_main();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_main();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}
