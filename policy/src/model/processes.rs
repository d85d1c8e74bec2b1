//! Section `processes`: what may be done to host processes, by the file that they execute.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::reaching::{self, LimitsGrant, SetnsGrant};
use super::value::{HostPath, given_twice, quoted};
use crate::names::process;
use crate::names::signal::{NAMES, Signal};
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["signal", "ptrace", "setns", "limits", "exec"];
pub(crate) const SIGNAL_KEYS: &[&str] = &["exe", "signals", "optional"];
pub(crate) const PTRACE_KEYS: &[&str] = &["exe", "allow", "optional"];

/// What may be done to host processes. The container's own need no grant.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Processes {
    /// Who may be sent which signals.
    #[schemars(default)]
    pub signal: Vec<SignalGrant>,
    /// Who may be traced or looked into.
    #[schemars(default)]
    pub ptrace: Vec<PtraceGrant>,
    /// Whose namespaces may be entered.
    #[schemars(default)]
    pub setns: Vec<SetnsGrant>,
    /// Whose limits, priority and placement may be changed.
    #[schemars(default)]
    pub limits: Vec<LimitsGrant>,
    /// All that may be executed, as host paths, files of the container's own included; without
    /// it, whatever the lines of `files` give.
    #[schemars(with = "Vec<HostPath>", default)]
    pub exec: Option<Spanned<Vec<Spanned<HostPath>>>>,
}

/// Signals to processes that execute a file.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SignalGrant {
    /// The executable.
    pub exe: Spanned<HostPath>,
    /// Signals by name or number; `probe` (signal 0) asks whether the process is there.
    pub signals: Signals,
    /// Whether the executable may be missing when the container is made.
    #[schemars(default)]
    pub optional: bool,
    /// The whole line.
    #[schemars(skip)]
    pub span: Span,
}

/// Bit `n`: signal `n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signals(pub u64);

impl JsonSchema for Signals {
    fn schema_name() -> Cow<'static, str> {
        "Signals".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "uniqueItems": true,
            "items": {
                "anyOf": [
                    { "enum": NAMES },
                    { "type": "string", "pattern": "^SIG[A-Z0-9]+$" },
                    { "type": "integer", "minimum": 0, "maximum": 63 },
                ],
            },
        })
    }
}

/// Tracing of processes that execute a file.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PtraceGrant {
    /// The executable.
    pub exe: Spanned<HostPath>,
    /// `read` (look into it), `attach` (trace it; includes all others), or single system calls.
    pub allow: Ptrace,
    /// Whether the executable may be missing when the container is made.
    #[schemars(default)]
    pub optional: bool,
    /// The whole line.
    #[schemars(skip)]
    pub span: Span,
}

/// Bits of [`ptrace`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ptrace(pub u32);

impl JsonSchema for Ptrace {
    fn schema_name() -> Cow<'static, str> {
        "Ptrace".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "uniqueItems": true,
            "items": { "enum": process::TRACE.map(|(name, _)| name) },
        })
    }
}

impl Processes {
    pub(crate) fn exec_text(&self) -> String {
        let listed = self.exec.iter().flat_map(|exec| &exec.value);
        let paths: Vec<_> = listed.map(|path| quoted(path.value.as_str())).collect();
        format!("exec: [{}]", paths.join(", "))
    }
}

impl SignalGrant {
    pub(crate) fn text(&self) -> String {
        let bits = self.signals.0;
        let sent = (0..64u32).filter(|number| bits >> number & 1 == 1);
        let names: Vec<_> = sent
            .filter_map(Signal::from_number)
            .map(Signal::name)
            .collect();
        format!(
            "{{ exe: {}, signals: [{}] }}",
            quoted(self.exe.value.as_str()),
            names.join(", ")
        )
    }
}

