//! Throttles under a clock that the test moves.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::*;
use crate::disk::memory::Memory;
use crate::engine::{Task, run, spawn, yield_now};

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
struct Fake(Arc<Mutex<(Duration, Vec<Waker>)>>);

impl Clock for Fake {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn alarm(&self, time: Duration) -> Alarm {
        let shared = Arc::clone(&self.0);
        Box::pin(poll_fn(move |context| {
            let mut state = shared.lock().unwrap();
            if state.0 >= time {
                return Poll::Ready(());
            }
            state.1.push(context.waker().clone());
            Poll::Pending
        }))
    }
}

impl Fake {
    /// Moves the clock and lets everybody run.
    async fn advance(&self, time: Duration) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.0 += time;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
        settle().await;
    }
}

async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

fn requests(rate: Rate) -> Limits {
    Limits {
        requests: Rates {
            total: Some(rate),
            ..Rates::default()
        },
        ..Limits::default()
    }
}

fn bytes(rate: Rate) -> Limits {
    Limits {
        bytes: Rates {
            total: Some(rate),
            ..Rates::default()
        },
        ..Limits::default()
    }
}

/// A group under a clock, and disks that log who was let through.
struct Bench {
    clock: Arc<Fake>,
    group: Arc<Group>,
    done: Rc<RefCell<Vec<u32>>>,
    tasks: Vec<Task<()>>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let clock = Arc::new(Fake::default());
        let group = Group::with_clock(limits, clock.clone()).unwrap();
        Self {
            clock,
            group,
            done: Rc::default(),
            tasks: Vec::new(),
        }
    }

    fn disk(&self) -> Rc<Throttle> {
        Rc::new(Throttle::new(
            Rc::new(Memory::new(1 << 20)),
            self.group.clone(),
        ))
    }

    fn start(&mut self, disk: &Rc<Throttle>, name: u32, direction: Direction, len: u64) {
        let (disk, done) = (Rc::clone(disk), Rc::clone(&self.done));
        self.tasks.push(spawn(async move {
            match direction {
                Direction::Read => {
                    disk.read(0, IoBufMut::zeroed(len as usize)).await.unwrap();
                }
                Direction::Write => {
                    let data = IoBuf::zeroed(len as usize);
                    disk.write(0, data, Durability::Volatile).await.unwrap();
                }
            }
            done.borrow_mut().push(name);
        }));
    }

    fn count(&self) -> usize {
        self.done.borrow().len()
    }
}

#[test]
fn requests_come_at_their_rate() {
    run(async {
        let mut bench = Bench::new(requests(Rate::new(100)));
        let disk = bench.disk();
        for name in 0..120 {
            bench.start(&disk, name, Direction::Read, 512);
        }
        settle().await;
        // A tenth of a second's worth, and the one that makes it run over.
        assert_eq!(bench.count(), 11);
        for step in 1..=100 {
            bench.clock.advance(10 * MILLISECOND).await;
            assert_eq!(bench.count(), 11 + step);
        }
        let done = bench.done.borrow();
        assert!(done.iter().copied().eq(0..111), "in order");
    })
    .unwrap();
}

#[test]
fn bytes_come_at_their_rate_and_large_requests_pass() {
    run(async {
        let mut bench = Bench::new(bytes(Rate::new(1000)));
        let disk = bench.disk();
        for name in 0..3 {
            bench.start(&disk, name, Direction::Write, 5000);
        }
        settle().await;
        assert_eq!(
            bench.count(),
            1,
            "the first one costs more than the bucket holds"
        );
        bench.clock.advance(4899 * MILLISECOND).await;
        assert_eq!(bench.count(), 1);
        bench.clock.advance(MILLISECOND).await;
        assert_eq!(bench.count(), 2);
        bench.clock.advance(5000 * MILLISECOND).await;
        assert_eq!(bench.count(), 3);
    })
    .unwrap();
}

#[test]
fn large_requests_may_count_as_several() {
    run(async {
        let mut bench = Bench::new(Limits {
            request_bytes: 4096,
            ..requests(Rate::new(10))
        });
        let disk = bench.disk();
        bench.start(&disk, 0, Direction::Read, 5 * 4096 + 1);
        bench.start(&disk, 1, Direction::Read, 0);
        settle().await;
        assert_eq!(bench.count(), 1);
        bench.clock.advance(499 * MILLISECOND).await;
        assert_eq!(bench.count(), 1);
        bench.clock.advance(MILLISECOND).await;
        assert_eq!(bench.count(), 2);
    })
    .unwrap();
}

#[test]
fn bursts_have_their_own_rate_and_end() {
    run(async {
        let mut bench = Bench::new(requests(Rate {
            per_second: 10,
            burst_per_second: 100,
            burst_seconds: 5,
        }));
        let disk = bench.disk();
        for name in 0..700 {
            bench.start(&disk, name, Direction::Read, 1);
        }
        settle().await;
        let mut counts = vec![bench.count()];
        for _ in 0..10 {
            for _ in 0..100 {
                bench.clock.advance(10 * MILLISECOND).await;
            }
            counts.push(bench.count());
        }
        assert_eq!(counts[0], 11);
        assert_eq!(counts[1..=5], [111, 211, 311, 411, 511], "100 a second");
        let after: Vec<usize> = counts[7..]
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        assert_eq!(after, [10, 10, 10], "10 a second when the burst is over");
    })
    .unwrap();
}

