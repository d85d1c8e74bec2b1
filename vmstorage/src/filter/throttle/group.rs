//! Disks that share limits, and whose turn it is.
//!
//! Reads and writes wait in queues of their own for each disk. In each direction the disks take
//! turns; where both directions could go on, the request that has waited longer does. Only the
//! requests whose turn it is watch the clock.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::bucket::{Buckets, Direction, Limits};
use crate::disk::Result;
use crate::engine;

/// Ends when it is time.
pub type Alarm = Pin<Box<dyn Future<Output = ()>>>;

/// Where a group has its time from.
pub trait Clock: Debug + Send + Sync {
    /// Time since a moment that stays the same.
    fn now(&self) -> Duration;

    /// Waits until `now` is at least `time`.
    fn alarm(&self, time: Duration) -> Alarm;
}

/// The time of the machine.
#[derive(Debug)]
struct MachineClock(Instant);

/// Limits that several disks share, also disks of several threads.
#[derive(Debug)]
pub struct Group {
    clock: Arc<dyn Clock>,
    /// Nothing is limited, so nothing needs to be asked.
    unlimited: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    buckets: Buckets,
    next_id: u64,
    queues: [Queue; 2],
}

/// Those that wait to read, or to write.
#[derive(Debug, Default)]
struct Queue {
    /// By disk; only disks with requests are in it.
    disks: BTreeMap<u64, VecDeque<Ticket>>,
    /// The disk whose turn was last.
    last: u64,
    /// The disk whose turn it is.
    turn: Option<u64>,
}

#[derive(Debug)]
struct Ticket {
    id: u64,
    waker: Option<Waker>,
}

/// A request that waits, or has just been let through.
struct Waiting<'a> {
    group: &'a Group,
    disk: u64,
    direction: Direction,
    id: u64,
    alarm: Option<(Duration, Alarm)>,
}

impl Clock for MachineClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn alarm(&self, time: Duration) -> Alarm {
        Box::pin(engine::sleep(time.saturating_sub(self.now())))
    }
}

impl Group {
    /// A group with limits.
    ///
    /// # Errors
    /// As [`Limits::check`].
    pub fn new(limits: Limits) -> Result<Arc<Self>> {
        Self::with_clock(limits, Arc::new(MachineClock(Instant::now())))
    }

    /// A group with another clock.
    ///
    /// # Errors
    /// As [`Limits::check`].
    pub fn with_clock(limits: Limits, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        limits.check()?;
        let state = State {
            buckets: Buckets::new(limits, clock.now()),
            next_id: 0,
            queues: Default::default(),
        };
        Ok(Arc::new(Self {
            clock,
            unlimited: AtomicBool::new(limits.is_unlimited()),
            state: Mutex::new(state),
        }))
    }

    /// The limits as they are.
    pub fn limits(&self) -> Limits {
        self.state().buckets.limits()
    }

    /// Changes the limits, also for requests that wait.
    ///
    /// # Errors
    /// As [`Limits::check`]; then nothing changes.
    pub fn set_limits(&self, limits: Limits) -> Result<()> {
        limits.check()?;
        let mut state = self.state();
        state.buckets.set_limits(limits, self.clock.now());
        self.unlimited
            .store(limits.is_unlimited(), Ordering::Relaxed);
        state.wake();
        Ok(())
    }

    /// A number for a disk of the group.
    pub(super) fn join(&self) -> u64 {
        self.state().id()
    }

