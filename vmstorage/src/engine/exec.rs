//! The loop of one thread: tasks, timers, waiting for sockets, and calls from other threads.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use async_task::Runnable;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::pool::Pool;

/// A task of the engine's thread; dropping it ends the task, [`Task::detach`] lets it run.
pub type Task<T> = async_task::Task<T>;

/// A call made on the engine's thread by another one.
type Call = Box<dyn FnOnce() + Send>;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// One thread's loop of asynchronous I/O.
#[derive(Debug)]
pub struct Engine {
    core: Rc<Core>,
}

/// A handle with which other threads have something done on the engine's thread.
#[derive(Clone, Debug)]
pub struct Remote {
    shared: Arc<Shared>,
}

/// What belongs to the engine's thread.
pub(super) struct Core {
    shared: Arc<Shared>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    waits: RefCell<BTreeMap<u64, Wait>>,
    next_id: Cell<u64>,
    pub(super) pool: Pool,
}

/// A task that waits for a descriptor.
struct Wait {
    fd: Arc<OwnedFd>,
    flags: PollFlags,
    waker: Waker,
}

/// What other threads reach.
struct Shared {
    ready: Mutex<VecDeque<Runnable>>,
    calls: Mutex<Vec<Call>>,
    main_woken: AtomicBool,
    event: OwnedFd,
    owner: ThreadId,
}

impl Engine {
    /// A loop for the calling thread.
    ///
    /// # Errors
    /// When the kernel gives no event descriptor.
    pub fn new() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            ready: Mutex::default(),
            calls: Mutex::default(),
            main_woken: AtomicBool::new(true),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            owner: std::thread::current().id(),
        });
        let core = Core {
            shared,
            timers: RefCell::default(),
            waits: RefCell::default(),
            next_id: Cell::new(0),
            pool: Pool::default(),
        };
        Ok(Self {
            core: Rc::new(core),
        })
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
        let entered = CURRENT.with(|current| current.borrow_mut().replace(Rc::clone(&self.core)));
        assert!(
            entered.is_none(),
            "an engine runs inside another one on the same thread"
        );
        let _leave = Leave;
        let waker = Waker::from(Arc::clone(&self.core.shared));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        self.core.shared.main_woken.store(true, Ordering::Release);
        loop {
            if self.core.shared.main_woken.swap(false, Ordering::AcqRel)
                && let Poll::Ready(value) = future.as_mut().poll(&mut context)
            {
                return value;
            }
            self.core.turn();
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
    let (runnable, task) = async_task::spawn_local(future, move |runnable| shared.push(runnable));
    runnable.schedule();
    task
}

/// Waits; how much longer it takes depends on the other tasks.
pub async fn sleep(duration: Duration) {
    Sleep {
        until: Instant::now() + duration,
        id: None,
    }
    .await;
}

/// Lets other tasks run first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits until a descriptor is ready for `flags`, or has an error.
pub(super) async fn ready(fd: &Arc<OwnedFd>, flags: PollFlags) {
    let core = current();
    let id = core.id();
    let mut waited = false;
    let _forget = Forget {
        core: Rc::clone(&core),
        id,
    };
    std::future::poll_fn(|context| {
        if waited && !core.waits.borrow().contains_key(&id) {
            return Poll::Ready(());
        }
        waited = true;
        let wait = Wait {
            fd: Arc::clone(fd),
            flags,
            waker: context.waker().clone(),
        };
        core.waits.borrow_mut().insert(id, wait);
        Poll::Pending
    })
    .await;
}

/// The engine of the thread.
pub(super) fn current() -> Rc<Core> {
    CURRENT
        .with(|current| current.borrow().clone())
        .expect("called from within `Engine::block_on`")
}

impl Core {
    /// Runs what is ready, and waits if nothing is.
    fn turn(&self) {
        self.shared.run_calls();
        // Bounded, so that tasks which wake each other leave the descriptors their turn.
        for _ in 0..256 {
            let Some(runnable) = lock(&self.shared.ready).pop_front() else {
                break;
            };
            runnable.run();
        }
        let idle =
            lock(&self.shared.ready).is_empty() && !self.shared.main_woken.load(Ordering::Acquire);
        let wait = if idle {
            self.until_timer()
        } else {
            Some(Duration::ZERO)
        };
        self.wait(wait);
        self.fire_timers();
    }

    fn until_timer(&self) -> Option<Duration> {
        let timers = self.timers.borrow();
        let ((first, _), _) = timers.first_key_value()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    fn wait(&self, at_most: Option<Duration>) {
        let waits: Vec<(u64, Arc<OwnedFd>, PollFlags)> = self
            .waits
            .borrow()
            .iter()
            .map(|(&id, wait)| (id, Arc::clone(&wait.fd), wait.flags))
            .collect();
        let mut polled = vec![PollFd::from_borrowed_fd(
            self.shared.event.as_fd(),
            PollFlags::IN,
        )];
        polled.extend(waits.iter().map(|(_, fd, flags)| PollFd::new(fd, *flags)));
        let timeout = at_most.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        if poll(&mut polled, timeout.as_ref()).is_err() {
            return; // interrupted by a signal: the next turn looks again
        }
        if !polled[0].revents().is_empty() {
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.shared.event, &mut count);
        }
        for ((id, ..), polled) in waits.iter().zip(&polled[1..]) {
            if !polled.revents().is_empty()
                && let Some(wait) = self.waits.borrow_mut().remove(id)
            {
                wait.waker.wake();
            }
        }
    }

    fn fire_timers(&self) {
        let now = Instant::now();
        loop {
            let mut timers = self.timers.borrow_mut();
            match timers.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(timers);
                    waker.wake();
                }
                _ => return,
            }
        }
    }

    fn id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }
}

impl Remote {
    /// Has `call` made on the engine's thread, soon.
    pub fn call(&self, call: impl FnOnce() + Send + 'static) {
        lock(&self.shared.calls).push(Box::new(call));
        self.shared.unpark();
    }
}

impl Shared {
    fn push(&self, runnable: Runnable) {
        lock(&self.ready).push_back(runnable);
        self.unpark();
    }

    fn unpark(&self) {
        if std::thread::current().id() != self.owner {
            // It fails only when the counter is full, and then the loop is awake anyway.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    fn run_calls(&self) {
        for call in std::mem::take(&mut *lock(&self.calls)) {
            call();
        }
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.main_woken.store(true, Ordering::Release);
        self.unpark();
    }
}

struct Sleep {
    until: Instant,
    id: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        let core = current();
        let id = *self.id.get_or_insert_with(|| core.id());
        core.timers
            .borrow_mut()
            .insert((self.until, id), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            CURRENT.with(|current| {
                if let Some(core) = &*current.borrow() {
                    core.timers.borrow_mut().remove(&(self.until, id));
                }
            });
        }
    }
}

/// Leaves no wait of a dropped future behind.
struct Forget {
    core: Rc<Core>,
    id: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.core.waits.borrow_mut().remove(&self.id);
    }
}

/// Ends the thread's being in a loop.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        CURRENT.with(|current| current.borrow_mut().take());
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Core")
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// A lock whose holder panicked is taken all the same: what it guards is whole between calls.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
