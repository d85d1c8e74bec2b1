//! The loop of one thread: tasks, timers, I/O, and calls from other threads.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_task::Runnable;
use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::arena::{Arena, Block, REGISTERED_BYTES, SPARE_BYTES};
use super::cached::Pace;
use super::pool::{Pool, unblock};
use super::request::{Answer, Handle, Request};
use super::shared::{Remote, Shared};
use super::threads::{Ready, Threads};
use super::timer::Timers;
use super::uring::{Pending, Uring};

/// Tasks run in one turn, so that tasks which wake each other leave I/O its turn.
const TASKS_A_TURN: usize = 256;

/// Buffers that come from the heap before an engine registers memory of its own: most commands end
/// before that.
const BUFS_BEFORE_ARENAS: u32 = 256;

/// A task of the engine's thread; dropping it ends the task, [`Task::detach`] lets it run.
pub type Task<T> = async_task::Task<T>;

/// By which means an engine shall do its I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// io_uring, or threads where the kernel refuses it.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Threads and epoll.
    Threads,
}

/// By which means an engine does its I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    Uring,
    /// Threads and epoll.
    Threads,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// One thread's loop of asynchronous I/O.
#[derive(Debug)]
pub struct Engine {
    core: Rc<Core>,
    reason: String,
}

/// What belongs to the engine's thread.
pub(super) struct Core {
    shared: Arc<Shared>,
    ready: RefCell<VecDeque<Runnable>>,
    driver: Means,
    bufs_asked: Cell<u32>,
    /// Where buffers come from, in this order, once it is worth it.
    arenas: OnceCell<[Option<Arc<Arena>>; 2]>,
    pub(super) pace: Pace,
    pub(super) timers: Timers,
    pub(super) pool: Pool,
}

#[expect(clippy::large_enum_variant, reason = "one an engine, asked often")]
enum Means {
    Uring(Uring),
    Threads(Threads),
}

impl Engine {
    /// A loop for the calling thread, with the best driver that the kernel permits.
    ///
    /// # Errors
    /// When the kernel gives no descriptors.
    pub fn new() -> io::Result<Self> {
        Self::with(Choice::Auto)
    }

    /// A loop for the calling thread.
    ///
    /// # Errors
    /// When the kernel gives no descriptors, and [`io::ErrorKind::Unsupported`] when it refuses the
    /// driver that was asked for.
    pub fn with(choice: Choice) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(eventfd(0, EventfdFlags::CLOEXEC)?));
        let (driver, reason) = means(choice, &shared.event)?;
        let core = Rc::new(Core {
            shared,
            ready: RefCell::default(),
            driver,
            bufs_asked: Cell::new(0),
            arenas: OnceCell::new(),
            pace: Pace::default(),
            timers: Timers::default(),
            pool: Pool::default(),
        });
        let engine = Self { core, reason };
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            tracing::info!(driver = %engine.driver(), reason = engine.reason, "I/O engine");
        });
        Ok(engine)
    }

    /// Which driver it uses.
    pub fn driver(&self) -> Driver {
        match self.core.driver {
            Means::Uring(_) => Driver::Uring,
            Means::Threads(_) => Driver::Threads,
        }
    }

    /// Why it uses that driver.
    pub fn driver_reason(&self) -> &str {
        &self.reason
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        Remote {
            shared: Arc::clone(&self.core.shared),
        }
    }

    /// Runs the loop until `future` has ended.
    ///
    /// # Panics
    /// When the thread is already in a loop.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _inside = Inside::enter(&self.core);
        let shared = &self.core.shared;
        let waker = Waker::from(Arc::clone(shared));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        shared.wake_main();
        loop {
            if shared.take_main_woken()
                && let Poll::Ready(value) = future.as_mut().poll(&mut context)
            {
                return value;
            }
            self.core.turn();
        }
    }
}

impl Drop for Engine {
    /// Drops the tasks that have not ended, here on their thread.
    fn drop(&mut self) {
        if CURRENT.with(|current| current.borrow().is_some()) {
            return; // dropped within a loop: its tasks leak rather than meet the wrong loop
        }
        let _inside = Inside::enter(&self.core);
        loop {
            let wakers = self.core.take_wakers();
            let ready = std::mem::take(&mut *self.core.ready.borrow_mut());
            let inbox = self.core.shared.take_inbox();
            if wakers.is_empty() && ready.is_empty() && inbox.is_none() {
                return;
            }
        }
    }
}

/// Runs `future` on an engine of its own.
///
/// # Errors
/// As [`Engine::new`].
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(Engine::new()?.block_on(future))
}

/// The thread is in [`Engine::block_on`], so tasks can be started.
pub fn is_running() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

/// Starts a task beside the caller's on the thread's engine.
///
/// # Panics
/// Outside of [`Engine::block_on`].
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let shared = Arc::clone(&current().shared);
    let schedule = move |runnable| shared.schedule(runnable);
    let (runnable, task) = async_task::spawn_local(future, schedule);
    runnable.schedule();
    task
}

/// Has the kernel do something, and waits until it has.
pub(super) async fn perform(handle: Handle, mut request: Request) -> Answer {
    let core = current();
    match core.driver {
        Means::Uring(_) => Pending::new(core, handle, request).await,
        Means::Threads(_) => {
            drop(core);
            unblock(move || (request.call(&handle), request)).await
        }
    }
}

