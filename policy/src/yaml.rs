//! Text to a tree of nodes with places, within bounds.
//!
//! What a policy does not need is refused rather than followed: anchors and aliases (and with them
//! documents that grow as they are read), tags, further documents, keys that are not plain words.
//! Nothing here recurses.

pub(crate) mod render;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{Source, Span, Spanned, Text};

/// Longest policy, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 16;
/// Most values in a policy.
pub const MAX_NODES: usize = 100_000;
/// Most keys in one mapping.
pub const MAX_KEYS: usize = 1024;
/// Longest line, in bytes: a policy is read by people.
pub const MAX_LINE_BYTES: usize = 4096;

/// A value with its place.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Kind {
    /// A word, number, or quoted text; `plain`: written without quotes.
    Scalar { text: String, plain: bool },
    /// `[…]` or `- …`.
    List(Vec<Node>),
    /// `{…}` or `key: …`; keys are unique.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// Whether nothing was written.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if is_null_word(text))
    }

    /// What the value is, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Scalar { plain: false, .. } => "a string",
            Kind::Scalar { text, .. } if is_null_word(text) => "nothing",
            Kind::Scalar { text, .. } if text == "true" || text == "false" => "a boolean",
            Kind::Scalar { text, .. } if text.parse::<f64>().is_ok() => "a number",
            Kind::Scalar { .. } => "a string",
        }
    }
}

fn is_null_word(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A list or mapping that is still open.
enum Open {
    List(Span, Vec<Node>),
    Map {
        span: Span,
        entries: Vec<(Spanned<String>, Node)>,
        key: Option<Spanned<String>>,
    },
}

/// The text of a file: of one that is no text nothing is guessed, since what was guessed would name
/// other paths. One that is too long comes back as what [`read`] says so of.
///
/// # Errors
/// It is not UTF-8.
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<String, Diagnostics> {
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    if error.as_bytes().len() > MAX_BYTES {
        return Ok(text);
    }
    let at = error.utf8_error().valid_up_to();
    let mut source = Source::default();
    let span = source.add(name, &text).span_of_byte(at);
    let byte = error.as_bytes().get(at).copied().unwrap_or_default();
    let found = Diagnostic::error(span, format!("byte 0x{byte:02x} is not UTF-8"));
    let mut out = Diagnostics::new(source);
    out.push(found.help(
        "save the file as UTF-8 (`iconv -f latin1 -t utf-8`); of a path that is not UTF-8, name a \
         directory above it",
    ));
    Err(out)
}

/// Reads the one document of `source`; `None` if it cannot be told what its nodes are. Findings go
/// to `out`.
pub(crate) fn read(source: &Text, out: &mut Diagnostics) -> Option<Node> {
    let text = source.text();
    let start = source.span((1, 0), (1, 0));
    if text.len() > MAX_BYTES {
        let message = format!("the policy is longer than {MAX_BYTES} bytes");
        out.push(Diagnostic::error(start, message));
        return None;
    }
    if let Some(line) = source.first_longer_than(MAX_LINE_BYTES) {
        let message = format!("line {line} is longer than {MAX_LINE_BYTES} bytes");
        out.push(Diagnostic::error(
            source.span((line, 0), (line, 1)),
            message,
        ));
        return None;
    }
    let mut builder = Builder::new(out);
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => {
                let from = (span.start.line(), span.start.col());
                let span = source.span(from, (span.end.line(), span.end.col()));
                builder.take(event, span)
            }
            Err(error) => Err(syntax_error(source, &error)),
        };
        if let Err(diagnostic) = step {
            builder.out.push(diagnostic);
            return None;
        }
    }
    let root = builder.root.take();
    if root.is_none() {
        out.push(Diagnostic::error(start, "the policy is empty").help("begin with `reeve: v1`"));
    }
    root
}

fn syntax_error(source: &Text, error: &ScanError) -> Diagnostic {
    let at = (error.marker().line(), error.marker().col());
    let span = source.span(at, (at.0, at.1 + 1));
    let info = error.info().trim_end_matches('.').to_lowercase();
    let diagnostic = Diagnostic::error(span, format!("not valid YAML: {info}"));
    if info.contains("tab") {
        return diagnostic.help("indent with spaces");
    }
    diagnostic
}

