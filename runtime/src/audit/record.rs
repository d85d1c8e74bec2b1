//! One refusal, as it is logged and shown.

use std::fmt;

use ebpf_common::abi::{LEARN_SHIFT, NO_RULE, Section};
use ebpf_common::decide::Reason;
use ebpf_common::event::{Action, Event};
use ebpf_common::hooks::HOOKS;
use policy::model::SECTIONS;
use policy::suggest;
use serde::{Deserialize, Serialize};

use super::place::Mounts;
use super::registry::Registered;
use super::what::What;

/// A line of the audit log. Field names are stable; new ones may be added.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Record {
    /// Microseconds since the epoch.
    pub time_us: u64,
    /// Id of the container, or `?` for one that is gone.
    pub container: String,
    /// Name of its policy.
    pub policy: String,
    /// Process and thread, in the host's pid namespace.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// User, in the host's user namespace.
    pub uid: u32,
    /// Command name.
    pub comm: String,
    /// LSM hook that decided.
    pub hook: String,
    /// Section of the policy that decides.
    #[serde(default)]
    pub section: String,
    /// What was tried: `write`, `capability`, `signal`, …
    pub action: String,
    /// On what.
    pub object: String,
    /// `refused`, or `would refuse` in audit mode, `learned` in learn mode.
    pub verdict: String,
    /// Name of the errno that the caller got or would have got.
    pub errno: String,
    /// Why, in words.
    pub reason: String,
    /// The line of the policy that decided, if one did.
    pub rule: Option<RuleText>,
    /// The line of policy that would allow it, if one can.
    pub allow: Option<String>,
}

/// A line of a policy.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RuleText {
    /// Line number in the source, from 1.
    pub line: u32,
    /// The line.
    pub text: String,
}

impl Record {
    /// Puts names to an event. `boot_us`: microseconds since the epoch at which the host booted.
    pub(super) fn of(
        event: &Event,
        known: Option<&Registered>,
        mounts: &Mounts,
        boot_us: u64,
    ) -> Self {
        let what = What::of(event, known, mounts);
        let reason = Reason::from_number(event.reason);
        let grant = known
            .filter(|_| event.rule != NO_RULE)
            .and_then(|known| known.compiled.grants.get(event.rule as usize));
        Self {
            time_us: boot_us + event.time_ns / 1000,
            container: known.map_or("?", |known| &known.container).to_owned(),
            policy: known.map_or("?", |known| &known.compiled.name).to_owned(),
            pid: event.pid,
            tid: event.tid,
            uid: event.uid,
            comm: text(&event.comm),
            hook: HOOKS
                .get(event.hook as usize)
                .map_or("?", |hook| hook.name)
                .to_owned(),
            section: section(event).to_owned(),
            action: what.action,
            object: what.object,
            verdict: verdict(event, known).to_owned(),
            errno: errno_name(event.errno).to_owned(),
            reason: reason.text().to_owned(),
            rule: grant.map(|grant| RuleText {
                line: grant.line as u32,
                text: grant.text.clone(),
            }),
            allow: match reason {
                Reason::NoGrant | Reason::NotInGrant => what.denied.as_ref().and_then(suggest),
                _ => None,
            },
        }
    }
}

fn verdict(event: &Event, known: Option<&Registered>) -> &'static str {
    let learns = |known: &Registered| {
        let audit = known.compiled.tables.header.audit;
        decides(event).is_some_and(|section| audit >> (LEARN_SHIFT + section as u32) & 1 == 1)
    };
    match (event.enforced, known) {
        (1, _) => "refused",
        (_, Some(known)) if learns(known) => "learned",
        _ => "would refuse",
    }
}

/// The section that decides: of devices in a hook on files, too.
fn decides(event: &Event) -> Option<Section> {
    match event.action {
        action if action == Action::Device as u32 => Some(Section::Devices),
        _ => HOOKS.get(event.hook as usize)?.section,
    }
}

/// Its name.
fn section(event: &Event) -> &'static str {
    let decides = decides(event);
    let mut named = SECTIONS.into_iter();
    let found = named.find(|(_, section)| Some(*section) == decides);
    found.map_or("?", |(name, _)| name)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn errno_name(errno: i32) -> &'static str {
    match errno {
        ebpf_common::errno::EPERM => "EPERM",
        ebpf_common::errno::EACCES => "EACCES",
        ebpf_common::errno::EXDEV => "EXDEV",
        _ => "?",
    }
}

/// Control characters in names, and marks that turn text around, come from the container: they must
/// not reach a terminal.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

impl Record {
    /// Time of day, UTC.
    pub(crate) fn time(&self) -> String {
        let seconds = self.time_us / 1_000_000;
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        format!("{hour:02}:{minute:02}:{second:02}")
    }

    /// The line of the policy that decided, or the reason why none did, for a terminal.
    pub(crate) fn why(&self) -> String {
        match &self.rule {
            Some(rule) => {
                let text = printable(rule.text.trim());
                format!("by policy line {}: {text}", rule.line)
            }
            None => printable(&self.reason),
        }
    }
}

impl fmt::Display for Record {
    /// Two or three lines: what happened, why, and what would allow it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = format!(
            "{} {}  {}  {} {} ({})  pid {} {}  ",
            self.time(),
            self.container,
            self.verdict,
            self.action,
            self.object,
            self.errno,
            self.pid,
            self.comm
        );
        f.write_str(&printable(&what))?;
        f.write_str(&self.why())?;
        if let Some(allow) = &self.allow {
            write!(f, "\n         to allow: {}", printable(allow))?;
        }
        Ok(())
    }
}

/// An entry, for tests.
#[cfg(test)]
pub(crate) fn sample(container: &str, object: &str) -> Record {
    Record {
        time_us: 1_000_000,
        container: container.to_owned(),
        policy: "p".to_owned(),
        pid: 7,
        tid: 7,
        uid: 0,
        comm: "sh".to_owned(),
        hook: "file_open".to_owned(),
        section: "files".to_owned(),
        action: "write".to_owned(),
        object: object.to_owned(),
        verdict: "refused".to_owned(),
        errno: "EACCES".to_owned(),
        reason: "no grant names it".to_owned(),
        rule: None,
        allow: Some("files: []".to_owned()),
    }
}
