//! Variables: `${name}` in a value stands for a text, within that one value.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::names::did_you_mean;
use crate::source::Span;
use crate::yaml::{Kind, MAX_BYTES, MAX_LINE_BYTES, Node};

/// Longest name of a variable.
const NAME_MAX: usize = 63;

/// Variables by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

/// Why a variable cannot be given.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VariablesError {
    /// There is no `=`.
    #[error("`{0}` gives no variable\nhelp: write NAME=VALUE")]
    Form(String),
    /// The name is none.
    #[error("`{0}` is not a name for a variable\nhelp: use a-z, 0-9, `_` and inner dashes")]
    Name(String),
    /// The value cannot be one.
    #[error("the value of variable `{name}` {why}")]
    Value {
        /// The variable.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is given twice.
    #[error("variable `{0}` is given twice")]
    Twice(String),
}

impl Variables {
    /// Adds what `NAME=VALUE` says.
    ///
    /// # Errors
    /// A text of another form, or a variable that was given already.
    pub fn give(&mut self, text: &str) -> Result<(), VariablesError> {
        let pair = text.split_once('=');
        let (name, value) = pair.ok_or_else(|| VariablesError::Form(text.to_owned()))?;
        if !is_name(name) {
            return Err(VariablesError::Name(name.to_owned()));
        }
        if let Err(why) = check_value(value) {
            let name = name.to_owned();
            return Err(VariablesError::Value { name, why });
        }
        match self.0.insert(name.to_owned(), value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(VariablesError::Twice(name.to_owned())),
        }
    }

    /// Adds others, which overrule those of the same names.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.clone());
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter();
        all.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    starts && text.len() <= NAME_MAX && text.chars().all(fits) && !text.ends_with('-')
}

fn check_value(value: &str) -> Result<(), &'static str> {
    if value.len() > MAX_LINE_BYTES {
        return Err("is too long");
    }
    if value.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    match value.contains("${") {
        true => Err("holds `${`: the value of a variable is taken as it is"),
        false => Ok(()),
    }
}

/// What is known of variables while files are read.
pub(super) struct Scope<'a> {
    given: &'a Variables,
    used: BTreeSet<String>,
    /// Where each was first set in a file.
    set: BTreeMap<String, Span>,
    of_policy: Option<Variables>,
    /// Bytes that substitution has made.
    made: usize,
}

impl<'a> Scope<'a> {
    pub(super) fn new(given: &'a Variables) -> Self {
        Self {
            given,
            used: BTreeSet::new(),
            set: BTreeMap::new(),
            of_policy: None,
            made: 0,
        }
    }

    /// The variables of the policy itself, with those that were given.
    pub(super) fn of_policy(&self) -> Variables {
        self.of_policy.clone().unwrap_or_default()
    }

    /// The variables of a file: its own, overruled by those of who reads it, and those by what was
    /// given on the command line.
    pub(super) fn read(
        &mut self,
        node: Option<&Node>,
        outer: &Variables,
        out: &mut Diagnostics,
    ) -> Variables {
        let mut vars = Variables::default();
        match node.map(|node| (node, &node.kind)) {
            None => {}
            Some((_, Kind::Map(entries))) => {
                for (name, value) in entries {
                    let Some(text) = value_of(&name.value, name.span, value, out) else {
                        continue;
                    };
                    self.set.entry(name.value.clone()).or_insert(name.span);
                    vars.0.insert(name.value.clone(), text.to_owned());
                }
            }
            Some((node, _)) if node.is_null() => {}
            Some((node, _)) => {
                let message = format!("expected a mapping under `vars`, found {}", node.describe());
                let error = Diagnostic::error(node.span, message);
                out.push(error.help("write `vars: { name: value }`"));
            }
        }
        vars.0.extend(outer.0.clone());
        vars.0.extend(self.given.0.clone());
        self.of_policy.get_or_insert_with(|| vars.clone());
        vars
    }

