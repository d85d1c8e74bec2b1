//! Section `capabilities`: capabilities over the host, each only in the system calls that it names.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::value::given_twice;
use crate::diagnostic::Diagnostic;
use crate::names::capability::{Capability, NAMES};
use crate::names::syscall::Syscall;
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::{Kind, Node};

/// In which system calls a capability may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Calls {
    /// In every one, also by kernel workers on behalf of the container.
    All,
    /// In these.
    Only(Vec<Syscall>),
}

/// A capability over the host and where it may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CapabilityGrant {
    /// Which.
    pub capability: Spanned<Capability>,
    /// In which system calls.
    pub calls: Calls,
}

impl CapabilityGrant {
    pub(crate) fn text(&self) -> String {
        let name = self.capability.value.name();
        match &self.calls {
            Calls::All => format!("{name}: all"),
            Calls::Only(calls) => {
                let calls: Vec<_> = calls.iter().map(|call| call.name()).collect();
                format!("{name}: [{}]", calls.join(", "))
            }
        }
    }
}

/// The whole section.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities(pub Vec<CapabilityGrant>);

impl JsonSchema for Capabilities {
    fn schema_name() -> Cow<'static, str> {
        "Capabilities".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let calls: Vec<_> = Syscall::all().map(Syscall::name).collect();
        json_schema!({
            "description": "capabilities over the host, each with the system calls it is for",
            "type": "object",
            "propertyNames": { "enum": names_with_and_without_prefix() },
            "additionalProperties": {
                "oneOf": [
                    { "const": "all" },
                    {
                        "type": "array",
                        "items": { "enum": calls },
                        "minItems": 1,
                        "uniqueItems": true,
                    },
                ],
            },
        })
    }
}

fn names_with_and_without_prefix() -> Vec<String> {
    let long = NAMES.iter().map(|name| format!("CAP_{name}"));
    NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(long)
        .collect()
}

/// Capabilities that are root on the host when not tied to system calls.
const TAKES_OVER: [&str; 6] = [
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_PTRACE",
    "SYS_BOOT",
    "BPF",
];

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Capabilities {
    let Some(entries) = reader.entries(node, "capabilities") else {
        return Capabilities::default();
    };
    let mut grants: Vec<CapabilityGrant> = Vec::new();
    for (key, value) in entries {
        let calls = read_calls(reader, value);
        let Some(capability) = Capability::from_name(&key.value) else {
            let known = names_with_and_without_prefix();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let word = Spanned::new(key.value.as_str(), key.span);
            reader.unknown_word(word, "capabilities", &known);
            continue;
        };
        let first = grants
            .iter()
            .find(|known| known.capability.value == capability);
        if let Some(first) = first {
            let what = format!("capability {}", capability.name());
            given_twice(reader, key.span, &what, first.capability.span);
            continue;
        }
        if calls == Some(Calls::All) && TAKES_OVER.contains(&capability.name()) {
            let message = format!(
                "`{}: all` is as good as root on the host",
                capability.name()
            );
            let warning = Diagnostic::warning(value.span, message);
            let help = "name the system calls that need it";
            reader.out.push(warning.help(help));
        }
        if let Some(calls) = calls {
            let capability = Spanned::new(capability, key.span);
            grants.push(CapabilityGrant { capability, calls });
        }
    }
    Capabilities(grants)
}

fn read_calls(reader: &mut Reader, node: &Node) -> Option<Calls> {
    match &node.kind {
        Kind::Scalar { text, .. } if text == "all" => return Some(Calls::All),
        Kind::List(items) => warn_elsewhere(reader, items),
        _ => {}
    }
    let known: Vec<_> = Syscall::all().map(Syscall::name).collect();
    let parse = |word: &str| match Syscall::from_name(word) {
        Some(call) => Some(Some(call)),
        None => Syscall::known_elsewhere(word).then_some(None),
    };
    let read = reader.words(node, "system calls", &known, parse)?;
    Some(Calls::Only(read.into_iter().flatten().collect()))
}

fn warn_elsewhere(reader: &mut Reader, items: &[Node]) {
    for item in items {
        if let Kind::Scalar { text, .. } = &item.kind
            && Syscall::from_name(text).is_none()
            && Syscall::known_elsewhere(text)
        {
            let message = format!("this architecture has no system call `{text}`");
            reader.out.push(Diagnostic::warning(item.span, message));
        }
    }
}

/// The key's place, for what is reported at compile.
impl CapabilityGrant {
    /// Where the grant begins.
    pub fn span(&self) -> Span {
        self.capability.span
    }
}
