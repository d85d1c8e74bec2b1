//! Threads for calls that block: the engine's files where io_uring is refused, and everything for
//! which io_uring has no operation.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::exec::current;

/// How many calls block at once; more wait.
const MAX_THREADS: usize = 16;
/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one engine; they end by themselves when there is nothing to do.
#[derive(Clone, Default)]
pub(super) struct Pool {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Makes a call that blocks on another thread, and waits for what it returns. The call is made also
/// when the future is dropped.
///
/// # Panics
/// When the call does.
pub async fn unblock<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let slot = Arc::new(Mutex::new(Slot {
        value: None,
        waker: None,
    }));
    let filled = Arc::clone(&slot);
    current().pool.push(Box::new(move || {
        let value = catch_unwind(AssertUnwindSafe(call));
        let mut slot = lock(&filled);
        slot.value = Some(value);
        if let Some(waker) = slot.waker.take() {
            drop(slot);
            waker.wake();
        }
    }));
    Finished { slot }.await
}

struct Slot<T> {
    value: Option<std::thread::Result<T>>,
    waker: Option<Waker>,
}

struct Finished<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

impl<T> Future for Finished<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = lock(&self.slot);
        if let Some(value) = slot.value.take() {
            drop(slot);
            return Poll::Ready(value.unwrap_or_else(|panic| resume_unwind(panic)));
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Pool {
    fn push(&self, job: Job) {
        let mut state = lock(&self.shared.0);
        state.jobs.push_back(job);
        if state.idle < state.jobs.len() && state.threads < MAX_THREADS {
            let pool = self.clone();
            let thread = std::thread::Builder::new().name("vmstorage-io".into());
            match thread.spawn(move || pool.work()) {
                Ok(_) => state.threads += 1,
                // Without a single thread the job would wait for ever: better the loop waits.
                Err(_) if state.threads == 0 => {
                    let job = state.jobs.pop_back();
                    drop(state);
                    return job.into_iter().for_each(|job| job());
                }
                Err(_) => {}
            }
        }
        drop(state);
        self.shared.1.notify_one();
    }

    fn work(&self) {
        let (state, wake) = &*self.shared;
        let mut held = lock(state);
        loop {
            if let Some(job) = held.jobs.pop_front() {
                drop(held);
                job();
                held = lock(state);
                continue;
            }
            held.idle += 1;
            let (back, waited) = wake
                .wait_timeout(held, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            held = back;
            held.idle -= 1;
            if waited.timed_out() && held.jobs.is_empty() {
                held.threads -= 1;
                return;
            }
        }
    }
}

/// A lock whose holder panicked is taken all the same: what it guards is whole between calls.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
