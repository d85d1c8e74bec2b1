//! Rules by which several paths become one directory. None is applied that was not asked for, and
//! none makes a line for a directory that half the host lies in.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::Entry;
use crate::model::HostPath;
use crate::model::value::quoted;

/// A rule that groups paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Nothing is grouped.
    None,
    /// As many entries of one directory, or more, with the same rights, become the directory.
    Siblings(usize),
    /// A path with more names than this becomes the directory of so many names.
    Depth(usize),
    /// Names that look made up for one use (`x.tmp`, `.x.Ab3dE9`, `x~`, `x.4711`) become their
    /// directory.
    Temporary,
}

/// Why a text is no rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a rule\nhelp: write none, siblings=N, depth=N (N from 2 on) or temporary")]
pub struct RuleError(String);

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let number = |text: &str| text.parse().ok().filter(|number| *number >= 2);
        let rule = match text.split_once('=') {
            None if text == "none" => Some(Self::None),
            None if text == "temporary" => Some(Self::Temporary),
            Some(("siblings", most)) => number(most).map(Self::Siblings),
            Some(("depth", most)) => number(most).map(Self::Depth),
            _ => None,
        };
        rule.ok_or_else(|| RuleError(text.to_owned()))
    }
}

/// What `write` brings along.
pub(super) const BROUGHT: [&str; 2] = ["append", "truncate"];

/// Directories that no rule grants: too much lies there.
const TOO_WIDE: [&str; 22] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc",
    "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/var",
    "/var/lib",
];

fn may_be_granted(directory: &HostPath) -> bool {
    let path = directory.as_str();
    path != "/" && !TOO_WIDE.contains(&path)
}

impl Entry {
    /// The path of a grant of files, or the executable of one of processes.
    pub(super) fn path(&self) -> Option<String> {
        let named = self.about.iter();
        let mut named = named.filter(|(key, _)| key == "path" || key == "exe");
        let (_, text) = named.next()?;
        Some(
            match text
                .strip_prefix('\'')
                .and_then(|rest| rest.strip_suffix('\''))
            {
                Some(quoted) => quoted.replace("''", "'"),
                None => text.clone(),
            },
        )
    }

    /// The path, if this is a grant of files.
    fn file(&self) -> Option<HostPath> {
        if self.place != ["files"] {
            return None;
        }
        HostPath::parse(&self.path()?).ok()
    }

    /// Whether one of these paths decides about this one rather than the line of `wider`.
    pub(super) fn is_below_one_of(&self, paths: &[HostPath], wider: &Self) -> bool {
        let (Some(path), Some(wider)) = (self.file(), wider.file()) else {
            return false;
        };
        let nearer = |at: &HostPath| {
            *at != wider && at.is_within(wider.as_str()) && path.is_within(at.as_str())
        };
        paths.iter().any(nearer)
    }

    /// Whether it allows all that another does.
    fn holds(&self, other: &Self) -> bool {
        let mut values = other.values.iter();
        let brought = |key: &str, word: &str, held: &BTreeSet<String>| {
            key == "allow" && BROUGHT.contains(&word) && held.contains("write")
        };
        values.all(|(key, words)| {
            self.values.get(key).is_some_and(|held| {
                let mut words = words.iter();
                words.all(|word| held.contains(word) || brought(key, word, held))
            })
        })
    }

    /// Itself, to be kept in a line that takes its place, with what was kept in it.
    fn kept(&self) -> Vec<Self> {
        let mut kept = self.grouped.clone();
        let grouped = Vec::new();
        kept.push(Self {
            grouped,
            ..self.clone()
        });
        kept
    }

    fn moved_to(mut self, directory: &HostPath) -> Self {
        self.grouped = self.kept();
        if let Some(path) = self.path() {
            self.instead_of.insert(path);
        }
        for (key, text) in &mut self.about {
            if key == "path" {
                *text = quoted(directory.as_str());
            }
        }
        self
    }
}

/// Applies rules in their order.
pub(super) fn apply(entries: &mut Vec<Entry>, rules: &[Rule]) {
    for rule in rules {
        let moves: Vec<Option<HostPath>> = match *rule {
            Rule::None => continue,
            Rule::Siblings(least) => siblings(entries, least),
            Rule::Depth(most) => entries.iter().map(|entry| cut(entry, most)).collect(),
            Rule::Temporary => entries.iter().map(temporary).collect(),
        };
        let mut grouped: BTreeMap<String, Entry> = BTreeMap::new();
        for (entry, directory) in std::mem::take(entries).into_iter().zip(moves) {
            let entry = match directory.filter(may_be_granted) {
                Some(directory) => entry.moved_to(&directory),
                None => entry,
            };
            grouped.entry(entry.key()).or_default().join(entry);
        }
        *entries = grouped.into_values().collect();
    }
}

fn cut(entry: &Entry, most: usize) -> Option<HostPath> {
    let path = entry.file()?;
    let mut above = std::iter::successors(Some(path.clone()), HostPath::parent);
    let names = |path: &HostPath| path.as_str().matches('/').count();
    above.find(|at| names(at) <= most).filter(|at| *at != path)
}

