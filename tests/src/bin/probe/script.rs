//! Running one action or many, a line of output each.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;

use reeve_tests::outcome::Report;

use crate::act;

/// A single action; its errno is the exit code.
pub(crate) fn one(words: &[&str]) -> ExitCode {
    if words.is_empty() {
        eprint!("{}", act::usage());
        return ExitCode::from(reeve_tests::outcome::EXIT_MISUSED);
    }
    ExitCode::from(report(words).outcome.exit_code())
}

/// An action a line of standard input, until its end. Empty lines and lines that start with `#` are
/// passed over.
pub(crate) fn from_stdin() -> ExitCode {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else {
            return ExitCode::FAILURE;
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first().is_some_and(|first| !first.starts_with('#')) {
            report(&words);
        }
    }
    ExitCode::SUCCESS
}

/// Actions separated by `--`.
pub(crate) fn from_words(words: &[&str]) -> ExitCode {
    for action in words
        .split(|word| *word == "--")
        .filter(|words| !words.is_empty())
    {
        report(action);
    }
    ExitCode::SUCCESS
}

/// Runs one action and prints its line.
fn report(words: &[&str]) -> Report {
    let report = Report {
        action: words[0].to_owned(),
        outcome: act::run(words),
    };
    let mut out = io::stdout().lock();
    // Nobody may be left to read; the action itself is what matters.
    let _ = writeln!(out, "{report}").and_then(|()| out.flush());
    report
}
