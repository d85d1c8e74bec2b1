//! One refusal, as it is logged and shown.

use std::fmt;

use ebpf_common::abi::{LEARN_SHIFT, NO_RULE};
use ebpf_common::decide::Reason;
use ebpf_common::event::Event;
use ebpf_common::hooks::HOOKS;
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
    let section = HOOKS.get(event.hook as usize).and_then(|hook| hook.section);
    let learns = |known: &Registered| {
        let audit = known.compiled.tables.header.audit;
        section.is_some_and(|section| audit >> (LEARN_SHIFT + section as u32) & 1 == 1)
    };
    match (event.enforced, known) {
        (1, _) => "refused",
        (_, Some(known)) if learns(known) => "learned",
        _ => "would refuse",
    }
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

/// Control characters in names come from the container: they must not reach a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

impl fmt::Display for Record {
    /// Two or three lines: what happened, why, and what would allow it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time_us / 1_000_000;
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{hour:02}:{minute:02}:{second:02} {}  {}  {} {} ({})  pid {} {}  ",
            self.container,
            self.verdict,
            self.action,
            printable(&self.object),
            self.errno,
            self.pid,
            printable(&self.comm)
        )?;
        match &self.rule {
            Some(rule) => write!(f, "by policy line {}: {}", rule.line, rule.text.trim())?,
            None => write!(f, "{}", self.reason)?,
        }
        if let Some(allow) = &self.allow {
            write!(f, "\n         to allow: {}", printable(allow))?;
        }
        Ok(())
    }
}
