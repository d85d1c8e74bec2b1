//! Waiting for a time, and letting others go first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::exec::{Core, current};

/// Who waits for which time.
#[derive(Default)]
pub(super) struct Timers {
    waits: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_id: Cell<u64>,
}

impl Timers {
    /// How long until somebody is to be woken; never is `None`.
    pub(super) fn until_first(&self) -> Option<Duration> {
        let waits = self.waits.borrow();
        let ((first, _), _) = waits.first_key_value()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Wakes whose time has come.
    pub(super) fn fire(&self) {
        if self.waits.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let mut waits = self.waits.borrow_mut();
            match waits.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(waits);
                    waker.wake();
                }
                _ => return,
            }
        }
    }

    /// Takes away who waits, as the loop is going away.
    pub(super) fn take_wakers(&self) -> Vec<Waker> {
        let waits = std::mem::take(&mut *self.waits.borrow_mut());
        waits.into_values().collect()
    }
}

/// Waits; how much longer it takes depends on the other tasks.
pub async fn sleep(duration: Duration) {
    let now = Instant::now();
    Sleep {
        // A time that the clock cannot tell is as good as never.
        until: now
            .checked_add(duration)
            .unwrap_or(now + Duration::from_secs(1 << 32)),
        waits: None,
    }
    .await;
}

struct Sleep {
    until: Instant,
    /// The loop that it waits in, and under which number.
    waits: Option<(Rc<Core>, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        let until = self.until;
        let (core, id) = self.waits.get_or_insert_with(|| {
            let core = current();
            let id = core.timers.next_id.get();
            core.timers.next_id.set(id + 1);
            (core, id)
        });
        let waker = context.waker().clone();
        let mut waits = core.timers.waits.borrow_mut();
        let before = waits.insert((until, *id), waker);
        drop(waits);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((core, id)) = &self.waits {
            let left = core.timers.waits.borrow_mut().remove(&(self.until, *id));
            drop(left);
        }
    }
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
