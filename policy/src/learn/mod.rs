//! From what was recorded to the smallest policy that allows it. It is made of the lines that
//! [`crate::suggest()`] gives for each refusal, so that whatever section a line is of comes along;
//! nothing is added to what was seen but by a [`Rule`] that was asked for.

mod generalise;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

pub use generalise::{Rule, RuleError};

use crate::compile::compile;
use crate::compose::merge::{KEYED, TYPE, is_about};
use crate::edit::{self, EditError};
use crate::explain::{Question, explain};
use crate::facts::Facts;
use crate::model::parse;
use crate::source::Source;
use crate::yaml::{Kind, Node, render};

/// Most programs and actions that a line's comment names.
const NAMED: usize = 4;

/// One recorded action that a line would allow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The line, as [`crate::suggest()`] gives it.
    pub line: String,
    /// What was tried.
    pub action: String,
    /// Name of the program that tried it. The container chooses it.
    pub program: String,
}

/// What to do with what was seen.
pub struct Options<'a> {
    /// Rules by which paths are grouped, in their order.
    pub rules: &'a [Rule],
    /// Whether a path is a directory, if that is known.
    pub directory: &'a dyn Fn(&str) -> Option<bool>,
}

/// A line of the learned policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Line {
    /// Where it goes, such as `files` or `processes.signal`.
    pub place: String,
    /// The line, as [`edit::add_line`] takes it.
    pub line: String,
    /// How often what it allows was seen.
    pub count: usize,
    /// What was done.
    pub actions: BTreeSet<String>,
    /// By whom.
    pub programs: BTreeSet<String>,
    /// The paths that it stands for, if a rule grouped them.
    pub instead_of: BTreeSet<String>,
    /// Whether what it names is not there now.
    pub missing: bool,
    /// All that in a few words.
    pub why: String,
}

/// A learned policy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Learned {
    /// Its lines.
    pub lines: Vec<Line>,
    /// Lines that are no grants and are left out, and how often each was there.
    pub unread: BTreeMap<String, usize>,
    #[serde(skip)]
    entries: Vec<(Entry, Line)>,
}

/// What was seen of one object.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    /// Keys from the section down.
    place: Vec<String>,
    /// The object: keys of a grant that say what it is about; empty for a list of words.
    about: Vec<(String, String)>,
    /// Values by key, words joined; for a list of words under the empty key.
    values: BTreeMap<String, BTreeSet<String>>,
    /// A single word instead of all that, such as `true`.
    word: Option<String>,
    count: usize,
    actions: BTreeSet<String>,
    programs: BTreeSet<String>,
    instead_of: BTreeSet<String>,
    /// What was grouped into this or repeats it: lines of their own where a nearer line is in the
    /// way.
    grouped: Vec<Entry>,
}

/// Makes a policy of what was seen.
pub fn learn(seen: &[Seen], options: &Options<'_>) -> Learned {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut unread = BTreeMap::new();
    let mut known: BTreeMap<&str, Option<Vec<Entry>>> = BTreeMap::new();
    for one in seen {
        let found = known
            .entry(&one.line)
            .or_insert_with(|| entries_of(&one.line));
        match found {
            Some(found) => {
                for mut entry in found.iter().cloned() {
                    entry.count = 1;
                    entry.actions.insert(shown(&one.action));
                    entry.programs.insert(shown(&one.program));
                    let known = entries.entry(entry.key()).or_default();
                    known.join(entry);
                }
            }
            None => *unread.entry(one.line.clone()).or_default() += 1,
        }
    }
    let mut entries: Vec<Entry> = entries.into_values().collect();
    generalise::apply(&mut entries, options.rules);
    generalise::restore(&mut entries);
    generalise::drop_repeated(&mut entries);
    drop_brought_along(&mut entries);
    let entries = entries.into_iter().map(|entry| {
        let line = entry.line(options);
        (entry, line)
    });
    let entries: Vec<(Entry, Line)> = entries.collect();
    Learned {
        lines: entries.iter().map(|(_, line)| line.clone()).collect(),
        unread,
        entries,
    }
}

