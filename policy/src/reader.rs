//! Typed reading of nodes: every finding is reported, and reading goes on with what could be read.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::names::{closest, did_you_mean};
use crate::source::{Span, Spanned};
use crate::yaml::{Kind, Node};

/// Reads nodes and collects what is wrong with them.
pub(crate) struct Reader {
    pub(crate) out: Diagnostics,
}

/// The entries of a mapping whose keys are all known.
pub(crate) struct Fields<'n> {
    span: Span,
    entries: &'n [(Spanned<String>, Node)],
}

impl<'n> Fields<'n> {
    /// The value of `key`.
    pub(crate) fn find(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The key as written, and its value.
    pub(crate) fn entry(&self, key: &str) -> Option<(Span, &'n Node)> {
        self.entries
            .iter()
            .find(|(known, _)| known.value == key)
            .map(|(known, value)| (known.span, value))
    }
}

impl Reader {
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.out.push(Diagnostic::error(span, message));
    }

    fn expected(&mut self, node: &Node, wanted: &str) {
        let message = format!("expected {wanted}, found {}", node.describe());
        self.error(node.span, message);
    }

    /// A mapping (`what` in words) with these keys; unknown ones are reported.
    pub(crate) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
    ) -> Option<Fields<'n>> {
        let entries = self.entries(node, what)?;
        for (key, _) in entries {
            if !known.contains(&key.value.as_str()) {
                let help = did_you_mean(&key.value, known.iter().copied())
                    .unwrap_or_else(|| format!("known here: {}", known.join(", ")));
                let message = format!("unknown key `{}` in {what}", key.value);
                self.out
                    .push(Diagnostic::error(key.span, message).help(help));
            }
        }
        Some(Fields {
            span: node.span,
            entries,
        })
    }

    /// A mapping with any keys.
    pub(crate) fn entries<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
    ) -> Option<&'n [(Spanned<String>, Node)]> {
        match &node.kind {
            Kind::Map(entries) => Some(entries),
            _ => {
                self.expected(node, &format!("{what}, a mapping (`key: value`)"));
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub(crate) fn require<'n>(
        &mut self,
        fields: &Fields<'n>,
        key: &str,
        example: &str,
    ) -> Option<&'n Node> {
        let found = fields.find(key);
        // A misspelt key has been reported already.
        let misspelt =
            |(known, _): &(Spanned<String>, Node)| closest(&known.value, [key]).is_some();
        if found.is_none() && !fields.entries.iter().any(misspelt) {
            let error = Diagnostic::error(fields.span, format!("`{key}` is missing"));
            self.out.push(error.help(format!("add `{key}: {example}`")));
        }
        found
    }

    /// A list; a section that holds nothing is an empty one.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::List(items) => Some(items),
            Kind::Scalar { text, .. } if !node.is_null() => {
                let message = format!("expected a list of {what}, found {}", node.describe());
                let error = Diagnostic::error(node.span, message);
                self.out.push(error.help(format!("write `[{text}]`")));
                None
            }
            _ => {
                self.expected(node, &format!("a list of {what}"));
                None
            }
        }
    }

    /// A word or text.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<Spanned<&'n str>> {
        match (&node.kind, node.describe()) {
            (Kind::Scalar { text, .. }, "a string") => Some(Spanned::new(text, node.span)),
            (Kind::Scalar { text, .. }, kind) if kind != "nothing" => {
                let error = Diagnostic::error(node.span, format!("expected {what}, found {kind}"));
                self.out.push(error.help(format!("quote it: \"{text}\"")));
                None
            }
            _ => {
                self.expected(node, what);
                None
            }
        }
    }

    /// A word that may look like a number.
    pub(crate) fn word<'n>(&mut self, node: &'n Node, what: &str) -> Option<Spanned<&'n str>> {
        match &node.kind {
            Kind::Scalar { text, .. } if !node.is_null() => Some(Spanned::new(text, node.span)),
            _ => {
                self.expected(node, what);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: &Node) -> Option<bool> {
        let meant = match &node.kind {
            Kind::Scalar { text, plain: true } if text == "true" => return Some(true),
            Kind::Scalar { text, plain: true } if text == "false" => return Some(false),
            Kind::Scalar { text, .. } => match text.to_lowercase().as_str() {
                "yes" | "on" | "true" => Some("write `true`".to_owned()),
                "no" | "off" | "false" => Some("write `false`".to_owned()),
                _ => None,
            },
            _ => None,
        };
        let message = format!("expected `true` or `false`, found {}", node.describe());
        self.out
            .push(Diagnostic::error(node.span, message).maybe_help(meant));
        None
    }

    /// A list, never empty and without repetition, of words from a vocabulary.
    pub(crate) fn words<T: Copy + PartialEq>(
        &mut self,
        node: &Node,
        what: &str,
        known: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(node, what)?;
        if items.is_empty() {
            let error = Diagnostic::error(node.span, format!("the list of {what} is empty"));
            self.out
                .push(error.help("name at least one, or remove the line"));
            return None;
        }
        let mut read = Vec::new();
        for item in items {
            let Some(word) = self.word(item, &format!("one of {what}")) else {
                continue;
            };
            match parse(word.value) {
                Some(value) if read.contains(&value) => {
                    self.error(word.span, format!("`{}` is listed twice", word.value));
                }
                Some(value) => read.push(value),
                None => self.unknown_word(word, what, known),
            }
        }
        Some(read)
    }

    /// Reports a word that is not in a vocabulary.
    pub(crate) fn unknown_word(&mut self, word: Spanned<&str>, what: &str, known: &[&str]) {
        let help = did_you_mean(word.value, known.iter().copied()).or_else(|| {
            // A long vocabulary is no help; the reference lists it.
            (known.len() <= 16).then(|| format!("known {what}: {}", known.join(", ")))
        });
        let message = format!("`{}` is not among the {what}", word.value);
        self.out
            .push(Diagnostic::error(word.span, message).maybe_help(help));
    }
}
