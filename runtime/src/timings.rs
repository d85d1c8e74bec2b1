//! Where the time of a start goes: `reeve run --timings`.
//!
//! The phases are marked where they end, all by the one thread of this process. What the first
//! process does by itself is one phase here, the one that it is waited for in.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Instant;

static PHASES: Mutex<Vec<(&str, Instant)>> = Mutex::new(Vec::new());

/// Notes the end of a phase. Costs nothing but a look at the clock, so it is always done.
pub(crate) fn mark(phase: &'static str) {
    // Nobody panics while holding it.
    if let Ok(mut phases) = PHASES.lock() {
        phases.push((phase, Instant::now()));
    }
}

/// A line a phase, in milliseconds, and their sum.
pub(crate) fn report() -> String {
    let phases = PHASES.lock().map(|phases| phases.clone());
    let phases = phases.unwrap_or_default();
    let mut text = String::new();
    for pair in phases.windows(2) {
        let [(_, before), (phase, end)] = pair else {
            continue;
        };
        let milliseconds = (*end - *before).as_secs_f64() * 1e3;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{milliseconds:9.3} ms  {phase}");
    }
    if let (Some((_, first)), Some((_, last))) = (phases.first(), phases.last()) {
        let milliseconds = (*last - *first).as_secs_f64() * 1e3;
        let _ = writeln!(text, "{milliseconds:9.3} ms  in all");
    }
    text
}
