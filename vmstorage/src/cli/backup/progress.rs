//! How far a backup is: a bar, lines, or JSON.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::units::show_size;
use super::say;
use crate::backup::Progress;

/// Between two lines.
const LINES: Duration = Duration::from_secs(3);
/// Between two JSON objects.
const OBJECTS: Duration = Duration::from_secs(1);

enum Kind {
    Bar(ProgressBar),
    Lines,
    Json,
}

/// Shows progress on standard error, or as JSON on standard output.
pub(super) struct Reporter {
    kind: Kind,
    begun: Instant,
    shown: Instant,
}

impl Reporter {
    pub(super) fn new(as_json: bool) -> Self {
        let kind = if as_json {
            Kind::Json
        } else if std::io::stderr().is_terminal() {
            Kind::Bar(bar())
        } else {
            Kind::Lines
        };
        let now = Instant::now();
        Self {
            kind,
            begun: now,
            shown: now,
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        match &self.kind {
            Kind::Bar(bar) => {
                bar.set_length(progress.total_bytes);
                bar.set_position(progress.done_bytes);
                bar.set_message(parts(progress));
            }
            Kind::Lines if self.shown.elapsed() >= LINES => self.line(progress),
            Kind::Json if self.shown.elapsed() >= OBJECTS => self.object(progress),
            Kind::Lines | Kind::Json => {}
        }
    }

    /// Shows no more, and answers how many seconds it took.
    pub(super) fn finish(&mut self, progress: &Progress) -> f64 {
        match &self.kind {
            Kind::Bar(bar) => bar.finish_and_clear(),
            Kind::Lines => {}
            Kind::Json => self.object(progress),
        }
        self.begun.elapsed().as_secs_f64()
    }

    /// Bytes a second, and seconds that are left.
    fn rate(&self, progress: &Progress) -> (f64, Option<f64>) {
        let rate = progress.done_bytes as f64 / self.begun.elapsed().as_secs_f64().max(1e-3);
        let left = progress.total_bytes.saturating_sub(progress.done_bytes) as f64;
        (rate, (rate > 0.0).then_some(left / rate))
    }

    fn line(&mut self, progress: &Progress) {
        let (rate, left) = self.rate(progress);
        let percent = progress.done_bytes * 100 / progress.total_bytes.max(1);
        let left = left.map_or_else(|| "?".into(), |left| format!("{left:.0}"));
        eprintln!(
            "{percent} % of {}, {}/s, {left} s left; {}",
            show_size(progress.total_bytes),
            show_size(rate as u64),
            parts(progress)
        );
        self.shown = Instant::now();
    }

    fn object(&mut self, progress: &Progress) {
        let (rate, left) = self.rate(progress);
        say(json!({
            "event": "progress",
            "total_bytes": progress.total_bytes,
            "done_bytes": progress.done_bytes,
            "read_bytes": progress.read_bytes,
            "zero_bytes": progress.zero_bytes,
            "stored_bytes": progress.stored_bytes,
            "deduplicated_bytes": progress.deduplicated_bytes,
            "bytes_per_second": rate as u64,
            "seconds_left": left.map(f64::ceil),
        }));
        self.shown = Instant::now();
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template(
        "{bar:20} {bytes} / {total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn parts(progress: &Progress) -> String {
    format!(
        "{} read, {} zero, {} stored, {} deduplicated",
        show_size(progress.read_bytes),
        show_size(progress.zero_bytes),
        show_size(progress.stored_bytes),
        show_size(progress.deduplicated_bytes),
    )
}
