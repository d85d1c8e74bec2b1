//! Section `kernel`: modules, `bpf(2)`, the clock.

use std::borrow::Cow;

use ebpf_common::decide::kernel::BPF_CORE_COMMANDS;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::value::given_twice;
use crate::diagnostic::Diagnostic;
use crate::names::bpf::{BpfCommand, NAMES};
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["modules", "bpf", "clock"];

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

impl Kernel {
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
    kernel
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
