//! Runs that never return: containers that end at once, while every processor is busy.

use std::hint;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;

use super::bundle::TRUE;
use super::results::{Hangs, Measured};
use super::settings::Contestant;
use super::stand::Stand;
use crate::bench::progress::Progress;

/// Seconds after which a run counts as one that does not return.
const LIMIT_SECONDS: u64 = 10;

/// Nobody needs to see more of them, and each takes [`LIMIT_SECONDS`].
const MOST_HUNG: u64 = 20;

/// Runs each contestant that it is asked of.
pub(crate) fn measure(stand: &Stand<'_>, measured: &mut Measured) -> Result<()> {
    for one in stand.settings.runtimes() {
        if stand.settings.hangs_of.contains(&one.name) {
            let found = under_load(|| runs(stand, one))?;
            measured.hangs.push(found);
        }
    }
    Ok(())
}

fn runs(stand: &Stand<'_>, one: &Contestant) -> Result<Hangs> {
    let id = format!("{}-loaded", one.name);
    stand.bundle(&id, &[TRUE], None)?;
    let progress = Progress::new(
        format!("runs under load, {}", one.name),
        stand.settings.hang_runs,
    );
    let mut found = Hangs {
        contestant: one.name.clone(),
        runs: 0,
        hung: 0,
        failed: 0,
        failure: None,
    };
    while found.runs < stand.settings.hang_runs && found.hung < MOST_HUNG {
        let outcome = stand.run(one, &id, LIMIT_SECONDS)?;
        found.runs += 1;
        if outcome.sample.overdue {
            found.hung += 1;
        } else if let Some(why) = outcome.failure() {
            found.failed += 1;
            found.failure.get_or_insert(why);
        }
        progress.step();
    }
    Ok(found)
}

/// Does `work` while as many threads as there are processors do nothing, busily.
fn under_load<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let _stop = Stop(&done);
        for _ in 0..processors {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        work()
    })
}

/// Ends the load, also when the work panics: the scope waits for its threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::under_load;

    #[test]
    fn the_load_ends_with_the_work() {
        assert_eq!(under_load(|| 5), 5);
    }
}
