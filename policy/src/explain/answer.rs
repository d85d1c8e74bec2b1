//! An answer for people and as JSON.

use std::fmt;

use ebpf_common::Reason;
use ebpf_common::abi::NO_RULE;
use ebpf_common::errno;
use ebpf_common::hooks::HOOKS;
use serde::Serialize;

use super::{Decided, Question};
use crate::compile::Compiled;
use crate::diagnostic::printable;
use crate::model::{Policy, SECTIONS};
use crate::suggest::line_for;

/// The line of policy that decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DecidedBy {
    /// What the policy's source is called.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
    /// The line as it is written, without surrounding space.
    pub source: String,
    /// The grant in one line.
    pub grant: String,
    /// Section and index of the grant in it, such as `files[0]`.
    pub name: String,
}

/// Whether an action is allowed, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Answer {
    /// The question.
    pub action: String,
    /// Whether the policy allows it.
    pub allowed: bool,
    /// Whether it goes on all the same, as the section only records.
    pub only_recorded: bool,
    /// The mode of the section: `enforce`, `audit` or `learn`.
    pub mode: &'static str,
    /// What the caller gets if it is refused.
    pub errno: Option<&'static str>,
    /// Why, in words.
    pub reason: &'static str,
    /// Section of the policy that decides.
    pub section: &'static str,
    /// The line that decided; none if it is the default, a built-in rule or the fixed core.
    pub by: Option<DecidedBy>,
    /// LSM hooks at which this is decided.
    pub hooks: Vec<&'static str>,
    /// First kernel that has all of them, such as `6.1`.
    pub since: Option<String>,
    /// What else should be known.
    pub notes: Vec<String>,
    /// The line that would allow it.
    pub to_allow: Option<String>,
}

pub(super) fn make(
    policy: &Policy,
    compiled: &Compiled,
    asked: &Question,
    decided: Decided,
) -> Answer {
    let Decided {
        section,
        verdict,
        hooks,
        denied,
        notes,
    } = decided;
    let allowed = verdict.allowed();
    let grant = compiled.grants.get(verdict.rule as usize);
    let by = grant.map(|grant| DecidedBy {
        file: grant.file.clone(),
        line: grant.line,
        column: grant.column,
        source: policy.line(&grant.file, grant.line).to_owned(),
        grant: grant.text.clone(),
        name: compiled.grant_name(verdict.rule),
    });
    let reason = match (verdict.reason, verdict.rule) {
        (Reason::Granted, NO_RULE) => "a built-in rule allows it",
        (reason, _) => reason.text(),
    };
    let hooks: Vec<_> = hooks
        .iter()
        .filter_map(|hook| HOOKS.get(*hook as usize))
        .collect();
    let since = hooks.iter().map(|hook| hook.since).max();
    let openable = !allowed && !matches!(verdict.reason, Reason::Core | Reason::Widening);
    Answer {
        action: asked.to_string(),
        allowed,
        only_recorded: !allowed && !verdict.enforced(&compiled.tables.header, section),
        mode: policy.mode_of(section).name(),
        errno: errno_name(verdict.errno),
        reason,
        section: SECTIONS
            .iter()
            .find(|(_, known)| *known == section)
            .map_or("", |(name, _)| name),
        by,
        hooks: hooks.iter().map(|hook| hook.name).collect(),
        since: since.map(|(major, minor)| format!("{major}.{minor}")),
        notes,
        to_allow: denied
            .filter(|_| openable)
            .and_then(|denied| line_for(&denied)),
    }
}

fn errno_name(number: i32) -> Option<&'static str> {
    match number {
        errno::EPERM => Some("EPERM"),
        errno::EACCES => Some("EACCES"),
        errno::EXDEV => Some("EXDEV"),
        _ => None,
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = printable(&self.action);
        match (self.allowed, self.errno) {
            (true, _) => writeln!(f, "allowed: {action}")?,
            (false, errno) => writeln!(f, "refused: {action} ({})", errno.unwrap_or("?"))?,
        }
        writeln!(f, "  because {}", self.reason)?;
        if let Some(by) = &self.by {
            let source = printable(&by.source);
            writeln!(
                f,
                "  by {}:{}:{}: {source}",
                printable(&by.file),
                by.line,
                by.column
            )?;
        }
        if self.only_recorded {
            let (section, mode) = (self.section, self.mode);
            writeln!(
                f,
                "  it goes on and is recorded: section `{section}` is in {mode} mode"
            )?;
        }
        if !self.hooks.is_empty() {
            let since = self.since.as_deref().unwrap_or("?");
            let hooks = self.hooks.join(", ");
            writeln!(f, "  decided at {hooks} (Linux {since} or later)")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {}", printable(note))?;
        }
        match &self.to_allow {
            Some(line) => writeln!(f, "  to allow: {}", printable(line)),
            None => Ok(()),
        }
    }
}
