//! A line as it is handed in. It may come from a log that a container has a hand in, or from
//! another host: it adds grants, and says nothing else of a policy.

use super::{EditError, read};
use crate::model::SECTIONS;
use crate::yaml::{Kind, Node, render};

/// The sections of a line, such as `files: - { path: /srv, allow: [read] }`.
///
/// # Errors
/// It is no YAML of ours, holds no section, or something that is no grant.
pub(crate) fn grants(line: &str) -> Result<Node, EditError> {
    if line.trim().is_empty() {
        return Err(EditError::Form(line.to_owned()));
    }
    let node = read("line", &spread(line))?;
    let Kind::Map(sections) = &node.kind else {
        return Err(EditError::Form(line.to_owned()));
    };
    for (key, _) in sections {
        if !SECTIONS.iter().any(|(name, _)| *name == key.value) {
            return Err(EditError::NoGrant(key.value.clone()));
        }
    }
    match sections.is_empty() {
        true => Err(EditError::Form(line.to_owned())),
        false => plain_keys(&node).map(|()| node),
    }
}

/// Keys are put into the text as they are: one that is more than a word could end its line.
fn plain_keys(node: &Node) -> Result<(), EditError> {
    match &node.kind {
        Kind::Map(entries) => entries.iter().try_for_each(|(key, value)| {
            if !render::is_word(&key.value) {
                return Err(EditError::NoGrant(key.value.clone()));
            }
            plain_keys(value)
        }),
        Kind::List(items) => items.iter().try_for_each(plain_keys),
        Kind::Scalar { .. } => Ok(()),
    }
}

/// `files: - {…}` as YAML takes it.
fn spread(line: &str) -> String {
    match line.split_once(": - ") {
        Some((section, item)) => format!("{section}:\n  - {item}\n"),
        None => line.to_owned(),
    }
}