struct Builder<'a> {
    out: &'a mut Diagnostics,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl<'a> Builder<'a> {
    fn new(out: &'a mut Diagnostics) -> Self {
        Self {
            out,
            open: Vec::new(),
            root: None,
            nodes: 0,
            documents: 0,
        }
    }

    /// An error here ends the reading; what can be read past goes to `out`.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let error = Diagnostic::error(span, "a second document in one policy");
                    return Err(error.help("one file holds one policy: remove `---`"));
                }
                Ok(())
            }
            Event::Alias(_) => Err(
                Diagnostic::error(span, "aliases (`*name`) are not used here")
                    .help("write the value out"),
            ),
            Event::Scalar(text, style, anchor, tag) => {
                self.plain_only(span, anchor, tag.is_some())?;
                let plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                self.add(Node {
                    span,
                    kind: Kind::Scalar { text, plain },
                })
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain_only(span, anchor, tag.is_some())?;
                self.descend(span, Open::List(span, Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.plain_only(span, anchor, tag.is_some())?;
                let (entries, key) = (Vec::new(), None);
                self.descend(span, Open::Map { span, entries, key })
            }
            Event::SequenceEnd | Event::MappingEnd => self.ascend(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn plain_only(&self, span: Span, anchor: usize, tag: bool) -> Result<(), Diagnostic> {
        if anchor != 0 {
            let error = Diagnostic::error(span, "anchors (`&name`) are not used here");
            return Err(error.help("write the value out where it is needed"));
        }
        if tag {
            let error = Diagnostic::error(span, "tags (`!name`) are not used here");
            return Err(error.help("remove the tag"));
        }
        Ok(())
    }

    fn descend(&mut self, span: Span, open: Open) -> Result<(), Diagnostic> {
        self.key_is_a_word(span)?;
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Diagnostic::error(span, message));
        }
        self.open.push(open);
        Ok(())
    }

    fn key_is_a_word(&self, span: Span) -> Result<(), Diagnostic> {
        match self.open.last() {
            Some(Open::Map { key: None, .. }) => {
                Err(Diagnostic::error(span, "a key must be a plain word"))
            }
            _ => Ok(()),
        }
    }

    fn ascend(&mut self, end: Span) -> Result<(), Diagnostic> {
        let (mut span, kind) = match self.open.pop() {
            Some(Open::List(span, items)) => (span, Kind::List(items)),
            Some(Open::Map { span, entries, .. }) => (span, Kind::Map(entries)),
            None => return Ok(()),
        };
        span.end = end.end.max(span.start);
        self.add(Node { span, kind })
    }

    fn add(&mut self, node: Node) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values in one policy");
            return Err(Diagnostic::error(node.span, message));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match (key.take(), node.kind) {
                (Some(name), _) if entries.len() >= MAX_KEYS => {
                    let message = format!("more than {MAX_KEYS} keys in one mapping");
                    return Err(Diagnostic::error(name.span, message));
                }
                (Some(name), kind) => {
                    let span = node.span;
                    add_entry(self.out, entries, name, Node { span, kind });
                }
                (None, Kind::Scalar { text, .. }) => *key = Some(Spanned::new(text, node.span)),
                (None, _) => {}
            },
        }
        Ok(())
    }
}

fn add_entry(
    out: &mut Diagnostics,
    entries: &mut Vec<(Spanned<String>, Node)>,
    name: Spanned<String>,
    value: Node,
) {
    let earlier = entries.iter().find(|(known, _)| known.value == name.value);
    match earlier {
        Some((first, _)) => {
            let message = format!("key `{}` is given twice", name.value);
            let help = format!(
                "it is first given at line {}: merge the two",
                first.span.line
            );
            out.push(Diagnostic::error(name.span, message).help(help));
        }
        None => entries.push((name, value)),
    }
}
