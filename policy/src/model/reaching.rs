//! The lines of `processes` on namespaces and on limits of host processes.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use std::borrow::Cow;

use super::value::{HostPath, quoted};
use crate::names::process;
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const SETNS_KEYS: &[&str] = &["exe", "types", "optional"];
pub(crate) const LIMITS_KEYS: &[&str] = &["exe", "allow", "optional"];

/// Entering namespaces of processes that execute a file.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SetnsGrant {
    /// The executable.
    pub exe: Spanned<HostPath>,
    /// Types of namespaces.
    pub types: Namespaces,
    /// Whether the executable may be missing when the container is made.
    #[schemars(default)]
    pub optional: bool,
    /// The whole line.
    #[schemars(skip)]
    pub span: Span,
}

/// `CLONE_NEW*` bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespaces(pub u32);

/// Changing limits, priority or placement of processes that execute a file.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LimitsGrant {
    /// The executable.
    pub exe: Spanned<HostPath>,
    /// What may be changed.
    pub allow: Limits,
    /// Whether the executable may be missing when the container is made.
    #[schemars(default)]
    pub optional: bool,
    /// The whole line.
    #[schemars(skip)]
    pub span: Span,
}

/// Bits of [`ebpf_common::abi::limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits(pub u32);

/// The schema of a list of words without repetition.
fn words(names: &[&str]) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "uniqueItems": true,
        "items": { "enum": names },
    })
}

impl JsonSchema for Namespaces {
    fn schema_name() -> Cow<'static, str> {
        "Namespaces".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        words(&process::NAMESPACES.map(|(name, _)| name))
    }
}

impl JsonSchema for Limits {
    fn schema_name() -> Cow<'static, str> {
        "Limits".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        words(&process::LIMITS.map(|(name, _)| name))
    }
}

impl SetnsGrant {
    pub(crate) fn text(&self) -> String {
        let exe = quoted(self.exe.value.as_str());
        let types = process::names(&process::NAMESPACES, self.types.0).join(", ");
        format!("{{ exe: {exe}, types: [{types}] }}")
    }
}

impl LimitsGrant {
    pub(crate) fn text(&self) -> String {
        let exe = quoted(self.exe.value.as_str());
        let allow = process::names(&process::LIMITS, self.allow.0).join(", ");
        format!("{{ exe: {exe}, allow: [{allow}] }}")
    }
}

/// Executable, bits of the words under `key`, and `optional`.
type Line = (Spanned<HostPath>, u32, bool);

fn read_line<const N: usize>(
    reader: &mut Reader,
    node: &Node,
    (what, words_of, keys): (&str, &str, &[&str]),
    (key, example): (&str, &str),
    known: [(&'static str, u32); N],
) -> Option<Line> {
    let fields = reader.fields(node, what, keys)?;
    let exe = reader.require(&fields, "exe", "/usr/bin/program");
    let exe = exe.and_then(|node| HostPath::read(reader, node));
    let words = reader.require(&fields, key, example);
    let names = known.map(|(name, _)| name);
    let parse = |word: &str| process::bit(&known, word);
    let bits = words.and_then(|node| reader.words(node, words_of, &names, parse));
    let optional = fields.find("optional");
    let optional = optional.is_some_and(|node| reader.boolean(node) == Some(true));
    let bits = bits?.into_iter().fold(0, |all, bit| all | bit);
    Some((exe?, bits, optional))
}

pub(crate) fn read_setns(reader: &mut Reader, node: &Node) -> Option<SetnsGrant> {
    let what = ("a setns grant", "types of namespaces", SETNS_KEYS);
    let known = process::NAMESPACES;
    let (exe, bits, optional) = read_line(reader, node, what, ("types", "[net]"), known)?;
    Some(SetnsGrant {
        exe,
        types: Namespaces(bits),
        optional,
        span: node.span,
    })
}

pub(crate) fn read_limits(reader: &mut Reader, node: &Node) -> Option<LimitsGrant> {
    let what = ("a limits grant", "limits", LIMITS_KEYS);
    let (exe, bits, optional) =
        read_line(reader, node, what, ("allow", "[nice]"), process::LIMITS)?;
    Some(LimitsGrant {
        exe,
        allow: Limits(bits),
        optional,
        span: node.span,
    })
}