    /// Puts values for variables into every text of a node.
    pub(super) fn substitute(&mut self, node: &mut Node, vars: &Variables, out: &mut Diagnostics) {
        let span = node.span;
        match &mut node.kind {
            Kind::List(items) => {
                let all = items.iter_mut();
                all.for_each(|item| self.substitute(item, vars, out));
            }
            Kind::Map(entries) => {
                let all = entries.iter_mut();
                all.for_each(|(_, value)| self.substitute(value, vars, out));
            }
            // One finding is enough for all that is too much.
            Kind::Scalar { text, plain } if text.contains("${") && self.made <= MAX_BYTES => {
                match self.expand(text, vars) {
                    Ok(expanded) => *text = expanded,
                    Err((message, help)) => {
                        out.push(Diagnostic::error(span, message).maybe_help(help));
                    }
                }
                // Whatever the value looks like, it is a text.
                *plain = false;
            }
            Kind::Scalar { .. } => {}
        }
    }

    fn expand(&mut self, text: &str, vars: &Variables) -> Result<String, (String, Option<String>)> {
        let mut made = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                made += before;
                made += "${";
                rest = after;
                continue;
            }
            let Some((name, after)) = after.split_once('}') else {
                return Err((
                    "`${` without `}`".to_owned(),
                    Some("write `$${` for the text `${`".to_owned()),
                ));
            };
            let Some(value) = vars.0.get(name) else {
                let known = || vars.0.keys().map(String::as_str);
                let help = did_you_mean(name, known()).unwrap_or_else(|| {
                    format!("set it: `vars: {{ {name}: … }}`, or give `--var {name}=…`")
                });
                return Err((format!("variable `{name}` is not set"), Some(help)));
            };
            self.used.insert(name.to_owned());
            made += before;
            made += value;
            rest = after;
            if made.len() > MAX_LINE_BYTES {
                let message =
                    format!("with its variables this is longer than {MAX_LINE_BYTES} bytes");
                return Err((message, None));
            }
        }
        made += rest;
        self.made += made.len();
        match self.made > MAX_BYTES {
            true => Err((
                format!("with its variables the policy is longer than {MAX_BYTES} bytes"),
                None,
            )),
            false => Ok(made),
        }
    }

    /// A variable that is given and not used is most likely misspelt, and the line that it was for
    /// says something else than was meant.
    pub(super) fn report_unused(&self, start: Span, out: &mut Diagnostics) {
        for (name, _) in self
            .given
            .iter()
            .filter(|(name, _)| !self.used.contains(*name))
        {
            let known = self.set.keys().chain(&self.used).map(String::as_str);
            let help = did_you_mean(name, known);
            let message = format!("variable `{name}` is given, and no `${{{name}}}` uses it");
            out.push(Diagnostic::error(start, message).maybe_help(help));
        }
        for (name, span) in &self.set {
            if !self.used.contains(name) && !self.given.0.contains_key(name) {
                let message = format!("no `${{{name}}}` uses variable `{name}`");
                out.push(Diagnostic::warning(*span, message).help("remove it"));
            }
        }
    }
}

fn value_of<'n>(name: &str, span: Span, value: &'n Node, out: &mut Diagnostics) -> Option<&'n str> {
    if !is_name(name) {
        let error = Diagnostic::error(span, format!("`{name}` is not a name for a variable"));
        out.push(error.help("use a-z, 0-9, `_` and inner dashes, a letter first"));
        return None;
    }
    let Kind::Scalar { text, .. } = &value.kind else {
        let message = format!("expected a text for `{name}`, found {}", value.describe());
        out.push(Diagnostic::error(value.span, message));
        return None;
    };
    if value.is_null() {
        out.push(Diagnostic::error(
            value.span,
            format!("variable `{name}` has no value"),
        ));
        return None;
    }
    if let Err(why) = check_value(text) {
        let message = format!("the value of variable `{name}` {why}");
        out.push(Diagnostic::error(value.span, message));
        return None;
    }
    Some(text)
}
