//! Errors and warnings about a policy: all of a file's at once, each with its place and, where the
//! author can do something about it, how.

use std::fmt;

use serde::Serialize;

use crate::source::{Source, Span, Text};

/// Most findings that one run prints; the rest are counted.
const SHOWN: usize = 100;
/// Most columns of a source line that are printed.
const WINDOW: usize = 96;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy can be used; its author may not have meant this.
    Warning,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What, in lower case without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn warning(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

/// Findings about one source, in the order of their places. `Display` prints them all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics {
    source: Source,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            list: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Adds findings about the same policy, in the order of their places.
    #[must_use]
    pub fn with(mut self, more: Self) -> Self {
        self.list.extend(more.list);
        self.sorted()
    }

    /// Makes every warning an error.
    #[must_use]
    pub fn strict(mut self) -> Self {
        for found in &mut self.list {
            found.severity = Severity::Error;
        }
        self
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.list.sort_by_key(|found| {
            let Span {
                file, line, column, ..
            } = found.span;
            (file, line, column, found.severity)
        });
        self
    }

    /// Takes in the files that were read since.
    pub(crate) fn set_source(&mut self, source: Source) {
        self.source = source;
    }

    /// Where something is, for a finding at `seen_from`: see [`Source::place`].
    pub(crate) fn place(&self, span: Span, seen_from: Span) -> String {
        self.source.place(span, seen_from)
    }

    fn file_of(&self, span: Span) -> &str {
        self.source.of(span).map_or("", Text::name)
    }

    /// The findings, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a finding is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list
            .iter()
            .filter(|found| found.severity == severity)
            .count()
    }

    /// The first finding in a line, without the name of the file.
    pub fn in_a_line(&self) -> String {
        let first = self.list.first().map(|found| {
            let Span { line, column, .. } = found.span;
            format!("line {line}, column {column}: {}", found.message)
        });
        first.unwrap_or_default()
    }

    /// The findings as JSON: an array of `{severity, file, line, column, message, help}`.
    pub fn to_json(&self) -> serde_json::Value {
        let row = |found: &Diagnostic| {
            serde_json::json!({
                "severity": found.severity,
                "file": self.file_of(found.span),
                "line": found.span.line,
                "column": found.span.column,
                "message": found.message,
                "help": found.help,
            })
        };
        self.list.iter().map(row).collect()
    }

    fn write_one(&self, f: &mut fmt::Formatter<'_>, found: &Diagnostic) -> fmt::Result {
        let Span { line, column, .. } = found.span;
        let severity = match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let message = printable(&found.message);
        writeln!(
            f,
            "{}:{line}:{column}: {severity}: {message}",
            printable(self.file_of(found.span))
        )?;
        let source = self.source.of(found.span).cloned().unwrap_or_default();
        let (text, at) = window(source.line(line), column);
        if !text.is_empty() {
            let number = line.to_string();
            let gutter = " ".repeat(number.len());
            let room = text.chars().count().saturating_sub(at).max(1);
            let carets = "^".repeat(source.width(found.span).min(room));
            writeln!(f, " {number} | {text}")?;
            writeln!(f, " {gutter} | {}{carets}", " ".repeat(at))?;
        }
        match &found.help {
            Some(help) => writeln!(f, "help: {}", printable(help)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in self.list.iter().take(SHOWN) {
            self.write_one(f, found)?;
        }
        match self.list.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "and {more} more"),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// Control characters and marks that turn text around become `?`: a policy may come from elsewhere,
/// a terminal obeys.
pub fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The part of a line around `column` (from 1), and where the column is in it (from 0).
fn window(line: &str, column: usize) -> (String, usize) {
    let at = column.saturating_sub(1);
    let shown = printable(line);
    if shown.chars().count() <= WINDOW {
        return (shown.trim_end().to_owned(), at);
    }
    let skip = at.saturating_sub(WINDOW / 2);
    let part: String = shown.chars().skip(skip).take(WINDOW).collect();
    (part.trim_end().to_owned(), at - skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_its_place_its_line_a_caret_and_help() {
        let mut source = Source::default();
        let text = source.add("p.yaml", "name: a\nmood: b\n");
        let span = text.span((2, 0), (2, 4));
        let mut all = Diagnostics::new(source);
        all.push(Diagnostic::error(span, "unknown key `mood`").help("did you mean `mode`?"));
        assert_eq!(
            all.to_string(),
            "p.yaml:2:1: error: unknown key `mood`\n 2 | mood: b\n   | ^^^^\n\
             help: did you mean `mode`?\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}here{}", " x".repeat(200), " y".repeat(200));
        let (shown, at) = window(&text, 401);
        assert_eq!(shown.chars().skip(at).take(4).collect::<String>(), "here");
        assert!(shown.chars().count() <= WINDOW);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\tb\u{202e}"), "a?[2J b?");
    }
}
