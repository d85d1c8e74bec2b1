//! What `reeve` is to reach, and whether it does.

use serde::Serialize;

use super::policy::Policy;
use super::programs::{CRUN, FLOOR, REEVE};
use super::results::{Measured, Step};
use crate::bench::stats;

/// A number that is to be small.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    /// What is measured.
    pub(crate) what: &'static str,
    /// The most it may be.
    pub(crate) most: f64,
    /// What it is.
    pub(crate) measured: f64,
}

impl Goal {
    /// Reached.
    pub(crate) fn is_met(&self) -> bool {
        self.measured <= self.most
    }
}

/// The goals of which there is a measurement.
pub(crate) fn goals(measured: &Measured, policy: Option<&Policy>) -> Vec<Goal> {
    let parallel = measured.parallel.iter().find(|one| one.contestant == REEVE);
    let hangs = measured.hangs.iter().find(|one| one.contestant == REEVE);
    let rss = measured.series(REEVE, Step::Run);
    let limit = measured.memory.get(REEVE);
    // No limit of those tried is met by none.
    let limit_kib = limit.map(|limit| limit.map_or(f64::INFINITY, |bytes| bytes as f64 / 1024.0));
    let all = [
        ("`run`, reeve / crun", 0.5, ratio(measured, Step::Run, CRUN)),
        (
            "`run`, reeve / floor",
            2.5,
            ratio(measured, Step::Run, FLOOR),
        ),
        (
            "`exec`, reeve / crun",
            0.5,
            ratio(measured, Step::Exec, CRUN),
        ),
        (
            "peak RSS of `run`, KiB",
            4096.0,
            rss.map(|run| run.max_rss_kib as f64),
        ),
        ("smallest memory limit, KiB", 256.0, limit_kib),
        (
            "time per container, in parallel / in turn",
            1.0,
            parallel.map(|one| one.parallel_us as f64 / one.serial_us as f64),
        ),
        (
            "`run` with a policy / without",
            1.1,
            policy.map(Policy::ratio),
        ),
        (
            "runs under load that hang",
            0.0,
            hangs.map(|one| one.hung as f64),
        ),
    ];
    let goal = |(what, most, measured): (_, _, Option<f64>)| {
        measured.map(|measured| Goal {
            what,
            most,
            measured,
        })
    };
    all.into_iter().filter_map(goal).collect()
}

/// Median of `reeve` over median of another.
fn ratio(measured: &Measured, step: Step, other: &str) -> Option<f64> {
    Some(median_ms(measured, REEVE, step)? / median_ms(measured, other, step)?)
}

/// The median of one command of one contestant.
pub(crate) fn median_ms(measured: &Measured, contestant: &str, step: Step) -> Option<f64> {
    let series = measured.series(contestant, step)?;
    Some(stats::summary(&series.wall_us)?.median_ms)
}
