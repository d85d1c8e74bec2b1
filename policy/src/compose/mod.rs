//! Several files to one: variables, includes and presets, resolved on nodes, so that no section of
//! the language needs to know of them.
//!
//! A file's own lines come first, then those of its includes, then those of the presets that it
//! extends. Includes are as if written in the file: what they say of one object must be the same.
//! A preset lies beneath: what the file says of an object takes the place of the preset's line.

pub(crate) mod merge;
pub mod presets;
mod vars;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::names::did_you_mean;
use crate::source::{Source, Span, Spanned, Text};
use crate::yaml::{self, Kind, Node};

pub use vars::{Variables, VariablesError};

/// Deepest chain of includes.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// Most files in one policy.
pub const MAX_FILES: usize = 64;

/// Where included files come from: this crate reads none.
pub trait Files {
    /// The file `path` as the file named `from` includes it: its name, by which the same file is
    /// always called, and its text.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&mut self, from: &str, path: &str) -> Result<(String, String), String>;
}

/// No file can be included, only presets extended.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&mut self, _: &str, _: &str) -> Result<(String, String), String> {
        Err("no other file is at hand here".to_owned())
    }
}

/// What a file is to the policy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The policy itself.
    Policy,
    /// Included or extended.
    Part,
}

/// What came of a policy's files.
pub(crate) struct Composed {
    pub(crate) root: Option<Node>,
    pub(crate) source: Source,
    pub(crate) out: Diagnostics,
    pub(crate) include: Vec<String>,
    pub(crate) extends: Vec<String>,
    pub(crate) vars: Variables,
}

/// Reads a policy with everything that it names.
pub(crate) fn compose(
    name: &str,
    text: &str,
    given: &Variables,
    files: &mut dyn Files,
) -> Composed {
    let mut source = Source::default();
    let text = source.add(name, text);
    let mut composer = Composer {
        out: Diagnostics::new(source.clone()),
        source,
        files,
        names: vec![name.to_owned()],
        read: 1,
        vars: vars::Scope::new(given),
        include: Vec::new(),
        extends: Vec::new(),
    };
    let root = composer.file(&text, &Variables::default(), Role::Policy);
    let start = text.span((1, 0), (1, 1));
    if root.is_some() {
        composer.vars.report_unused(start, &mut composer.out);
    }
    composer.out.set_source(composer.source.clone());
    let vars = composer.vars.of_policy();
    Composed {
        root,
        source: composer.source,
        out: composer.out,
        include: composer.include,
        extends: composer.extends,
        vars,
    }
}

struct Composer<'a> {
    source: Source,
    out: Diagnostics,
    files: &'a mut dyn Files,
    /// The files that are being read, outermost first.
    names: Vec<String>,
    /// How many have been read.
    read: usize,
    vars: vars::Scope<'a>,
    include: Vec<String>,
    extends: Vec<String>,
}