/// Uses of capabilities that other lines bring along need none of their own.
fn drop_brought_along(entries: &mut Vec<Entry>) {
    let is_use = |entry: &Entry| entry.place.first().is_some_and(|key| key == KEYED);
    let others = entries.iter().filter(|entry| !is_use(entry));
    let others: Vec<Entry> = others.cloned().collect();
    let Ok(policy) = parse(
        "learned",
        &text_of(&others, "a", "", |_| (false, String::new())),
    ) else {
        return;
    };
    let facts = Facts::lexical(&policy, []);
    let Ok(compiled) = compile(&policy, &facts) else {
        return;
    };
    let needs_none = |name: &str, call: &str| {
        let question = format!("capability {name} {call}").parse::<Question>();
        question.is_ok_and(|question| explain(&policy, &compiled, &facts, &question).allowed)
    };
    for entry in entries.iter_mut().filter(|entry| is_use(entry)) {
        let name = entry.place.last().cloned().unwrap_or_default();
        for calls in entry.values.values_mut() {
            calls.retain(|call| !needs_none(&name, call));
        }
        entry.values.retain(|_, calls| !calls.is_empty());
    }
    entries.retain(|entry| !is_use(entry) || entry.word.is_some() || !entry.values.is_empty());
}

/// Names come from the container: whatever they hold, a comment stays one.
fn shown(name: &str) -> String {
    let fits = |c: char| c.is_ascii_graphic() || c == ' ';
    name.chars()
        .map(|c| if fits(c) { c } else { '?' })
        .collect()
}

/// The parts of a suggested line; nothing of one that is anything but grants. Entries may have been
/// written by others.
fn entries_of(line: &str) -> Option<Vec<Entry>> {
    let root = edit::grants(line).ok()?;
    let alone = render::document(&root, &Source::default());
    parse("line", &format!("reeve: v1\nname: a\n{alone}")).ok()?;
    let mut found = Vec::new();
    take(&root, &mut Vec::new(), &mut found);
    (!found.is_empty()).then_some(found)
}

fn take(node: &Node, place: &mut Vec<String>, found: &mut Vec<Entry>) {
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                place.push(key.value.clone());
                take(value, place, found);
                place.pop();
            }
        }
        Kind::List(items) => {
            let (lines, words): (Vec<&Node>, Vec<&Node>) = items
                .iter()
                .partition(|item| matches!(item.kind, Kind::Map(_)));
            found.extend(lines.into_iter().map(|line| grant(place, line)));
            if !words.is_empty() {
                let words = words.into_iter().map(render::flow).collect();
                found.push(Entry {
                    place: place.clone(),
                    values: BTreeMap::from([(String::new(), words)]),
                    ..Entry::default()
                });
            }
        }
        Kind::Scalar { .. } if place.is_empty() => {}
        Kind::Scalar { .. } => found.push(Entry {
            place: place.clone(),
            word: Some(render::flow(node)),
            ..Entry::default()
        }),
    }
}

/// A line: what is not about its object is a value, a single word of one as well.
fn grant(place: &[String], line: &Node) -> Entry {
    let mut entry = Entry {
        place: place.to_vec(),
        ..Entry::default()
    };
    let Kind::Map(entries) = &line.kind else {
        return entry;
    };
    let typed = entries.iter().any(|(key, _)| key.value == TYPE);
    for (key, value) in entries {
        let is_value = !is_about(typed, &key.value);
        match &value.kind {
            Kind::List(items) if is_value => {
                let words = items.iter().map(render::flow).collect();
                entry.values.insert(key.value.clone(), words);
            }
            Kind::Scalar { .. } if is_value && typed => {
                let word = BTreeSet::from([render::flow(value)]);
                entry.values.insert(key.value.clone(), word);
            }
            _ => {
                let text = render::flow(value);
                entry.about.push((key.value.clone(), text));
            }
        }
    }
    entry
}

impl Entry {
    fn key(&self) -> String {
        format!("{:?} {:?}", self.place, self.about)
    }

    /// Takes in what was seen of the same object.
    pub(crate) fn join(&mut self, other: Self) {
        self.place = other.place;
        self.about = other.about;
        for (key, words) in other.values {
            self.values.entry(key).or_default().extend(words);
        }
        self.word = other.word.or(self.word.take());
        self.count += other.count;
        self.actions.extend(other.actions);
        self.programs.extend(other.programs);
        self.instead_of.extend(other.instead_of);
        self.grouped.extend(other.grouped);
        if let Some(rights) = self.values.get_mut("allow")
            && self.place == ["files"]
            && rights.contains("write")
        {
            rights.retain(|right| !generalise::BROUGHT.contains(&right.as_str()));
        }
    }

