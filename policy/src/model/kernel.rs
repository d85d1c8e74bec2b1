//! Section `kernel`: modules, `bpf(2)`, the clock, settings, and parts that a line opens as a
//! whole.

use std::borrow::Cow;

use ebpf_common::abi::switch;
use ebpf_common::decide::kernel::BPF_CORE_COMMANDS;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::sysctl::{self, Sysctl};
use super::value::given_twice;
use crate::diagnostic::Diagnostic;
use crate::names::bpf::{BpfCommand, NAMES};
use crate::names::kernel::{LOCKDOWN, SWITCHES, URING, number};
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &[
    "modules", "bpf", "clock", "sysctl", "syslog", "perf", "kexec", "hostname", "reboot", "swap",
    "quota", "acct", "userns", "io_uring", "lockdown",
];

/// `LOCKDOWN_DEV_MEM`.
const DEV_MEM: u32 = 2;

fn with_userns() -> bool {
    true
}

/// What may be done to the kernel itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Kernel {
    /// Modules that may be loaded from their installed files, with what they depend on.
    #[schemars(default)]
    pub modules: Vec<Spanned<ModuleName>>,
    /// Commands of `bpf(2)`.
    #[schemars(with = "Vec<BpfCommand>", default)]
    pub bpf: Option<Spanned<Vec<BpfCommand>>>,
    /// Whether the system clock may be set.
    #[schemars(with = "bool", default)]
    pub clock: Option<Span>,
    /// Settings below `/proc/sys`.
    #[schemars(default)]
    pub sysctl: Sysctl,
    /// The kernel's log.
    #[schemars(with = "bool", default)]
    pub syslog: Option<Span>,
    /// `perf_event_open(2)`.
    #[schemars(with = "bool", default)]
    pub perf: Option<Span>,
    /// Loading another kernel.
    #[schemars(with = "bool", default)]
    pub kexec: Option<Span>,
    /// The host and domain name.
    #[schemars(with = "bool", default)]
    pub hostname: Option<Span>,
    /// `reboot(2)`.
    #[schemars(with = "bool", default)]
    pub reboot: Option<Span>,
    /// Swap areas.
    #[schemars(with = "bool", default)]
    pub swap: Option<Span>,
    /// `quotactl(2)`.
    #[schemars(with = "bool", default)]
    pub quota: Option<Span>,
    /// Process accounting.
    #[schemars(with = "bool", default)]
    pub acct: Option<Span>,
    /// Whether user namespaces may be made; here, where that is forbidden.
    #[schemars(with = "bool", default = "with_userns")]
    pub userns: Option<Span>,
    /// Uses of io_uring beyond requests for what other rules govern.
    #[schemars(with = "Vec<UringUse>", default)]
    pub io_uring: Option<Spanned<Vec<u32>>>,
    /// What lockdown knows: memory, ports and registers of the machine.
    #[schemars(with = "Vec<LockdownReason>", default)]
    pub lockdown: Option<Spanned<Vec<u32>>>,
}

/// A module's name, with `_` for every `-`, as the kernel has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModuleName(String);

impl ModuleName {
    /// Letters, digits, `_` and `-`, at most 55.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let short = !text.is_empty() && text.len() <= 55;
        (short && text.chars().all(fits)).then(|| Self(text.replace('-', "_")))
    }

    /// The name as the kernel has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for ModuleName {
    fn schema_name() -> Cow<'static, str> {
        "ModuleName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,55}$" })
    }
}

impl JsonSchema for BpfCommand {
    fn schema_name() -> Cow<'static, str> {
        "BpfCommand".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": NAMES.as_slice() })
    }
}

/// A use of io_uring, for the schema.
pub struct UringUse;

impl JsonSchema for UringUse {
    fn schema_name() -> Cow<'static, str> {
        "UringUse".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": URING.map(|(name, _)| name) })
    }
}

/// A reason of lockdown, for the schema.
pub struct LockdownReason;

impl JsonSchema for LockdownReason {
    fn schema_name() -> Cow<'static, str> {
        "LockdownReason".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": LOCKDOWN.map(|(name, _)| name) })
    }
}

impl Kernel {
    /// The switches that a line sets, with their numbers: on, but for user namespaces.
    pub fn switches(&self) -> impl Iterator<Item = (&'static str, u32, Span)> {
        let spans = [
            self.syslog,
            self.perf,
            self.kexec,
            self.hostname,
            self.reboot,
            self.swap,
            self.quota,
            self.acct,
            self.userns,
        ];
        SWITCHES
            .into_iter()
            .zip(spans)
            .filter_map(|((name, which), span)| Some((name, which, span?)))
    }

