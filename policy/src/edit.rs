//! Lines put into the text of a policy: everything else of it, comments above all, stays byte for
//! byte.

mod line;

pub(crate) use line::grants;

use crate::compose::merge::{KEYED, identity, plain_key};
use crate::diagnostic::{Diagnostics, printable};
use crate::model::HostPath;
use crate::source::Source;
use crate::yaml::{self, Kind, Node, render};

/// Why a line cannot be put in.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum EditError {
    /// The text or the line is no YAML of ours.
    #[error("{0}")]
    Syntax(Diagnostics),
    /// The line is not of the form that `reeve audit` prints.
    #[error(
        "`{}` is not a line of policy\n\
         help: write it as `files: - {{ path: /srv, allow: [read] }}`",
        printable(.0)
    )]
    Form(String),
    /// The line has a key that grants nothing, such as `mode`.
    #[error(
        "`{}` is no grant: a line that is added only allows something\n\
         help: to change what else a policy says, edit its file",
        printable(.0)
    )]
    NoGrant(String),
    /// The text says something that the line contradicts.
    #[error(
        "line {line} says `{said}`, which the new line contradicts\n\
         help: change it by hand, if it is not meant"
    )]
    Contradicted {
        /// Its line, counted from 1.
        line: usize,
        /// What it says.
        said: String,
    },
    /// The text is written in a way that cannot be added to.
    #[error(
        "nothing can be added at line {line}\n\
         help: write the section as a list, a line for each grant"
    )]
    Place {
        /// The line.
        line: usize,
    },
}

/// Keys that only add to what a line allows.
const ADDING: [&str; 2] = ["ioctl", "files"];

/// Keys with a list or one word.
const SOURCES: [&str; 2] = ["source", "target"];

/// What may stand behind a new line.
const COMMENT: &str = "  # ";

/// The text with a line added, such as `files: - { path: /srv, allow: [read] }`. Rights that it
/// adds to an object that has a line are put into that line; what is there already changes nothing.
/// `why` becomes a comment behind a line of its own.
///
/// # Errors
/// See [`EditError`]; the result is read again, and is what it should be.
pub fn add_line(text: &str, line: &str, why: Option<&str>) -> Result<String, EditError> {
    let new = grants(line)?;
    let Kind::Map(sections) = &new.kind else {
        return Err(EditError::Form(line.to_owned()));
    };
    let mut text = text.to_owned();
    for (name, value) in sections {
        for one in single(value) {
            text = put_whole(text, &name.value, &one, why)?;
        }
    }
    let _ = read("policy", &text)?;
    Ok(text)
}

/// Most keys of a line that are put in one after the other.
const PUTS: usize = 4;

/// Puts in until all of it is found there.
fn put_whole(
    text: String,
    section: &str,
    one: &Node,
    why: Option<&str>,
) -> Result<String, EditError> {
    let mut editor = Editor { text, why };
    for _ in 0..=PUTS {
        let before = editor.text.clone();
        let root = read("policy", &before)?;
        editor.put(&root, &[section], one)?;
        if editor.text == before {
            return Ok(before);
        }
    }
    Err(editor.place(one))
}

/// The paths that the lines of `files` name in a text.
pub(crate) fn file_paths(text: &str) -> Result<Vec<HostPath>, EditError> {
    let root = read("policy", text)?;
    let Kind::Map(sections) = &root.kind else {
        return Ok(Vec::new());
    };
    let files = sections.iter().find(|(name, _)| name.value == "files");
    let Some((
        _,
        Node {
            kind: Kind::List(items),
            ..
        },
    )) = files
    else {
        return Ok(Vec::new());
    };
    let paths = items.iter().filter_map(|item| match &item.kind {
        Kind::Map(entries) => {
            let (_, value) = entries.iter().find(|(key, _)| key.value == "path")?;
            match &value.kind {
                Kind::Scalar { text, .. } => HostPath::parse(text).ok(),
                _ => None,
            }
        }
        _ => None,
    });
    Ok(paths.collect())
}

fn read(name: &str, text: &str) -> Result<Node, EditError> {
    let mut source = Source::default();
    let text = source.add(name, text);
    let mut out = Diagnostics::new(source);
    match yaml::read(&text, &mut out) {
        Some(node) if !out.has_errors() => Ok(node),
        _ => Err(EditError::Syntax(out)),
    }
}