#[test]
fn disks_of_a_group_take_turns() {
    run(async {
        let mut bench = Bench::new(requests(Rate::new(10)));
        let disks: Vec<_> = (0..3).map(|_| bench.disk()).collect();
        // The first disk has asked for much before the others come.
        for _ in 0..30 {
            bench.start(&disks[0], 0, Direction::Write, 1);
        }
        settle().await;
        for (disk, name) in disks[1..].iter().zip(1..) {
            for _ in 0..5 {
                bench.start(disk, name, Direction::Write, 1);
            }
        }
        bench.done.borrow_mut().clear();
        for _ in 0..9 {
            bench.clock.advance(100 * MILLISECOND).await;
        }
        let mut done = bench.done.borrow().clone();
        done.sort_unstable();
        assert_eq!(done, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    })
    .unwrap();
}

#[test]
fn reads_do_not_starve_writes() {
    run(async {
        let mut bench = Bench::new(requests(Rate::new(10)));
        let disk = bench.disk();
        for _ in 0..20 {
            bench.start(&disk, 0, Direction::Read, 1);
        }
        for _ in 0..20 {
            bench.start(&disk, 1, Direction::Write, 1);
        }
        settle().await;
        bench.done.borrow_mut().clear();
        for _ in 0..30 {
            bench.clock.advance(100 * MILLISECOND).await;
        }
        assert_eq!(bench.count(), 30);
        let writes = bench
            .done
            .borrow()
            .iter()
            .filter(|&&name| name == 1)
            .count();
        assert!(writes >= 10, "{writes} writes");
    })
    .unwrap();
}

#[test]
fn directions_have_limits_of_their_own() {
    run(async {
        let limits = Limits {
            requests: Rates {
                read: Some(Rate::new(1)),
                ..Rates::default()
            },
            ..Limits::default()
        };
        let mut bench = Bench::new(limits);
        let disk = bench.disk();
        for _ in 0..5 {
            bench.start(&disk, 0, Direction::Read, 1);
            bench.start(&disk, 1, Direction::Write, 1);
        }
        settle().await;
        let done = bench.done.borrow().clone();
        assert_eq!(done.iter().filter(|&&name| name == 1).count(), 5);
        assert_eq!(done.iter().filter(|&&name| name == 0).count(), 1);
        disk.flush().await.unwrap();
    })
    .unwrap();
}

#[test]
fn limits_change_for_those_who_wait() {
    run(async {
        let mut bench = Bench::new(requests(Rate::new(1)));
        let disk = bench.disk();
        for name in 0..10 {
            bench.start(&disk, name, Direction::Read, 1);
        }
        settle().await;
        assert_eq!(bench.count(), 1);
        bench.group.set_limits(requests(Rate::new(1000))).unwrap();
        bench.clock.advance(MILLISECOND).await;
        assert_eq!(bench.count(), 10);
        bench.group.set_limits(requests(Rate::new(1))).unwrap();
        for name in 0..10 {
            bench.start(&disk, name, Direction::Read, 1);
        }
        settle().await;
        assert!(bench.count() < 20);
        bench.group.set_limits(Limits::default()).unwrap();
        settle().await;
        assert_eq!(bench.count(), 20);
        bench.group.set_limits(requests(Rate::new(0))).unwrap_err();
        assert_eq!(bench.group.limits(), Limits::default());
    })
    .unwrap();
}

#[test]
fn who_goes_away_does_not_hold_up_the_others() {
    run(async {
        let mut bench = Bench::new(requests(Rate::new(1)));
        let disks: Vec<_> = (0..2).map(|_| bench.disk()).collect();
        for name in 0..6 {
            bench.start(&disks[name % 2], name as u32, Direction::Read, 1);
        }
        settle().await;
        assert_eq!(bench.count(), 1);
        let last = bench.tasks.pop().unwrap();
        bench.tasks.clear();
        bench.clock.advance(1000 * MILLISECOND).await;
        assert_eq!(bench.count(), 2, "the only one that is left");
        last.await;
    })
    .unwrap();
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    let rate = |per_second, burst_per_second, burst_seconds| Rate {
        per_second,
        burst_per_second,
        burst_seconds,
    };
    for wrong in [
        rate(0, 0, 1),
        rate(u64::MAX, 0, 1),
        rate(10, 5, 1),
        rate(10, 0, 2),
        rate(10, 20, 0),
        rate(10, u64::MAX, 1),
    ] {
        Group::new(bytes(wrong)).unwrap_err();
    }
    Group::new(bytes(rate(10, 20, 60))).unwrap();
}