    /// The value behind the place's last key.
    fn node(&self, optional: bool) -> String {
        if let Some(word) = &self.word {
            return word.clone();
        }
        let list = |words: &BTreeSet<String>| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            format!("[{}]", words.join(", "))
        };
        if !self.is_grant() {
            return self.values.values().map(list).collect();
        }
        let about = self
            .about
            .iter()
            .map(|(key, text)| format!("{key}: {text}"));
        let values = self.values.iter();
        let values = values.map(|(key, words)| format!("{key}: {}", list(words)));
        let optional = optional.then(|| "optional: true".to_owned());
        let all: Vec<String> = about.chain(values).chain(optional).collect();
        format!("{{ {} }}", all.join(", "))
    }

    /// Whether this is a line with keys, not a list of words or a word.
    fn is_grant(&self) -> bool {
        self.word.is_none() && !self.values.contains_key("")
    }

    fn line(&self, options: &Options<'_>) -> Line {
        let directory = self.path().map(|path| (options.directory)(&path));
        let optional = directory == Some(None);
        let mut value = self.node(optional);
        if self.is_grant() {
            value = format!("[{value}]");
        }
        for key in self.place.iter().rev() {
            value = format!("{{ {key}: {value} }}");
        }
        Line {
            place: self.place.join("."),
            line: value,
            count: self.count,
            actions: self.actions.clone(),
            programs: self.programs.clone(),
            instead_of: self.instead_of.clone(),
            missing: optional,
            why: self.why(directory.flatten() == Some(true), optional),
        }
    }

    fn why(&self, directory: bool, missing: bool) -> String {
        let few = |all: &BTreeSet<String>| {
            let mut text: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
            if all.len() > NAMED {
                text.push("…");
            }
            text.join(", ")
        };
        let mut why = format!(
            "{}×: {} by {}",
            self.count,
            few(&self.actions),
            few(&self.programs)
        );
        if !self.instead_of.is_empty() {
            let _ = write!(why, "; instead of {} paths", self.instead_of.len());
        }
        if directory {
            why += "; a directory: with everything below";
        }
        if missing {
            why += "; not there now";
        }
        why
    }
}

impl Learned {
    /// A policy of these lines alone.
    pub fn policy(&self, name: &str, head: &str) -> String {
        let lines = self.entries.iter();
        let mut lines = lines.map(|(_, line)| (line.missing, line.why.clone()));
        let entries: Vec<Entry> = self
            .entries
            .iter()
            .map(|(entry, _)| entry.clone())
            .collect();
        text_of(&entries, name, head, |_| lines.next().unwrap_or_default())
    }

    /// These lines put into a policy; what it says already stays. Lines that contradict it are
    /// given back with the reason.
    ///
    /// # Errors
    /// The text is no policy.
    pub fn put_into(
        &self,
        text: &str,
        options: &Options<'_>,
    ) -> Result<(String, Vec<(Line, EditError)>), EditError> {
        let there = edit::file_paths(text)?;
        let mut text = text.to_owned();
        let mut left = Vec::new();
        for (entry, line) in &self.entries {
            let nearer = entry
                .grouped
                .iter()
                .filter(|one| one.is_below_one_of(&there, entry));
            let nearer = nearer.map(|one| one.line(options));
            for line in std::iter::once(line.clone()).chain(nearer) {
                match edit::add_line(&text, &line.line, Some(&line.why)) {
                    Ok(added) => text = added,
                    Err(error @ (EditError::Contradicted { .. } | EditError::Place { .. })) => {
                        left.push((line, error));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((text, left))
    }
}

/// A policy of entries; `about` says of each whether its object is missing, and why it is there.
fn text_of(
    entries: &[Entry],
    name: &str,
    head: &str,
    mut about: impl FnMut(&Entry) -> (bool, String),
) -> String {
    let mut out = String::new();
    for line in head.lines() {
        let _ = writeln!(out, "# {}", shown(line));
    }
    let _ = writeln!(out, "reeve: v1\nname: {name}");
    let mut open: Vec<String> = Vec::new();
    for entry in entries {
        // The last key of a list of words stands before them, that of a grant above.
        let heads = match entry.is_grant() {
            true => entry.place.as_slice(),
            false => entry.place.get(..entry.place.len() - 1).unwrap_or(&[]),
        };
        let same = heads.iter().zip(&open).take_while(|(a, b)| a == b).count();
        for (depth, key) in heads.iter().enumerate().skip(same) {
            let _ = writeln!(out, "{:indent$}{key}:", "", indent = depth * 2);
        }
        open = heads.to_vec();
        let indent = heads.len() * 2;
        let (missing, why) = about(entry);
        let value = entry.node(missing);
        let start = match (entry.is_grant(), entry.place.last()) {
            (false, Some(key)) => format!("{key}: "),
            _ => "- ".to_owned(),
        };
        let _ = writeln!(out, "{:indent$}{start}{value}  # {why}", "");
    }
    out
}

/// The host paths that lines name.
pub fn paths(seen: &[Seen]) -> BTreeSet<String> {
    let entries = seen.iter().filter_map(|one| entries_of(&one.line));
    entries.flatten().filter_map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests;