fn siblings(entries: &[Entry], least: usize) -> Vec<Option<HostPath>> {
    let group = |entry: &Entry| {
        let parent = entry.file()?.parent()?;
        Some((parent, format!("{:?}", entry.values)))
    };
    let mut counts = BTreeMap::new();
    for found in entries.iter().filter_map(group) {
        *counts.entry(found).or_insert(0usize) += 1;
    }
    let many = |found: &(HostPath, String)| counts.get(found).is_some_and(|many| *many >= least);
    let moved = |entry: &Entry| group(entry).filter(many).map(|(parent, _)| parent);
    entries.iter().map(moved).collect()
}

fn temporary(entry: &Entry) -> Option<HostPath> {
    let path = entry.file()?;
    let name = path.as_str().rsplit('/').next().unwrap_or("");
    looks_temporary(name).then(|| path.parent()).flatten()
}

/// Whether a name looks made up for one use.
fn looks_temporary(name: &str) -> bool {
    let ends = [".tmp", ".temp", ".swp", ".part", ".partial", ".lock", "~"];
    if ends.iter().any(|end| name.ends_with(end)) || name.starts_with(".#") {
        return true;
    }
    // As mkstemp(3) makes them, and process ids.
    let Some((before, last)) = name.rsplit_once(['.', '-', '_']) else {
        return false;
    };
    let mixed = [char::is_uppercase, char::is_lowercase, char::is_numeric];
    let kinds = mixed.iter().filter(|kind| last.chars().any(**kind)).count();
    let letters = last.chars().all(|c| c.is_ascii_alphanumeric());
    let random = letters && last.len() >= 6 && kinds >= 2 && !last.starts_with(char::is_numeric);
    let number = last.len() >= 3 && last.chars().all(|c| c.is_ascii_digit());
    let hidden = before.starts_with('.') || before.is_empty() || before.contains("tmp");
    (random && (hidden || kinds == 3)) || (number && hidden)
}

/// What a group took in and a line nearer to it now decides gets its own line again.
pub(super) fn restore(entries: &mut Vec<Entry>) {
    loop {
        let paths: Vec<HostPath> = entries.iter().filter_map(Entry::file).collect();
        let held = |one: &Entry| {
            let known = entries.iter().find(|entry| entry.key() == one.key());
            known.is_some_and(|known| known.holds(one))
        };
        let lost = entries.iter().find_map(|entry| {
            let mut kept = entry.grouped.iter();
            kept.find(|one| one.is_below_one_of(&paths, entry) && !held(one))
        });
        let Some(lost) = lost.cloned() else {
            return;
        };
        match entries.iter_mut().find(|entry| entry.key() == lost.key()) {
            Some(known) => known.join(lost),
            None => entries.push(lost),
        }
    }
}

/// A line that says what the nearest line above says grants nothing by itself.
pub(super) fn drop_repeated(entries: &mut Vec<Entry>) {
    let lines = entries.iter().enumerate();
    let lines: BTreeMap<String, usize> = lines
        .filter_map(|(at, entry)| Some((entry.file()?.as_str().to_owned(), at)))
        .collect();
    let mut repeated: Vec<(usize, usize)> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Some(path) = entry.file() else {
            continue;
        };
        let mut above = std::iter::successors(path.parent(), HostPath::parent);
        let nearest = above.find_map(|path| lines.get(path.as_str()));
        if let Some(&nearest) = nearest
            && entries
                .get(nearest)
                .is_some_and(|line| line.values == entry.values)
        {
            repeated.push((at, nearest));
        }
    }
    // From the deepest up, so that what is counted arrives at a line that stays.
    repeated.sort_by_key(|(at, _)| std::cmp::Reverse(entries.get(*at).and_then(Entry::path)));
    for (at, nearest) in &repeated {
        let entry = entries.get(*at).cloned().unwrap_or_default();
        if let Some(line) = entries.get_mut(*nearest) {
            line.grouped.extend(entry.kept());
            line.count += entry.count;
            line.actions.extend(entry.actions);
            line.programs.extend(entry.programs);
        }
    }
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        !repeated.iter().any(|(gone, _)| *gone == at - 1)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_one_use_are_told_from_others() {
        for name in [
            "a.tmp",
            ".web1.img.Ab3dE9",
            "x~",
            ".#lock",
            "state.json.tmp",
            "tmp.aZ0bY1",
            ".save-4711",
            "disk.img.part",
        ] {
            assert!(looks_temporary(name), "{name}");
        }
        for name in [
            "web1.img",
            "libfoo.so.1234",
            "2026-11-22",
            "backup-20261122",
            "README",
            "a.qcow2",
            "report.final",
            "vm-100-disk-0",
            "x.snapshot",
        ] {
            assert!(!looks_temporary(name), "{name}");
        }
    }

    #[test]
    fn rules_are_read() {
        assert_eq!("siblings=8".parse(), Ok(Rule::Siblings(8)));
        assert_eq!("depth=3".parse(), Ok(Rule::Depth(3)));
        assert_eq!("temporary".parse(), Ok(Rule::Temporary));
        assert_eq!("none".parse(), Ok(Rule::None));
        for text in ["siblings=1", "depth", "depth=x", "all", ""] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }
}
