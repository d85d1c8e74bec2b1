//! Leaky buckets: each request pours in what it costs, the bucket leaks at the rate that is
//! allowed, and nothing is let through while it runs over.

use std::time::Duration;

use crate::disk::{Error, ErrorKind, Result};

/// The largest rate, in units a second.
const MAX_RATE: u64 = 1_000_000_000_000_000;
const MAX_BURST_SECONDS: u64 = 1_000_000;
const NANOS: u128 = 1_000_000_000;

/// How much a second is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units a second in the long run, above 0.
    pub per_second: u64,
    /// Units a second for a while after a time of rest; 0 allows a tenth of a second's worth at
    /// once and no more.
    pub burst_per_second: u64,
    /// How long the burst may last, in seconds, at least 1.
    pub burst_seconds: u64,
}

/// Rates of requests of all kinds, of reads and of writes. All that are set hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of reads and writes together.
    pub total: Option<Rate>,
    /// Of reads.
    pub read: Option<Rate>,
    /// Of writes, zeroes and discards.
    pub write: Option<Rate>,
}

/// What a group of disks may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests.
    pub requests: Rates,
    /// Bytes.
    pub bytes: Rates,
    /// A request counts as one for each started part of so many bytes; 0 counts all as one.
    pub request_bytes: u64,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// A bucket of one rate. Levels are in billionths of a unit, so they are exact.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: Rate,
    level: u128,
    /// What the burst's own rate has not let go yet.
    burst_level: u128,
}

/// All buckets of a group, in the order total, read, write: of requests, then of bytes.
#[derive(Debug)]
pub(super) struct Buckets {
    limits: Limits,
    buckets: [Option<Bucket>; 6],
    leaked_until: Duration,
}

impl Rate {
    /// So many units a second, with bursts of a tenth of a second.
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second,
            burst_per_second: 0,
            burst_seconds: 1,
        }
    }

    fn check(self) -> Result<()> {
        let Self {
            per_second,
            burst_per_second: burst,
            burst_seconds,
        } = self;
        let wrong = |why: String| Err(Error::new(ErrorKind::Unsupported, why));
        if !(1..=MAX_RATE).contains(&per_second) || burst > MAX_RATE {
            return wrong(format!(
                "rates of {per_second} and {burst} a second: both must be at most {MAX_RATE}, the \
                 first above 0"
            ));
        }
        if burst != 0 && burst < per_second {
            return wrong(format!(
                "a burst of {burst} a second is less than {per_second}"
            ));
        }
        if !(1..=MAX_BURST_SECONDS).contains(&burst_seconds) || burst == 0 && burst_seconds != 1 {
            return wrong(format!(
                "a burst of {burst} a second for {burst_seconds} seconds: the time must be 1 \
                 without a rate, and from 1 to {MAX_BURST_SECONDS} with one"
            ));
        }
        Ok(())
    }
}

impl Limits {
    /// Refuses rates that make no sense.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub fn check(&self) -> Result<()> {
        self.all().into_iter().flatten().try_for_each(Rate::check)
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.all().iter().all(Option::is_none)
    }

    fn all(&self) -> [Option<Rate>; 6] {
        let Self {
            requests, bytes, ..
        } = self;
        [
            requests.total,
            requests.read,
            requests.write,
            bytes.total,
            bytes.read,
            bytes.write,
        ]
    }

    fn count(&self, bytes: u64) -> u64 {
        match self.request_bytes {
            0 => 1,
            part => bytes.div_ceil(part).max(1),
        }
    }
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            level: 0,
            burst_level: 0,
        }
    }

    fn leak(&mut self, time: Duration) {
        let leaked = |rate: u64| u128::from(rate) * time.as_nanos();
        self.level = self.level.saturating_sub(leaked(self.rate.per_second));
        self.burst_level = self
            .burst_level
            .saturating_sub(leaked(self.rate.burst_per_second));
    }

    fn pour(&mut self, units: u64) {
        let units = u128::from(units) * NANOS;
        self.level = self.level.saturating_add(units);
        if self.rate.burst_seconds > 1 {
            self.burst_level = self.burst_level.saturating_add(units);
        }
    }

    /// How long it takes until it does not run over.
    fn wait(&self) -> Duration {
        let Rate {
            per_second,
            burst_per_second,
            burst_seconds,
        } = self.rate;
        let tenth = |rate: u64| u128::from(rate) * NANOS / 10;
        let size = match burst_per_second {
            0 => tenth(per_second),
            burst => u128::from(burst) * u128::from(burst_seconds) * NANOS,
        };
        let until = |level: u128, size: u128, rate: u64| {
            let nanos = level.saturating_sub(size).div_ceil(u128::from(rate));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        let wait = until(self.level, size, per_second);
        if burst_seconds > 1 {
            // A long burst is limited to its rate too, lest all of it comes at once.
            let size = tenth(burst_per_second);
            return wait.max(until(self.burst_level, size, burst_per_second));
        }
        wait
    }
}

impl Buckets {
    pub(super) fn new(limits: Limits, now: Duration) -> Self {
        Self {
            limits,
            buckets: limits.all().map(|rate| rate.map(Bucket::new)),
            leaked_until: now,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Changes the rates; what was poured in stays.
    pub(super) fn set_limits(&mut self, limits: Limits, now: Duration) {
        self.leak(now);
        self.limits = limits;
        for (bucket, rate) in self.buckets.iter_mut().zip(limits.all()) {
            *bucket = rate.map(|rate| Bucket {
                rate,
                ..bucket.unwrap_or_else(|| Bucket::new(rate))
            });
        }
    }

    /// How long a request must wait.
    pub(super) fn wait(&mut self, direction: Direction, now: Duration) -> Duration {
        self.leak(now);
        let waits = self.of(direction).map(|(_, bucket)| bucket.wait());
        waits.max().unwrap_or_default()
    }

    /// Lets a request through.
    pub(super) fn pour(&mut self, direction: Direction, bytes: u64) {
        let requests = self.limits.count(bytes);
        for (is_bytes, bucket) in self.of(direction) {
            bucket.pour(if is_bytes { bytes } else { requests });
        }
    }

    /// The buckets that a request goes through, and whether they count bytes.
    fn of(&mut self, direction: Direction) -> impl Iterator<Item = (bool, &mut Bucket)> {
        let own = match direction {
            Direction::Read => 1,
            Direction::Write => 2,
        };
        let buckets = self.buckets.iter_mut().enumerate();
        let buckets = buckets.filter(move |(index, _)| [0, own].contains(&(index % 3)));
        buckets.filter_map(|(index, bucket)| Some((index >= 3, bucket.as_mut()?)))
    }

    fn leak(&mut self, now: Duration) {
        let time = now.saturating_sub(self.leaked_until);
        self.leaked_until = self.leaked_until.max(now);
        self.buckets
            .iter_mut()
            .flatten()
            .for_each(|bucket| bucket.leak(time));
    }
}