    /// Waits until a request of a disk may go on.
    pub(super) async fn pass(&self, disk: u64, direction: Direction, bytes: u64) {
        if self.unlimited.load(Ordering::Relaxed) && self.state().is_idle() {
            return;
        }
        let id = {
            let mut state = self.state();
            let id = state.id();
            let ticket = Ticket { id, waker: None };
            state.queues[direction as usize]
                .disks
                .entry(disk)
                .or_default()
                .push_back(ticket);
            id
        };
        let mut waiting = Waiting {
            group: self,
            disk,
            direction,
            id,
            alarm: None,
        };
        poll_fn(|context| waiting.poll(context, bytes)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole between calls, also when a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    fn poll(&mut self, context: &mut Context<'_>, bytes: u64) -> Poll<()> {
        loop {
            let now = self.group.clock.now();
            let mut state = self.group.state();
            if state.may_go(self.disk, self.direction, self.id) {
                let wait = state.buckets.wait(self.direction, now);
                if wait.is_zero() && !state.lets_another_go(self.direction, self.id, now) {
                    state.buckets.pour(self.direction, bytes);
                    return Poll::Ready(());
                }
                if !wait.is_zero() {
                    self.set_alarm(now.saturating_add(wait));
                }
            } else {
                self.alarm = None;
            }
            state.watch(self.disk, self.direction, self.id, context.waker());
            drop(state);
            let Some((_, alarm)) = &mut self.alarm else {
                return Poll::Pending;
            };
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.alarm = None;
        }
    }

    fn set_alarm(&mut self, time: Duration) {
        if self.alarm.as_ref().is_none_or(|(set, _)| *set != time) {
            self.alarm = Some((time, self.group.clock.alarm(time)));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.group.state();
        state.queues[self.direction as usize].leave(self.disk, self.id);
        state.wake();
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn is_idle(&self) -> bool {
        self.queues.iter().all(|queue| queue.disks.is_empty())
    }

    /// Whether it is that request's turn in its direction.
    fn may_go(&mut self, disk: u64, direction: Direction, id: u64) -> bool {
        let queue = &mut self.queues[direction as usize];
        queue.turn() == Some(disk) && queue.head().is_some_and(|head| head.id == id)
    }

    /// Wakes the other direction's request if that one has waited longer and may go on too.
    fn lets_another_go(&mut self, direction: Direction, id: u64, now: Duration) -> bool {
        let other = match direction {
            Direction::Read => Direction::Write,
            Direction::Write => Direction::Read,
        };
        let free = self.buckets.wait(other, now).is_zero();
        let Some(head) = self.queues[other as usize].head() else {
            return false;
        };
        // One without a waker was not polled yet: it will look for itself.
        let waker = head.waker.as_ref().filter(|_| free && head.id < id);
        waker.inspect(|waker| waker.wake_by_ref()).is_some()
    }

    fn watch(&mut self, disk: u64, direction: Direction, id: u64, waker: &Waker) {
        let tickets = self.queues[direction as usize].disks.get_mut(&disk);
        if let Some(ticket) = tickets.and_then(|queue| queue.iter_mut().find(|it| it.id == id)) {
            ticket.waker = Some(waker.clone());
        }
    }

    /// Has those whose turn it is look again.
    fn wake(&mut self) {
        for queue in &mut self.queues {
            if let Some(waker) = queue.head().and_then(|head| head.waker.as_ref()) {
                waker.wake_by_ref();
            }
        }
    }
}

impl Queue {
    /// The disk whose turn it is: the next one after the last.
    fn turn(&mut self) -> Option<u64> {
        if self.turn.is_none() {
            let mut after = self.disks.range(self.last + 1..);
            let next = after.next().or_else(|| self.disks.first_key_value());
            self.turn = next.map(|(&disk, _)| disk);
        }
        self.turn
    }

    fn head(&mut self) -> Option<&mut Ticket> {
        let disk = self.turn()?;
        self.disks.get_mut(&disk)?.front_mut()
    }

    /// Takes a request out; if it was its turn, the next disk has it.
    fn leave(&mut self, disk: u64, id: u64) {
        let Some(tickets) = self.disks.get_mut(&disk) else {
            return;
        };
        let was_first = tickets.front().is_some_and(|first| first.id == id);
        tickets.retain(|ticket| ticket.id != id);
        if tickets.is_empty() {
            self.disks.remove(&disk);
        }
        if was_first && self.turn == Some(disk) {
            self.turn = None;
            self.last = disk;
        }
    }
}
