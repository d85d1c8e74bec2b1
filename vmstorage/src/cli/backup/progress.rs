//! How far a backup, a restore or a check is: a bar, lines, or JSON.

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

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Run,
    Restore,
    Verify,
    Prune,
}

impl Work {
    /// Bytes that are told beside how far it is.
    fn parts(self, progress: &Progress) -> Vec<(&'static str, u64)> {
        match self {
            Self::Run => vec![
                ("read", progress.read_bytes),
                ("zero", progress.zero_bytes),
                ("stored", progress.stored_bytes),
                ("deduplicated", progress.deduplicated_bytes),
            ],
            Self::Restore => vec![
                ("written", progress.stored_bytes),
                ("zero", progress.zero_bytes),
            ],
            Self::Verify | Self::Prune => Vec::new(),
        }
    }

    fn words(self, progress: &Progress) -> String {
        let parts = self.parts(progress).into_iter();
        let words = parts.map(|(what, bytes)| format!("{} {what}", show_size(bytes)));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Shows progress on standard error, or as JSON on standard output.
pub(super) struct Reporter {
    work: Work,
    kind: Kind,
    begun: Instant,
    shown: Instant,
}

impl Reporter {
    pub(super) fn new(work: Work, as_json: bool) -> Self {
        let kind = if as_json {
            Kind::Json
        } else if std::io::stderr().is_terminal() {
            Kind::Bar(bar())
        } else {
            Kind::Lines
        };
        let now = Instant::now();
        Self {
            work,
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
                bar.set_message(self.work.words(progress));
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
            // What could not begin has come nowhere.
            Kind::Json if progress.total_bytes > 0 => self.object(progress),
            Kind::Lines | Kind::Json => {}
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
        let words = self.work.words(progress);
        let more = if words.is_empty() { "" } else { "; " };
        eprintln!(
            "{percent} % of {}, {}/s, {left} s left{more}{words}",
            show_size(progress.total_bytes),
            show_size(rate as u64),
        );
        self.shown = Instant::now();
    }

    fn object(&mut self, progress: &Progress) {
        let (rate, left) = self.rate(progress);
        let mut object = json!({
            "event": "progress",
            "total_bytes": progress.total_bytes,
            "done_bytes": progress.done_bytes,
            "bytes_per_second": rate as u64,
            "seconds_left": left.map(f64::ceil),
        });
        for (what, bytes) in self.work.parts(progress) {
            object[format!("{what}_bytes")] = bytes.into();
        }
        say(object);
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