/// Waits until a descriptor is ready for `flags`, or has an error. It may also wake for nothing.
pub(super) async fn ready(fd: &Arc<OwnedFd>, flags: PollFlags) {
    let core = current();
    match core.driver {
        Means::Uring(_) => {
            let handle = Handle::Socket(Arc::clone(fd));
            let _ = Pending::new(core, handle, Request::Poll(flags)).await;
        }
        Means::Threads(_) => Ready::new(core, fd, flags).await,
    }
}

/// The engine of the thread.
pub(super) fn current() -> Rc<Core> {
    CURRENT
        .with(|current| current.borrow().clone())
        .expect("called from within `Engine::block_on`")
}

/// Memory of the thread's engine, if there is one and it has some left.
pub(super) fn block(len_bytes: usize) -> Option<Block> {
    let take = |current: &RefCell<Option<Rc<Core>>>| current.borrow().as_ref()?.block(len_bytes);
    CURRENT.try_with(take).ok()?
}

/// Whether this is the thread of that engine, in its loop.
pub(super) fn is_current(shared: &Shared) -> bool {
    let is_it = |current: &RefCell<Option<Rc<Core>>>| {
        let current = current.borrow();
        let core = current.as_ref();
        core.is_some_and(|core| std::ptr::eq(Arc::as_ptr(&core.shared), shared))
    };
    CURRENT.try_with(is_it).unwrap_or(false)
}

/// Has a task run if this is the thread of its engine; gives it back otherwise.
pub(super) fn push_local(shared: &Shared, runnable: Runnable) -> Result<(), Runnable> {
    let mut runnable = Some(runnable);
    let _ = CURRENT.try_with(|current| {
        if let Some(core) = &*current.borrow()
            && std::ptr::eq(Arc::as_ptr(&core.shared), shared)
        {
            core.ready.borrow_mut().extend(runnable.take());
        }
    });
    runnable.map_or(Ok(()), Err)
}

impl Core {
    /// Runs what is ready, and waits if nothing is.
    fn turn(&self) {
        self.take_inbox();
        for _ in 0..TASKS_A_TURN {
            let runnable = self.ready.borrow_mut().pop_front();
            let Some(runnable) = runnable else {
                break;
            };
            runnable.run();
        }
        let idle = self.ready.borrow().is_empty() && self.shared.fall_asleep();
        let wait = if idle {
            self.timers.until_first()
        } else {
            Some(Duration::ZERO)
        };
        match &self.driver {
            Means::Uring(uring) => uring.turn(wait),
            Means::Threads(threads) => threads.turn(wait),
        }
        self.shared.wake_up();
        self.timers.fire();
    }

    fn take_inbox(&self) {
        if let Some(mut inbox) = self.shared.take_inbox() {
            self.ready.borrow_mut().append(&mut inbox.ready);
            inbox.calls.into_iter().for_each(|call| call());
        }
    }

    fn take_wakers(&self) -> Vec<Waker> {
        let mut wakers = match &self.driver {
            Means::Uring(uring) => uring.take_wakers(),
            Means::Threads(threads) => threads.take_wakers(),
        };
        wakers.append(&mut self.timers.take_wakers());
        wakers
    }

    fn block(&self, len_bytes: usize) -> Option<Block> {
        if self.bufs_asked.get() < BUFS_BEFORE_ARENAS {
            self.bufs_asked.set(self.bufs_asked.get() + 1);
            return None;
        }
        let arenas = self.arenas.get_or_init(|| {
            let registered = Arena::new(REGISTERED_BYTES);
            if let (Means::Uring(uring), Some(arena)) = (&self.driver, &registered) {
                uring.register(arena);
            }
            [registered, Arena::new(SPARE_BYTES)]
        });
        arenas
            .iter()
            .flatten()
            .find_map(|arena| arena.take(len_bytes))
    }

    pub(super) fn uring(&self) -> Option<&Uring> {
        match &self.driver {
            Means::Uring(uring) => Some(uring),
            Means::Threads(_) => None,
        }
    }

    pub(super) fn threads(&self) -> Option<&Threads> {
        match &self.driver {
            Means::Uring(_) => None,
            Means::Threads(threads) => Some(threads),
        }
    }
}

fn means(choice: Choice, event: &Arc<OwnedFd>) -> io::Result<(Means, String)> {
    let reason = match choice {
        Choice::Threads => "asked for".to_owned(),
        Choice::Auto | Choice::Uring => match Uring::new(event) {
            Ok(uring) => {
                let reason = "the kernel permits it".to_owned();
                return Ok((Means::Uring(uring), reason));
            }
            Err(reason) if choice == Choice::Uring => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
            }
            Err(reason) => reason,
        },
    };
    Ok((Means::Threads(Threads::new(event)?), reason))
}

/// The thread's being in a loop.
struct Inside;

impl Inside {
    fn enter(core: &Rc<Core>) -> Self {
        CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            assert!(
                current.is_none(),
                "an engine runs inside another one on the same thread"
            );
            *current = Some(Rc::clone(core));
        });
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let core = CURRENT.with(|current| current.borrow_mut().take());
        drop(core);
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "io_uring",
            Self::Threads => "threads",
        })
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Core")
    }
}