    fn slot(&mut self, which: u32) -> &mut Option<Span> {
        match which {
            switch::SYSLOG => &mut self.syslog,
            switch::PERF => &mut self.perf,
            switch::KEXEC => &mut self.kexec,
            switch::HOSTNAME => &mut self.hostname,
            switch::REBOOT => &mut self.reboot,
            switch::SWAP => &mut self.swap,
            switch::QUOTA => &mut self.quota,
            switch::ACCT => &mut self.acct,
            _ => &mut self.userns,
        }
    }

    pub(crate) fn bpf_text(commands: &[BpfCommand]) -> String {
        let names: Vec<_> = commands.iter().map(|command| command.name()).collect();
        format!("bpf: [{}]", names.join(", "))
    }
}

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Kernel {
    let mut kernel = Kernel::default();
    let Some(fields) = reader.fields(node, "kernel", KEYS) else {
        return kernel;
    };
    if let Some(node) = fields.find("modules") {
        let items = reader.list(node, "module names").unwrap_or_default();
        for item in items {
            read_module(reader, item, &mut kernel.modules);
        }
    }
    if let Some((span, node)) = fields.entry("bpf") {
        let read = reader.words(node, "commands of bpf(2)", &NAMES, BpfCommand::from_name);
        kernel.bpf = read.map(|commands| Spanned::new(commands, span));
        check_bpf(reader, kernel.bpf.as_ref());
    }
    if let Some((span, node)) = fields.entry("clock") {
        kernel.clock = (reader.boolean(node) == Some(true)).then_some(span);
    }
    if let Some(node) = fields.find("sysctl") {
        kernel.sysctl = sysctl::read(reader, node);
    }
    for (name, which) in SWITCHES {
        if let Some((span, node)) = fields.entry(name) {
            let matters = which != switch::USERNS;
            *kernel.slot(which) = (reader.boolean(node) == Some(matters)).then_some(span);
        }
    }
    kernel.io_uring = read_numbers(reader, fields.entry("io_uring"), "uses of io_uring", &URING);
    let reasons = fields.entry("lockdown");
    kernel.lockdown = read_numbers(reader, reasons, "reasons of lockdown", &LOCKDOWN);
    warn(reader, &kernel);
    kernel
}

fn read_numbers(
    reader: &mut Reader,
    entry: Option<(Span, &Node)>,
    what: &str,
    table: &[(&'static str, u32)],
) -> Option<Spanned<Vec<u32>>> {
    let (span, node) = entry?;
    let known: Vec<_> = table.iter().map(|(name, _)| *name).collect();
    let read = reader.words(node, what, &known, |word| number(table, word));
    read.map(|numbers| Spanned::new(numbers, span))
}

/// Warns of what is as good as the whole host.
fn warn(reader: &mut Reader, kernel: &Kernel) {
    let mut taken = Vec::new();
    taken.extend(kernel.kexec.map(|span| (span, "kexec")));
    let lockdown = kernel.lockdown.iter();
    let memory = lockdown.filter(|reasons| reasons.value.contains(&DEV_MEM));
    taken.extend(memory.map(|reasons| (reasons.span, "dev_mem")));
    for (span, name) in taken {
        let message = format!("`{name}` gives the container the whole host");
        let help = "grant it only to what may do everything on this host";
        reader
            .out
            .push(Diagnostic::warning(span, message).help(help));
    }
}

/// Refuses commands that no grant can open, and warns of one that is as good as the whole host.
fn check_bpf(reader: &mut Reader, granted: Option<&Spanned<Vec<BpfCommand>>>) {
    let Some(Spanned {
        value: commands,
        span,
    }) = granted
    else {
        return;
    };
    for command in commands {
        if BPF_CORE_COMMANDS >> command.number() & 1 == 1 {
            let message = format!("`{}` cannot be granted", command.name());
            let help = "it reaches programs and maps of others, those that enforce this policy \
                        among them";
            reader
                .out
                .push(Diagnostic::error(*span, message).help(help));
        } else if command.name() == "prog_load" {
            let message = "`prog_load` lets the container read and trace the whole host";
            let help = "grant it only to what may do everything on this host";
            reader
                .out
                .push(Diagnostic::warning(*span, message).help(help));
        }
    }
}

fn read_module(reader: &mut Reader, node: &Node, modules: &mut Vec<Spanned<ModuleName>>) {
    let Some(word) = reader.word(node, "a module name") else {
        return;
    };
    let Some(name) = ModuleName::parse(word.value) else {
        let message = format!("`{}` is not a module name", word.value);
        let help = "name the module as `modprobe` takes it, such as `nbd`";
        reader
            .out
            .push(Diagnostic::error(word.span, message).help(help));
        return;
    };
    match modules.iter().find(|known| known.value == name) {
        Some(first) => {
            let what = format!("module `{}`", name.as_str());
            given_twice(reader, word.span, &what, first.span);
        }
        None => modules.push(Spanned::new(name, word.span)),
    }
}
