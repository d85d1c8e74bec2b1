//! Many containers after one another, and many at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::bundle::SLEEP;
use super::results::{Measured, Parallel, Series};
use super::settings::Contestant;
use super::stand::Stand;
use crate::bench::progress::Progress;

/// Starts containers that stay, in both ways, for each runtime, and removes them again.
pub(crate) fn measure(stand: &Stand<'_>, measured: &mut Measured) -> Result<()> {
    let settings = stand.settings;
    for one in settings.runtimes() {
        for number in 0..settings.containers {
            stand.bundle(&id(one, number), &SLEEP, None)?;
        }
        let series = Mutex::new(Series::default());
        let serial = start_and_remove(stand, one, 1, &series)?;
        let parallel = start_and_remove(stand, one, settings.at_once, &series)?;
        let series = series.into_inner().unwrap_or_else(PoisonError::into_inner);
        measured.parallel.push(Parallel {
            contestant: one.name.clone(),
            containers: settings.containers,
            serial_us: micros(serial),
            parallel_us: micros(parallel),
            failed: series.failed,
            failure: series.failure,
        });
    }
    Ok(())
}

fn id(one: &Contestant, number: u64) -> String {
    format!("{}-many-{number}", one.name)
}

/// The time until all containers run.
fn start_and_remove(
    stand: &Stand<'_>,
    one: &Contestant,
    at_once: usize,
    series: &Mutex<Series>,
) -> Result<Duration> {
    let count = stand.settings.containers;
    let title = format!("containers, {}, {at_once} at once", one.name);
    let progress = Progress::new(title, count);
    let begin = Instant::now();
    let started = for_each(count, at_once, |number| {
        let id = id(one, number);
        let bundle = stand.settings.dir.join("bundles").join(&id);
        let words = [
            "run",
            "--detach",
            "--bundle",
            &bundle.to_string_lossy(),
            &id,
        ];
        let outcome = stand.command(one, &words)?;
        let mut series = series.lock().unwrap_or_else(PoisonError::into_inner);
        series.add(&outcome);
        progress.step();
        Ok(())
    });
    let took = begin.elapsed();
    // Also when a start failed: what did start must not stay.
    for_each(count, at_once, |number| stand.remove(one, &id(one, number)))?;
    started.map(|()| took)
}

/// Does `work` for every number below `count`, `at_once` at a time.
fn for_each(count: u64, at_once: usize, work: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicU64::new(0);
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            work(number)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once.max(1)).map(|_| scope.spawn(worker)).collect();
        let mut result = Ok(());
        for worker in workers {
            let ended = worker.join();
            let ended = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(ended);
        }
        result
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::for_each;

    #[test]
    fn each_number_is_worked_on_once_and_errors_come_out() {
        let sum = AtomicU64::new(0);
        let add = |number| {
            sum.fetch_add(number, Ordering::Relaxed);
            Ok(())
        };
        for_each(101, 7, add).expect("nothing fails");
        assert_eq!(sum.into_inner(), 5050);
        let fail = |number| match number {
            3 => Err(anyhow::anyhow!("three")),
            _ => Ok(()),
        };
        assert!(for_each(5, 2, fail).is_err());
    }
}
