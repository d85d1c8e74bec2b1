//! Says on standard error how far a measurement is.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// A part of a benchmark and its steps.
pub(crate) struct Progress {
    part: String,
    total: u64,
    done: AtomicU64,
    terminal: bool,
}

impl Progress {
    /// A part of `total` steps, more than none.
    pub(crate) fn new(part: impl Into<String>, total: u64) -> Self {
        let progress = Progress {
            part: part.into(),
            total: total.max(1),
            done: AtomicU64::new(0),
            terminal: std::io::stderr().is_terminal(),
        };
        progress.show(0);
        progress
    }

    /// One more step is done. A terminal has one line that counts; elsewhere each quarter is a
    /// line.
    pub(crate) fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let quarter = |done: u64| done * 4 / self.total;
        if self.terminal || quarter(done) > quarter(done - 1) {
            self.show(done);
        }
    }

    fn show(&self, done: u64) {
        let Progress { part, total, .. } = self;
        let mut stderr = std::io::stderr().lock();
        // Whoever closed standard error does not want to see it.
        let _unseen = match self.terminal {
            true => write!(stderr, "\r\x1b[K{part}: {done}/{total}"),
            false => writeln!(stderr, "{part}: {done}/{total}"),
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            eprintln!();
        }
    }
}
