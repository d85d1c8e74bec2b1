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
    /// Which file, in the order in which they were read; 0 is the policy itself.
    pub file: u16,
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

/// The files that a policy is made of, the policy itself first; cloning is cheap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Source(Arc<Vec<Text>>);

impl Source {
    /// Takes in a further file.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> Text {
        // Whoever reads files bounds their number far below this.
        let file = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        let text = Text::new(file, name, text);
        Arc::make_mut(&mut self.0).push(text.clone());
        text
    }

    /// The name of the policy itself.
    pub(crate) fn name(&self) -> &str {
        self.0.first().map_or("", Text::name)
    }

    /// The file that a span is in.
    pub(crate) fn of(&self, span: Span) -> Option<&Text> {
        self.0.get(usize::from(span.file))
    }

    /// The file of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Text> {
        self.0.iter().find(|text| text.name() == name)
    }

    /// The place of a line and column (from 1) of a file.
    pub(crate) fn at(&self, name: &str, line: usize, column: usize) -> Option<Span> {
        let text = self.named(name)?;
        let at = (line, column.saturating_sub(1));
        Some(text.span(at, (line, at.1 + 1)))
    }

    /// `line 3` or, where it is not the file of `seen_from`, `line 3 of other.yaml`.
    pub(crate) fn place(&self, span: Span, seen_from: Span) -> String {
        match self.of(span).filter(|_| span.file != seen_from.file) {
            Some(text) => format!("line {} of {}", span.line, text.name()),
            None => format!("line {}", span.line),
        }
    }
}

/// A file's name and text; cloning is cheap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Text(Arc<Inner>);

#[derive(PartialEq, Eq, Debug, Default)]
struct Inner {
    file: u16,
    name: String,
    text: String,
    /// Byte offset of each line's first byte.
    lines: Vec<usize>,
}

impl Text {
    /// Takes a copy of the text and finds its lines (ended by LF, CR LF or CR, as in YAML).
    pub(crate) fn new(file: u16, name: &str, text: &str) -> Self {
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
            file,
            name: name.to_owned(),
            text: text.to_owned(),
            lines,
        }))
    }

    /// The name given to [`Text::new`].
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &str {
        &self.0.text
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
            file: self.0.file,
        }
    }

    /// The span of the character that begins at a byte.
    pub(crate) fn span_of_byte(&self, byte: usize) -> Span {
        let lines = &self.0.lines;
        let line = lines.partition_point(|start| *start <= byte);
        let start = lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.0.text.get(start..byte).unwrap_or("");
        let column = before.chars().count();
        self.span((line, column), (line, column + 1))
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
        let source = Text::new(0, "p.yaml", "a: b\r\ncé: d\rlast");
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
