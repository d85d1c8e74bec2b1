//! Lines of several files as those of one. What a line is about is told by its keys: those that say
//! what is allowed are its value, the others name its object.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::{Kind, Node, render};

/// Keys of a line that say what is allowed, not of what.
const VALUES: [&str; 6] = ["allow", "flags", "ioctl", "optional", "signals", "types"];

/// A line that has this key is about nothing else: there is one for each type of mounts.
pub(crate) const TYPE: &str = "type";

/// The section whose keys are objects: the list behind a key is its value.
pub(crate) const KEYED: &str = "capabilities";

/// Adds the lines of `from`. Those that say the same of one object become one; those that do not
/// are a conflict.
pub(super) fn merge(into: &mut Node, from: Node, out: &mut Diagnostics) {
    merge_at("", into, from, out);
}

fn merge_at(key: &str, into: &mut Node, from: Node, out: &mut Diagnostics) {
    if from.is_null() || render::flow(into) == render::flow(&from) {
        return;
    }
    if into.is_null() {
        *into = from;
        return;
    }
    match (&mut into.kind, from.kind) {
        (Kind::Map(known), Kind::Map(entries)) => {
            for (name, value) in entries {
                let plain = plain_key(key, &name.value).to_owned();
                let same = known
                    .iter_mut()
                    .find(|(known, _)| plain_key(key, &known.value) == plain);
                match same {
                    Some((_, known)) if key == KEYED => atomic(&plain, known, &value, out),
                    Some((_, known)) => merge_at(&plain, known, value, out),
                    None => known.push((name, value)),
                }
            }
        }
        (Kind::List(known), Kind::List(items)) => merge_lists(known, items, out),
        (_, kind) => {
            let span = from.span;
            conflict(key, into, &Node { span, kind }, out);
        }
    }
}

fn merge_lists(known: &mut Vec<Node>, items: Vec<Node>, out: &mut Diagnostics) {
    let places = known.iter().enumerate();
    let mut places: BTreeMap<String, usize> =
        places.map(|(at, item)| (identity(item), at)).collect();
    for item in items {
        let about = identity(&item);
        match places.get(&about).and_then(|at| known.get(*at)) {
            Some(first) => atomic(&about, first, &item, out),
            None => {
                places.insert(about, known.len());
                known.push(item);
            }
        }
    }
}

fn atomic(about: &str, known: &Node, found: &Node, out: &mut Diagnostics) {
    if render::flow(known) != render::flow(found) {
        conflict(about, known, found, out);
    }
}

fn conflict(about: &str, known: &Node, found: &Node, out: &mut Diagnostics) {
    let at = out.place(known.span, found.span);
    let message = match about {
        "" => format!("the line about no named mount says something else here than at {at}"),
        about => format!("`{about}` says something else here than at {at}"),
    };
    let error = Diagnostic::error(found.span, message);
    out.push(error.help("keep one of the lines, or make them the same"));
}

/// Takes away what `over` says something about: its line is the one that holds.
pub(super) fn subtract(from: &mut Node, over: &Node) {
    subtract_at("", from, over);
}

fn subtract_at(key: &str, from: &mut Node, over: &Node) {
    let (Kind::Map(entries), Kind::Map(above)) = (&mut from.kind, &over.kind) else {
        return;
    };
    entries.retain_mut(|(name, value)| {
        let plain = plain_key(key, &name.value);
        let same = |(known, _): &&(_, Node)| plain_key(key, name_of(known)) == plain;
        let Some((_, over)) = above.iter().find(same) else {
            return true;
        };
        match (&mut value.kind, &over.kind) {
            _ if over.is_null() => true,
            (Kind::Map(_), Kind::Map(_)) => {
                subtract_at(plain, value, over);
                true
            }
            (Kind::List(items), Kind::List(above)) if key != KEYED && !words_only(above) => {
                let said: Vec<String> = above.iter().map(identity).collect();
                items.retain(|item| !said.contains(&identity(item)));
                !items.is_empty()
            }
            _ => false,
        }
    });
}

fn name_of(key: &crate::source::Spanned<String>) -> &str {
    &key.value
}

/// A list of words is one line: the nearest holds alone.
fn words_only(items: &[Node]) -> bool {
    let word = |item: &Node| matches!(item.kind, Kind::Scalar { .. });
    items.iter().all(word)
}

/// `SYS_ADMIN` and `CAP_SYS_ADMIN` are one object.
pub(crate) fn plain_key<'k>(section: &str, key: &'k str) -> &'k str {
    match section {
        KEYED => key.strip_prefix("CAP_").unwrap_or(key),
        _ => key,
    }
}

/// Whether a key says what a line is about; `typed`: the line has a type.
pub(crate) fn is_about(typed: bool, key: &str) -> bool {
    match typed {
        true => key == TYPE,
        false => !VALUES.contains(&key),
    }
}

/// What a line is about, in words.
pub(crate) fn identity(item: &Node) -> String {
    let Kind::Map(entries) = &item.kind else {
        return render::flow(item);
    };
    let typed = entries.iter().any(|(key, _)| key.value == TYPE);
    let about = entries.iter();
    let about = about.filter(|(key, _)| is_about(typed, &key.value));
    let mut about: Vec<String> = about
        .map(|(key, value)| format!("{}: {}", key.value, render::flow(value)))
        .collect();
    about.sort();
    about.join(", ")
}