impl PtraceGrant {
    pub(crate) fn text(&self) -> String {
        let words = process::trace_names(self.allow.0).join(", ");
        let exe = quoted(self.exe.value.as_str());
        format!("{{ exe: {exe}, allow: [{words}] }}")
    }
}

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Processes {
    let mut processes = Processes::default();
    let Some(fields) = reader.fields(node, "processes", KEYS) else {
        return processes;
    };
    if let Some(node) = fields.find("signal") {
        let items = reader.list(node, "grants (`- { exe: …, signals: […] }`)");
        for item in items.unwrap_or_default() {
            let grant = read_signal(reader, item);
            add(reader, &mut processes.signal, grant, |grant| &grant.exe);
        }
    }
    if let Some(node) = fields.find("ptrace") {
        let items = reader.list(node, "grants (`- { exe: …, allow: […] }`)");
        for item in items.unwrap_or_default() {
            let grant = read_ptrace(reader, item);
            add(reader, &mut processes.ptrace, grant, |grant| &grant.exe);
        }
    }
    if let Some(node) = fields.find("setns") {
        let items = reader.list(node, "grants (`- { exe: …, types: […] }`)");
        for item in items.unwrap_or_default() {
            let grant = reaching::read_setns(reader, item);
            add(reader, &mut processes.setns, grant, |grant| &grant.exe);
        }
    }
    if let Some(node) = fields.find("limits") {
        let items = reader.list(node, "grants (`- { exe: …, allow: […] }`)");
        for item in items.unwrap_or_default() {
            let grant = reaching::read_limits(reader, item);
            add(reader, &mut processes.limits, grant, |grant| &grant.exe);
        }
    }
    if let Some((span, node)) = fields.entry("exec") {
        let items = reader.list(node, "executables").unwrap_or_default();
        let paths = items.iter().filter_map(|item| HostPath::read(reader, item));
        processes.exec = Some(Spanned::new(paths.collect(), span));
    }
    processes
}

fn add<T>(
    reader: &mut Reader,
    grants: &mut Vec<T>,
    grant: Option<T>,
    exe: impl Fn(&T) -> &Spanned<HostPath>,
) {
    let Some(grant) = grant else {
        return;
    };
    let same = |known: &&T| exe(known).value == exe(&grant).value;
    if let Some(first) = grants.iter().find(same) {
        let what = format!("`{}`", exe(&grant).value);
        given_twice(reader, exe(&grant).span, &what, exe(first).span);
    } else {
        grants.push(grant);
    }
}

fn read_signal(reader: &mut Reader, node: &Node) -> Option<SignalGrant> {
    let fields = reader.fields(node, "a signal grant", SIGNAL_KEYS)?;
    let exe = reader.require(&fields, "exe", "/usr/bin/program");
    let exe = exe.and_then(|node| HostPath::read(reader, node));
    let signals = reader.require(&fields, "signals", "[TERM]");
    let signals = signals.and_then(|node| read_signals(reader, node));
    let optional = fields.find("optional");
    let optional = optional.is_some_and(|node| reader.boolean(node) == Some(true));
    let bits = signals?
        .into_iter()
        .fold(0, |bits, signal| bits | 1 << signal.number());
    Some(SignalGrant {
        exe: exe?,
        signals: Signals(bits),
        optional,
        span: node.span,
    })
}

fn read_signals(reader: &mut Reader, node: &Node) -> Option<Vec<Signal>> {
    let long: Vec<String> = NAMES.iter().map(|name| format!("SIG{name}")).collect();
    let known = NAMES.into_iter().chain(long.iter().map(String::as_str));
    let known: Vec<&str> = known.collect();
    reader.words(node, "signals", &known, Signal::from_word)
}

fn read_ptrace(reader: &mut Reader, node: &Node) -> Option<PtraceGrant> {
    let fields = reader.fields(node, "a ptrace grant", PTRACE_KEYS)?;
    let exe = reader.require(&fields, "exe", "/usr/bin/program");
    let exe = exe.and_then(|node| HostPath::read(reader, node));
    let allow = reader.require(&fields, "allow", "[read]");
    let names = process::TRACE.map(|(name, _)| name);
    let allow = allow.and_then(|node| reader.words(node, "ways to trace", &names, process::trace));
    let optional = fields.find("optional");
    let optional = optional.is_some_and(|node| reader.boolean(node) == Some(true));
    Some(PtraceGrant {
        exe: exe?,
        allow: Ptrace(allow?.into_iter().fold(0, |all, bits| all | bits)),
        optional,
        span: node.span,
    })
}
