//! The driver without io_uring: epoll for what becomes ready, threads for calls that block.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFlags, Timespec};
use rustix::io::Errno;

use super::exec::Core;

/// Events taken by one system call.
const EVENTS: usize = 256;
/// Marks the event that another thread woke the loop.
const EVENT: u64 = u64::MAX;

/// Who waits for which descriptor.
pub(super) struct Threads {
    epoll: OwnedFd,
    event: Arc<OwnedFd>,
    events: RefCell<Vec<Event>>,
    waits: RefCell<HashMap<RawFd, Vec<Wait>>>,
    next_id: Cell<u64>,
}

struct Wait {
    id: u64,
    flags: EventFlags,
    waker: Waker,
    /// Stays open, so that its number stays its own.
    fd: Arc<OwnedFd>,
}

impl Threads {
    /// A driver that `event` wakes.
    ///
    /// # Errors
    /// Of `epoll_create1` and `epoll_ctl`.
    pub(super) fn new(event: &Arc<OwnedFd>) -> rustix::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, event, EventData::new_u64(EVENT), EventFlags::IN)?;
        Ok(Self {
            epoll,
            event: Arc::clone(event),
            events: RefCell::new(Vec::with_capacity(EVENTS)),
            waits: RefCell::default(),
            next_id: Cell::new(0),
        })
    }

    /// Waits for at most `wait` (for ever when `None`), and wakes whose descriptors are ready.
    pub(super) fn turn(&self, wait: Option<Duration>) {
        let timeout = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let mut events = self.events.borrow_mut();
        events.clear();
        if epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()).is_err() {
            return; // interrupted by a signal: the next turn looks again
        }
        for event in events.iter() {
            match { event.data }.u64() {
                EVENT => {
                    let mut count = [0; 8];
                    let _ = rustix::io::read(&self.event, &mut count);
                }
                fd => self.wake(fd as RawFd, event.flags),
            }
        }
    }

    /// Takes away who waits, as the loop is going away.
    pub(super) fn take_wakers(&self) -> Vec<Waker> {
        let waits = std::mem::take(&mut *self.waits.borrow_mut());
        let waits = waits.into_values().flatten();
        waits.map(|wait| wait.waker).collect()
    }

    fn wake(&self, number: RawFd, ready: EventFlags) {
        let broken = ready.intersects(EventFlags::ERR | EventFlags::HUP);
        let mut waits = self.waits.borrow_mut();
        let Some(of_fd) = waits.get_mut(&number) else {
            return;
        };
        let done = of_fd.extract_if(.., |wait| broken || wait.flags.intersects(ready));
        let woken: Vec<Wait> = done.collect();
        if let Some(other) = of_fd.first() {
            // It was armed before, and is still open.
            let _ = self.arm(&other.fd, of_fd);
        } else {
            waits.remove(&number);
        }
        drop(waits);
        woken.into_iter().for_each(|wait| wait.waker.wake());
    }

    /// Arms a descriptor for all who wait for it, once.
    fn arm(&self, fd: &Arc<OwnedFd>, waits: &[Wait]) -> rustix::io::Result<()> {
        let flags = waits
            .iter()
            .fold(EventFlags::ONESHOT, |all, wait| all | wait.flags);
        let data = EventData::new_u64(fd.as_raw_fd() as u64);
        match epoll::modify(&self.epoll, fd, data, flags) {
            Err(Errno::NOENT) => epoll::add(&self.epoll, fd, data, flags),
            done => done,
        }
    }

    /// Whether somebody begins to wait; what epoll refuses counts as ready.
    fn begin(&self, fd: &Arc<OwnedFd>, flags: EventFlags, waker: Waker) -> Option<u64> {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let mut waits = self.waits.borrow_mut();
        let of_fd = waits.entry(fd.as_raw_fd()).or_default();
        of_fd.push(Wait {
            id,
            flags,
            waker,
            fd: Arc::clone(fd),
        });
        match self.arm(fd, of_fd) {
            Ok(()) => Some(id),
            Err(_) => {
                of_fd.pop();
                None
            }
        }
    }
}

/// Waiting until a descriptor is ready, or has an error.
pub(super) struct Ready {
    core: Rc<Core>,
    fd: Arc<OwnedFd>,
    flags: EventFlags,
    id: Option<u64>,
}

impl Ready {
    pub(super) fn new(core: Rc<Core>, fd: &Arc<OwnedFd>, flags: PollFlags) -> Self {
        Self {
            core,
            fd: Arc::clone(fd),
            flags: EventFlags::from_bits_retain(flags.bits().into()),
            id: None,
        }
    }
}

impl Future for Ready {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(threads) = this.core.threads() else {
            return Poll::Pending; // made for an engine with this driver only
        };
        let Some(id) = this.id else {
            this.id = threads.begin(&this.fd, this.flags, context.waker().clone());
            return if this.id.is_some() {
                Poll::Pending
            } else {
                Poll::Ready(())
            };
        };
        let mut waits = threads.waits.borrow_mut();
        let of_fd = waits.get_mut(&this.fd.as_raw_fd());
        match of_fd.and_then(|waits| waits.iter_mut().find(|wait| wait.id == id)) {
            Some(wait) => {
                wait.waker.clone_from(context.waker());
                Poll::Pending
            }
            None => {
                drop(waits);
                this.id = None;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let (Some(id), Some(threads)) = (self.id, self.core.threads()) else {
            return;
        };
        let mut waits = threads.waits.borrow_mut();
        let number = self.fd.as_raw_fd();
        let Some(of_fd) = waits.get_mut(&number) else {
            return;
        };
        let left: Vec<Wait> = of_fd.extract_if(.., |wait| wait.id == id).collect();
        if of_fd.is_empty() {
            waits.remove(&number);
        }
        drop(waits);
        drop(left);
    }
}
