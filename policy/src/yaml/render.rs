//! Nodes back to text that reads as the same nodes.

use std::fmt::Write as _;

use super::{Kind, Node, is_null_word};
use crate::source::Source;

/// A value in one line.
pub(crate) fn flow(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar { text, plain } => scalar(text, *plain),
        Kind::List(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Kind::Map(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| format!("{}: {}", key.value, flow(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn scalar(text: &str, plain: bool) -> String {
    let word = is_word(text);
    let as_plain = Node {
        span: Default::default(),
        kind: Kind::Scalar {
            text: text.to_owned(),
            plain: true,
        },
    };
    if plain && is_null_word(text) {
        return "~".to_owned();
    }
    if word && (plain || as_plain.describe() == "a string") {
        return text.to_owned();
    }
    if text.chars().any(char::is_control) {
        // JSON's escapes are YAML's.
        return serde_json::Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether a text is a word that needs no quotes, unless it means something else.
pub(crate) fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "/._+@-".contains(c);
    !text.is_empty() && text.chars().all(fits) && !text.starts_with(['-', '.', '@'])
}

/// A whole policy, one line for each grant. A line that is not of the first file says whose it is.
pub(crate) fn document(root: &Node, source: &Source) -> String {
    let mut out = String::new();
    let Kind::Map(entries) = &root.kind else {
        return flow(root);
    };
    for (key, value) in entries {
        match &value.kind {
            Kind::Scalar { .. } => line(&mut out, 0, &format!("{}: ", key.value), value, source),
            _ => {
                let _ = writeln!(out, "{}:", key.value);
                block(&mut out, 2, value, source);
            }
        }
    }
    out
}

fn block(out: &mut String, indent: usize, node: &Node, source: &Source) {
    match &node.kind {
        Kind::List(items) => items
            .iter()
            .for_each(|item| line(out, indent, "- ", item, source)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                let head = format!("{}: ", key.value);
                match &value.kind {
                    Kind::List(items) if items.iter().any(|item| !is_scalar(item)) => {
                        let _ = writeln!(out, "{:indent$}{}:", "", key.value);
                        block(out, indent + 2, value, source);
                    }
                    _ => line(out, indent, &head, value, source),
                }
            }
        }
        Kind::Scalar { .. } => {}
    }
}

fn is_scalar(node: &Node) -> bool {
    matches!(node.kind, Kind::Scalar { .. })
}

fn line(out: &mut String, indent: usize, head: &str, node: &Node, source: &Source) {
    let from = match (node.span.file, source.of(node.span)) {
        (0, _) | (_, None) => String::new(),
        (_, Some(text)) => {
            let name = crate::diagnostic::printable(text.name());
            format!("  # {name}:{}", node.span.line)
        }
    };
    let _ = writeln!(out, "{:indent$}{head}{}{from}", "", flow(node));
}
