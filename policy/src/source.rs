//! The text of a policy, and places in it.

use std::sync::Arc;

/// A stretch of the source, by byte offsets, with the place where it starts for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Byte after the last one.
    pub end: usize,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

/// A value and where it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// A policy's name (usually its file's) and text; cloning is cheap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Source(Arc<Inner>);

#[derive(PartialEq, Eq, Debug, Default)]
struct Inner {
    name: String,
    text: String,
    /// Byte offset of each line's first byte.
    lines: Vec<usize>,
}

impl Source {
    /// Takes a copy of the text and finds its lines (ended by LF, CR LF or CR, as in YAML).
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut lines = vec![0];
        for (at, byte) in bytes.iter().enumerate() {
            let ends = match byte {
                b'\n' => true,
                b'\r' => bytes.get(at + 1) != Some(&b'\n'),
                _ => false,
            };
            if ends {
                lines.push(at + 1);
            }
        }
        Self(Arc::new(Inner {
            name: name.to_owned(),
            text: text.to_owned(),
            lines,
        }))
    }

    /// The name given to [`Source::new`].
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// A line without its end, counted from 1; empty where there is none.
    pub(crate) fn line(&self, line: usize) -> &str {
        let inner = &*self.0;
        let Some(&start) = line.checked_sub(1).and_then(|index| inner.lines.get(index)) else {
            return "";
        };
        let end = inner.lines.get(line).copied().unwrap_or(inner.text.len());
        inner
            .text
            .get(start..end)
            .unwrap_or("")
            .trim_end_matches(['\n', '\r'])
    }

    /// The number of the first line that has more bytes than this.
    pub(crate) fn first_longer_than(&self, bytes: usize) -> Option<usize> {
        (1..=self.0.lines.len()).find(|line| self.line(*line).len() > bytes)
    }

    /// The span from one place (line from 1, column in characters from 0) to another, moved into
    /// the text if it lies outside.
    pub(crate) fn span(&self, from: (usize, usize), to: (usize, usize)) -> Span {
        let lines = self.0.lines.len();
        // What is missing at the end is shown behind the last line that has text.
        let past = from.0 > 1 && self.line(from.0).is_empty();
        let last = (1..from.0.min(lines + 1))
            .rev()
            .find(|line| !self.line(*line).is_empty());
        let from = match last {
            Some(line) if past => (line, self.line(line).chars().count()),
            _ => from,
        };
        let start = self.offset(from);
        Span {
            start,
            end: self.offset(to).max(start),
            line: from.0.max(1),
            column: from.1 + 1,
        }
    }

    fn offset(&self, (line, column): (usize, usize)) -> usize {
        let inner = &*self.0;
        let index = line.saturating_sub(1);
        let Some(&start) = inner.lines.get(index) else {
            return inner.text.len();
        };
        let text = self.line(index + 1);
        let within = text
            .char_indices()
            .nth(column)
            .map_or(text.len(), |(at, _)| at);
        start + within
    }

    /// How many characters of the first line of `span` it covers; at least 1.
    pub(crate) fn width(&self, span: Span) -> usize {
        let text = &self.0.text;
        let covered = text.get(span.start..span.end.min(text.len())).unwrap_or("");
        let first = covered.split(['\n', '\r']).next().unwrap_or("");
        first.trim_end().chars().count().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_yaml_and_places_outside_are_moved_in() {
        let source = Source::new("p.yaml", "a: b\r\ncé: d\rlast");
        assert_eq!(source.line(1), "a: b");
        assert_eq!(source.line(2), "cé: d");
        assert_eq!(source.line(3), "last");
        assert_eq!(source.line(0), "");
        assert_eq!(source.line(9), "");
        let span = source.span((2, 4), (2, 5));
        assert_eq!((span.line, span.column), (2, 5));
        assert_eq!(source.width(span), 1);
        assert_eq!(source.width(source.span((9, 9), (1, 0))), 1);
    }
}