impl Composer<'_> {
    /// `outer`: the variables of whoever includes or extends this file, which overrule its own.
    fn file(&mut self, text: &Text, outer: &Variables, role: Role) -> Option<Node> {
        let mut root = yaml::read(text, &mut self.out)?;
        let Kind::Map(entries) = &mut root.kind else {
            if role == Role::Part {
                let message = "expected a mapping (`key: value`)";
                self.out.push(Diagnostic::error(root.span, message));
                return None;
            }
            return Some(root);
        };
        let include = take(entries, "include");
        let extends = take(entries, "extends");
        let vars = take(entries, "vars");
        if role == Role::Part {
            self.only_lines(entries);
        }
        let vars = self.vars.read(vars.as_ref(), outer, &mut self.out);
        for (_, value) in &mut *entries {
            self.vars.substitute(value, &vars, &mut self.out);
        }
        let include = self.words("include", include);
        let extends = self.words("extends", extends);
        if role == Role::Policy {
            self.include = texts(&include);
            self.extends = texts(&extends);
        }
        for path in include {
            if let Some(part) = self.included(text, &path, &vars) {
                self.merge(&mut root, part);
            }
        }
        let mut beneath = Vec::new();
        for name in extends {
            if let Some(mut part) = self.preset(&name, &vars) {
                merge::subtract(&mut part, &root);
                beneath.push(part);
            }
        }
        for part in beneath {
            self.merge(&mut root, part);
        }
        Some(root)
    }

    fn merge(&mut self, into: &mut Node, from: Node) {
        self.out.set_source(self.source.clone());
        merge::merge(into, from, &mut self.out);
    }

    /// What a part must not say, and what of it has no meaning outside of it.
    fn only_lines(&mut self, entries: &mut Vec<(Spanned<String>, Node)>) {
        for key in ["mode", "modes"] {
            if let Some((name, _)) = entries.iter().find(|(name, _)| name.value == key) {
                let message = format!("`{key}` is not taken from another file");
                let help = format!("write `{key}` in the policy that is run");
                self.out
                    .push(Diagnostic::error(name.span, message).help(help));
            }
        }
        if let Some(node) = take(entries, "reeve")
            && !matches!(&node.kind, Kind::Scalar { text, .. } if text == "v1")
        {
            let error = Diagnostic::error(node.span, "this is not version 1 of the language");
            self.out.push(error.help("this Reeve knows `reeve: v1`"));
        }
        entries.retain(|(key, _)| {
            !matches!(
                key.value.as_str(),
                "name" | "description" | "mode" | "modes"
            )
        });
    }

    /// A list of plain words.
    fn words(&mut self, key: &str, node: Option<Node>) -> Vec<Spanned<String>> {
        let Some(node) = node else {
            return Vec::new();
        };
        let Kind::List(items) = node.kind else {
            let found = node.describe();
            let message = format!("expected a list under `{key}`, found {found}");
            let error = Diagnostic::error(node.span, message);
            self.out.push(error.help(format!("write `{key}: […]`")));
            return Vec::new();
        };
        let mut words: Vec<Spanned<String>> = Vec::new();
        for item in items {
            match item.kind {
                Kind::Scalar { text, .. } if words.iter().any(|known| known.value == text) => {
                    let message = format!("`{text}` is listed twice");
                    self.out.push(Diagnostic::error(item.span, message));
                }
                Kind::Scalar { text, .. } if !text.is_empty() => {
                    words.push(Spanned::new(text, item.span));
                }
                _ => {
                    let message = format!("expected a name under `{key}`");
                    self.out.push(Diagnostic::error(item.span, message));
                }
            }
        }
        words
    }

    fn included(&mut self, from: &Text, path: &Spanned<String>, vars: &Variables) -> Option<Node> {
        if self.names.len() > MAX_INCLUDE_DEPTH {
            let message = format!("includes are nested deeper than {MAX_INCLUDE_DEPTH} levels");
            self.out.push(Diagnostic::error(path.span, message));
            return None;
        }
        match self.files.read(from.name(), &path.value) {
            Ok((name, text)) if self.names.contains(&name) => {
                let at = self.names.iter().position(|known| *known == name);
                let mut cycle = self.names[at.unwrap_or(0)..].to_vec();
                drop(text);
                cycle.push(name);
                let message = format!("includes go round: {}", cycle.join(" → "));
                let help = "remove one of them";
                self.out
                    .push(Diagnostic::error(path.span, message).help(help));
                None
            }
            Ok((name, text)) => self.part(path.span, &name, &text, vars),
            Err(why) => {
                let message = format!("`{}` cannot be included: {why}", path.value);
                let help = "a path is relative to the file that includes it";
                self.out
                    .push(Diagnostic::error(path.span, message).help(help));
                None
            }
        }
    }

    fn preset(&mut self, name: &Spanned<String>, vars: &Variables) -> Option<Node> {
        let Some(preset) = presets::find(&name.value) else {
            let known = || presets::ALL.iter().map(|preset| preset.name);
            let names = || known().collect::<Vec<_>>().join(", ");
            let help = did_you_mean(&name.value, known())
                .unwrap_or_else(|| format!("known presets: {}", names()));
            let message = format!("there is no preset `{}`", name.value);
            self.out
                .push(Diagnostic::error(name.span, message).help(help));
            return None;
        };
        let shown = format!("preset {}", preset.name);
        self.part(name.span, &shown, preset.text, vars)
    }

    fn part(&mut self, span: Span, name: &str, text: &str, vars: &Variables) -> Option<Node> {
        self.read += 1;
        if self.read > MAX_FILES {
            let message = format!("more than {MAX_FILES} files in one policy");
            self.out.push(Diagnostic::error(span, message));
            return None;
        }
        let text = self.source.add(name, text);
        self.names.push(name.to_owned());
        let part = self.file(&text, vars, Role::Part);
        self.names.pop();
        part
    }
}

fn texts(words: &[Spanned<String>]) -> Vec<String> {
    words.iter().map(|one| one.value.clone()).collect()
}

fn take(entries: &mut Vec<(Spanned<String>, Node)>, key: &str) -> Option<Node> {
    let at = entries.iter().position(|(known, _)| known.value == key)?;
    Some(entries.remove(at).1)
}

#[cfg(test)]
mod tests;