/// A value in parts of which each has one entry at most at each level that is not a grant.
fn single(value: &Node) -> Vec<Node> {
    let span = value.span;
    match &value.kind {
        Kind::Map(entries) => entries
            .iter()
            .flat_map(|(key, inner)| {
                single(inner).into_iter().map(|inner| Node {
                    span,
                    kind: Kind::Map(vec![(key.clone(), inner)]),
                })
            })
            .collect(),
        Kind::List(items) => items
            .iter()
            .map(|item| Node {
                span,
                kind: Kind::List(vec![item.clone()]),
            })
            .collect(),
        Kind::Scalar { .. } => vec![value.clone()],
    }
}

struct Editor<'a> {
    text: String,
    why: Option<&'a str>,
}

impl Editor<'_> {
    /// Puts `new` under the last key of `path` in the mapping `node`.
    fn put(&mut self, node: &Node, path: &[&str], new: &Node) -> Result<(), EditError> {
        let Kind::Map(entries) = &node.kind else {
            return Err(self.place(node));
        };
        let section = path.len().checked_sub(2).map_or("", |at| path[at]);
        let key = path.last().copied().unwrap_or("");
        let same = entries
            .iter()
            .find(|(known, _)| plain_key(section, &known.value) == plain_key(section, key));
        match same {
            None => self.new_key(node, key, new, path.len()),
            Some((known, value)) if value.is_null() => {
                self.fill(known.span.end, key, new, path.len())
            }
            Some((_, value)) => self.put_into(value, path, new),
        }
    }

    fn put_into(&mut self, value: &Node, path: &[&str], new: &Node) -> Result<(), EditError> {
        if render::flow(value) == render::flow(new) {
            return Ok(());
        }
        match (&value.kind, &new.kind) {
            (Kind::Map(_), Kind::Map(entries)) => match entries.first() {
                Some((key, inner)) => {
                    let mut path = path.to_vec();
                    path.push(&key.value);
                    self.put(value, &path, inner)
                }
                None => Ok(()),
            },
            (Kind::List(items), Kind::List(new)) => match new.first() {
                Some(item) => self.put_into_list(value, items, item),
                None => Ok(()),
            },
            // `all` holds every call already.
            (Kind::Scalar { text, .. }, Kind::List(_)) if text == "all" => Ok(()),
            (Kind::List(_), Kind::Scalar { text, .. }) if text == "all" && path[0] == KEYED => {
                let (start, end) = self.extent(value);
                self.text.replace_range(start..end, "all");
                Ok(())
            }
            _ => Err(EditError::Contradicted {
                line: value.span.line,
                said: render::flow(value),
            }),
        }
    }

    fn put_into_list(&mut self, list: &Node, items: &[Node], new: &Node) -> Result<(), EditError> {
        let about = identity(new);
        let Some(line) = items.iter().find(|item| identity(item) == about) else {
            return self.new_item(list, items, new);
        };
        let (Kind::Map(known), Kind::Map(wanted)) = (&line.kind, &new.kind) else {
            return Ok(());
        };
        for (key, value) in wanted {
            let Some((_, held)) = known.iter().find(|(name, _)| name.value == key.value) else {
                match ADDING.contains(&key.value.as_str()) {
                    true => return self.new_key(line, &key.value, value, 3),
                    // Without it, the line there holds for all.
                    false => continue,
                }
            };
            match (&held.kind, &value.kind) {
                (Kind::List(has), Kind::List(adds)) => {
                    let has: Vec<String> = has.iter().map(render::flow).collect();
                    let adds = adds.iter().map(render::flow);
                    let missing: Vec<String> = adds.filter(|one| !has.contains(one)).collect();
                    if !missing.is_empty() {
                        return self.more_words(held, &missing);
                    }
                }
                _ if render::flow(held) == render::flow(value) => {}
                (Kind::Scalar { .. }, adds) if SOURCES.contains(&key.value.as_str()) => {
                    let adds = match adds {
                        Kind::List(adds) => adds.as_slice(),
                        _ => std::slice::from_ref(value),
                    };
                    return self.more_of_one(held, adds);
                }
                (Kind::List(has), Kind::Scalar { .. }) if SOURCES.contains(&key.value.as_str()) => {
                    let adds = render::flow(value);
                    if !has.iter().any(|one| render::flow(one) == adds) {
                        return self.more_words(held, &[adds]);
                    }
                }
                _ if key.value == "optional" => {}
                _ => {
                    return Err(EditError::Contradicted {
                        line: held.span.line,
                        said: format!("{}: {}", key.value, render::flow(held)),
                    });
                }
            }
        }
        Ok(())
    }

    /// A list in the place of one word.
    fn more_of_one(&mut self, held: &Node, adds: &[Node]) -> Result<(), EditError> {
        let mut words = vec![render::flow(held)];
        for word in adds.iter().map(render::flow) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        if words.len() > 1 {
            let (start, end) = self.extent(held);
            let list = format!("[{}]", words.join(", "));
            self.text.replace_range(start..end, &list);
        }
        Ok(())
    }

    /// Words at the end of a list that has some.
    fn more_words(&mut self, list: &Node, words: &[String]) -> Result<(), EditError> {
        let (start, end) = self.extent(list);
        if self
            .text
            .get(start..end)
            .is_some_and(|text| text.starts_with('['))
        {
            return self.before_closing(start, end, &words.join(", "));
        }
        let Kind::List(items) = &list.kind else {
            return Err(self.place(list));
        };
        let last = items.last().ok_or_else(|| self.place(list))?;
        let indent = self.indent_of(last.span.start);
        let lines: Vec<String> = words
            .iter()
            .map(|word| format!("{indent}- {word}"))
            .collect();
        self.after_line(last, &lines.join("\n"));
        Ok(())
    }

    fn new_item(&mut self, list: &Node, items: &[Node], new: &Node) -> Result<(), EditError> {
        let (start, end) = self.extent(list);
        let item = render::flow(new);
        if self
            .text
            .get(start..end)
            .is_some_and(|text| text.starts_with('['))
        {
            return self.before_closing(start, end, &item);
        }
        let last = items.last().ok_or_else(|| self.place(list))?;
        let indent = self.indent_of(last.span.start);
        let why = self.comment();
        self.after_line(last, &format!("{indent}- {item}{why}"));
        Ok(())
    }

    /// A key that the mapping does not have.
    fn new_key(
        &mut self,
        map: &Node,
        key: &str,
        new: &Node,
        depth: usize,
    ) -> Result<(), EditError> {
        let (start, end) = self.extent(map);
        if self
            .text
            .get(start..end)
            .is_some_and(|text| text.starts_with('{'))
        {
            let entry = format!("{key}: {}", render::flow(new));
            return self.before_closing(start, end, &entry);
        }
        let Kind::Map(entries) = &map.kind else {
            return Err(self.place(map));
        };
        let (first, last) = match (entries.first(), entries.last()) {
            (Some((first, _)), Some((_, last))) => (first, last),
            _ => return Err(self.place(map)),
        };
        let indent = " ".repeat(first.span.column.saturating_sub(1));
        let lines = self.entry(&indent, key, new, depth);
        self.after_line(last, &lines);
        Ok(())
    }

    /// A key behind which nothing is written yet.
    fn fill(
        &mut self,
        key_end: usize,
        key: &str,
        new: &Node,
        depth: usize,
    ) -> Result<(), EditError> {
        let start = self.line_start(key_end);
        let end = self.line_end(key_end);
        let rest = self.text.get(key_end..end).unwrap_or("");
        let rest = rest.trim_start_matches([':', ' ', '~']);
        let line = self.text.get(start..key_end).unwrap_or("");
        if line.trim_start() != key || !(rest.is_empty() || rest.starts_with('#')) {
            let line = self.text[..key_end].lines().count();
            return Err(EditError::Place { line });
        }
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let lines = self.entry(&indent, key, new, depth);
        match lines.split_once('\n') {
            // The key and its comment stay as they are.
            Some((_, below)) => self.insert_below(end, below),
            None => {
                let head = format!("{indent}{key}:");
                let value = lines.strip_prefix(&head).unwrap_or(&lines).to_owned();
                self.text
                    .replace_range(key_end..key_end + 1, &format!(":{value}"));
            }
        }
        Ok(())
    }

    /// A key with its value, a section spread over lines.
    fn entry(&self, indent: &str, key: &str, new: &Node, depth: usize) -> String {
        let why = self.comment();
        match &new.kind {
            Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_))) => {
                let items = items.iter().map(render::flow);
                let items: Vec<String> = items
                    .map(|item| format!("\n{indent}  - {item}{why}"))
                    .collect();
                format!("{indent}{key}:{}", items.concat())
            }
            Kind::Map(entries) if depth < 3 => {
                let inner = format!("{indent}  ");
                let entries = entries.iter();
                let entries: Vec<String> = entries
                    .map(|(key, value)| {
                        format!("\n{}", self.entry(&inner, &key.value, value, depth + 1))
                    })
                    .collect();
                format!("{indent}{key}:{}", entries.concat())
            }
            _ => format!("{indent}{key}: {}{why}", render::flow(new)),
        }
    }

    fn comment(&self) -> String {
        self.why
            .map_or(String::new(), |why| format!("{COMMENT}{why}"))
    }

    fn place(&self, node: &Node) -> EditError {
        EditError::Place {
            line: node.span.line,
        }
    }

    /// Where a node is in the text. A collection in block style ends where its last value does, not
    /// where the next thing begins.
    fn extent(&self, node: &Node) -> (usize, usize) {
        let start = node.span.start;
        let end = node.span.end.min(self.text.len()).max(start);
        let text = self.text.get(start..end).unwrap_or("");
        let own = start + text.trim_end().len();
        let end = match &node.kind {
            Kind::List(items) if !text.starts_with('[') => {
                items.iter().map(|item| self.extent(item).1).max()
            }
            Kind::Map(entries) if !text.starts_with('{') => {
                let ends = entries.iter().map(|(key, value)| match value.is_null() {
                    true => key.span.end,
                    false => self.extent(value).1,
                });
                ends.max()
            }
            Kind::List(_) | Kind::Map(_) => flow_length(text).map(|length| start + length),
            Kind::Scalar { .. } => None,
        };
        (start, end.unwrap_or(own))
    }

    fn before_closing(&mut self, start: usize, end: usize, what: &str) -> Result<(), EditError> {
        let inside = self
            .text
            .get(start + 1..end.saturating_sub(1))
            .unwrap_or("");
        let closed = self
            .text
            .get(..end)
            .is_some_and(|text| text.ends_with([']', '}']));
        // A comment within would swallow what is put behind it.
        let comment = [" #", "\t#", "\n#"];
        if !closed || comment.iter().any(|mark| inside.contains(mark)) {
            let line = self.text[..start].lines().count().max(1);
            return Err(EditError::Place { line });
        }
        let kept = inside.trim_end();
        let comma = match kept.trim().is_empty() || kept.ends_with(',') {
            true => "",
            false => ",",
        };
        let at = start + 1 + kept.len();
        let space = if kept.trim().is_empty() && inside.is_empty() {
            ""
        } else {
            " "
        };
        let space = if kept.is_empty() { space } else { " " };
        self.text.insert_str(at, &format!("{comma}{space}{what}"));
        Ok(())
    }

    fn line_start(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or("");
        before.rfind(['\n', '\r']).map_or(0, |end| end + 1)
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or("");
        at + rest.find(['\n', '\r']).unwrap_or(rest.len())
    }

    /// What stands before the dash of an item.
    fn indent_of(&self, item: usize) -> String {
        let line = self.text.get(self.line_start(item)..item).unwrap_or("");
        line.chars().take_while(|c| *c == ' ').collect()
    }

    /// Puts lines below the line on which a node ends, its comment included.
    fn after_line(&mut self, node: &Node, lines: &str) {
        let (_, end) = self.extent(node);
        let end = self.line_end(end);
        self.insert_below(end, lines);
    }

    fn insert_below(&mut self, end: usize, lines: &str) {
        let ending = match self.text.get(end..end + 2) {
            Some("\r\n") => "\r\n",
            _ => "\n",
        };
        let lines = lines.replace('\n', ending);
        self.text.insert_str(end, &format!("{ending}{lines}"));
    }
}

/// Bytes from an opening bracket to its closing one. The parser's own end may lie behind a comment.
fn flow_length(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut last = ' ';
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('"'), '\\') => drop(chars.next()),
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            // Within a plain word a quote is a letter.
            (None, '\'' | '"') if !last.is_alphanumeric() => quote = Some(c),
            (None, '#') if last.is_whitespace() => {
                chars.by_ref().find(|(_, c)| matches!(c, '\n' | '\r'));
            }
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            (None, _) => {}
        }
        last = c;
    }
    None
}

#[cfg(test)]
mod tests;
