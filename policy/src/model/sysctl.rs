//! Kernel settings in the section `kernel`: by name, as `sysctl(8)` takes them.

use std::borrow::Cow;
use std::fmt;

use ebpf_common::Rights;
use ebpf_common::decide::sysctl::{PARTS, TOP, WORDS, below, part_hash_of};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::value::given_twice;
use crate::diagnostic::Diagnostic;
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["read", "write"];

/// Longest part of a name, in bytes.
const PART_MAX: usize = WORDS * 8 - 2;

/// Name of a setting or, with `.*`, of all below a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SysctlName {
    parts: Vec<String>,
    /// Written with `.*`.
    all_below: bool,
}

impl SysctlName {
    /// `vm.dirty_ratio`, `net.ipv4.*`; with slashes where a part holds a dot.
    pub fn parse(text: &str) -> Option<Self> {
        let separator = if text.contains('/') { '/' } else { '.' };
        let mut parts: Vec<String> = text.split(separator).map(str::to_owned).collect();
        let all_below = parts.last().is_some_and(|last| last == "*");
        if all_below {
            parts.pop();
        }
        let fits = |part: &String| {
            let known = |c: char| c.is_ascii_alphanumeric() || "_-.:@".contains(c);
            !part.is_empty() && part.len() <= PART_MAX && part.chars().all(known)
        };
        let dots = |part: &String| part.chars().all(|c| c == '.');
        let right = !parts.is_empty() && parts.len() <= PARTS && parts.iter().all(fits);
        (right && !parts.iter().any(dots)).then_some(Self { parts, all_below })
    }

    /// The number under which the kernel side knows it.
    pub fn number(&self) -> u64 {
        let parts = self.parts.iter().map(|part| part_hash_of(part.as_bytes()));
        parts.fold(TOP, below)
    }

    /// Hashes of its parts, the last first, as the kernel side walks them.
    pub fn upwards(&self) -> impl Iterator<Item = u64> {
        let parts = self.parts.iter().rev();
        parts.map(|part| part_hash_of(part.as_bytes()))
    }

    /// Whether it names `other` or a directory above it.
    pub fn covers(&self, other: &Self) -> bool {
        other.parts.starts_with(&self.parts)
    }
}

impl fmt::Display for SysctlName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dotted = self.parts.iter().any(|part| part.contains('.'));
        let separator = if dotted { "/" } else { "." };
        f.write_str(&self.parts.join(separator))?;
        match self.all_below {
            true => write!(f, "{separator}*"),
            false => Ok(()),
        }
    }
}

impl JsonSchema for SysctlName {
    fn schema_name() -> Cow<'static, str> {
        "SysctlName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9_:@-]+([./][A-Za-z0-9_.:@-]+)*([./]\\*)?$",
            "description": "name of a setting, or with `.*` all below a directory",
        })
    }
}

/// Settings that may be read and written.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Sysctl {
    /// Settings that may be read through any procfs; through its own the container reads all.
    #[schemars(default)]
    pub read: Vec<Spanned<SysctlName>>,
    /// Settings that may be written through any procfs.
    #[schemars(default)]
    pub write: Vec<Spanned<SysctlName>>,
}

impl Sysctl {
    /// Every grant with its right.
    pub fn grants(&self) -> impl Iterator<Item = (&'static str, &Spanned<SysctlName>, Rights)> {
        let read = self.read.iter().map(|name| ("read", name, Rights::READ));
        let both = Rights::WRITE | Rights::TRUNCATE;
        read.chain(self.write.iter().map(move |name| ("write", name, both)))
    }
}

/// Settings whose writer can have the kernel execute a program as root on the host.
const RUNS_AS_ROOT: [&str; 5] = [
    "kernel.core_pattern",
    "kernel.modprobe",
    "kernel.hotplug",
    "kernel.poweroff_cmd",
    "kernel.usermodehelper",
];

pub(super) fn read(reader: &mut Reader, node: &Node) -> Sysctl {
    let mut read = Sysctl::default();
    let Some(fields) = reader.fields(node, "sysctl", KEYS) else {
        return read;
    };
    for (key, names) in [("read", &mut read.read), ("write", &mut read.write)] {
        let items = fields.find(key);
        let items = items.and_then(|node| reader.list(node, "names of settings"));
        for item in items.unwrap_or_default() {
            read_name(reader, item, names);
        }
    }
    for name in &read.write {
        check_write(reader, &name.value, name.span);
    }
    read
}

fn read_name(reader: &mut Reader, node: &Node, names: &mut Vec<Spanned<SysctlName>>) {
    let Some(word) = reader.word(node, "the name of a setting") else {
        return;
    };
    let Some(name) = SysctlName::parse(word.value) else {
        let message = format!("`{}` is not the name of a setting", word.value);
        let help = "write it as `sysctl` takes it, such as `vm.dirty_ratio` or `net.ipv4.*`";
        reader
            .out
            .push(Diagnostic::error(word.span, message).help(help));
        return;
    };
    match names.iter().find(|known| known.value.parts == name.parts) {
        Some(first) => given_twice(reader, word.span, &format!("`{name}`"), first.span),
        None => names.push(Spanned::new(name, word.span)),
    }
}

/// Refuses what no line can open, and warns of what is as good as root on the host.
fn check_write(reader: &mut Reader, name: &SysctlName, span: Span) {
    let named = |text: &&str| SysctlName::parse(text).is_some_and(|one| name.covers(&one));
    if SysctlName::parse("kernel.ftrace_enabled").is_some_and(|core| core.covers(name)) {
        let error = Diagnostic::error(span, format!("writing `{name}` cannot be granted"));
        let help = "it switches enforcement off for every container";
        reader.out.push(error.help(help));
        return;
    }
    let below = SysctlName::parse("kernel.usermodehelper").is_some_and(|top| top.covers(name));
    if below || RUNS_AS_ROOT.iter().any(named) {
        let message = format!("writing `{name}` is as good as root on the host");
        let help = "the kernel executes what is written there: grant the settings that are needed";
        reader
            .out
            .push(Diagnostic::warning(span, message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_they_print() {
        for text in [
            "vm.dirty_ratio",
            "net.ipv4.*",
            "net/ipv4/conf/eth0.100/forwarding",
        ] {
            let name = SysctlName::parse(text).expect(text);
            assert_eq!(name.to_string(), text);
        }
        let slashes = SysctlName::parse("net/ipv4/ip_forward");
        assert_eq!(slashes, SysctlName::parse("net.ipv4.ip_forward"));
        for wrong in [
            "", "*", ".", "vm.", "vm..x", "a b", "/vm/x", "vm/../x", "vm.*.x",
        ] {
            assert_eq!(SysctlName::parse(wrong), None, "{wrong}");
        }
        assert_eq!(SysctlName::parse(&"x".repeat(63)), None);
    }
}
