//! Checked values: one that exists is well-formed.

use std::borrow::Cow;
use std::fmt;

use ebpf_common::Rights;
use ebpf_common::abi::ANY_MINOR;
use ebpf_common::ioctl;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::diagnostic::Diagnostic;
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::{Kind, Node};

/// Longest name of a policy.
const NAME_MAX: usize = 63;
/// Longest path that Linux takes, in bytes.
const PATH_MAX: usize = 4095;

/// Name of a policy: lower-case letters, digits and inner dashes, at most 63.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyName(String);

impl PolicyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn read(reader: &mut Reader, node: &Node) -> Option<Self> {
        let text = reader.text(node, "a name")?;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = text.value;
        let dashed = name.starts_with('-') || name.ends_with('-');
        if !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(fits) && !dashed {
            return Some(Self(name.to_owned()));
        }
        let error = Diagnostic::error(text.span, format!("`{name}` is not a name for a policy"));
        let help = "use a-z, 0-9 and inner dashes, at most 63 characters";
        reader.out.push(error.help(help));
        None
    }
}

impl JsonSchema for PolicyName {
    fn schema_name() -> Cow<'static, str> {
        "PolicyName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" })
    }
}

/// An absolute host path in its one normal form: no `.`, `..`, `//` or trailing slash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostPath(String);

impl HostPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks a path; the error says what is wrong and, where there is one, the path that was
    /// meant.
    pub fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        if !text.starts_with('/') {
            let meant = text.trim_start_matches("./");
            let help = match meant.contains('/') {
                true => format!("host paths begin with `/`; was `/{meant}` meant?"),
                false => "host paths begin with `/`".to_owned(),
            };
            return Err((format!("`{text}` is not an absolute path"), Some(help)));
        }
        if text.len() > PATH_MAX {
            return Err((format!("the path is longer than {PATH_MAX} bytes"), None));
        }
        if text.chars().any(char::is_control) {
            return Err(("the path holds a control character".to_owned(), None));
        }
        if text.contains(['*', '?']) {
            let help = "grant the directory: a grant holds for everything below it".to_owned();
            return Err((
                format!("`{text}` is a pattern; paths are taken literally"),
                Some(help),
            ));
        }
        if text.split('/').any(|part| part == "..") {
            let help = "write the path that is meant".to_owned();
            return Err((format!("`..` in the path `{text}`"), Some(help)));
        }
        let normal = normal_form(text);
        if normal != text {
            let help = format!("write `{normal}`");
            return Err((format!("`{text}` is not in normal form"), Some(help)));
        }
        Ok(Self(normal))
    }

    /// Whether `self` is `other` or lies below it, by name.
    pub fn is_within(&self, other: &str) -> bool {
        match self.0.strip_prefix(other) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || other == "/",
            None => false,
        }
    }

    /// The directory that holds it; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            Some(("", "")) | None => None,
            Some(("", _)) => Some(Self("/".to_owned())),
            Some((parent, _)) => Some(Self(parent.to_owned())),
        }
    }

    pub(crate) fn read(reader: &mut Reader, node: &Node) -> Option<Spanned<Self>> {
        let text = reader.text(node, "an absolute path")?;
        match Self::parse(text.value) {
            Ok(path) => Some(Spanned::new(path, text.span)),
            Err((message, help)) => {
                let error = Diagnostic::error(text.span, message).maybe_help(help);
                reader.out.push(error);
                None
            }
        }
    }
}

fn normal_form(text: &str) -> String {
    let parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
    let joined: Vec<&str> = parts.collect();
    format!("/{}", joined.join("/"))
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for HostPath {
    fn schema_name() -> Cow<'static, str> {
        "HostPath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^/([^/*?]+(/[^/*?]+)*)?$",
            "description": "absolute host path, taken literally; a directory means its subtree",
        })
    }
}

/// Rights as a grant lists them; empty is `none`, which takes a path out of a wider grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRights(pub Rights);

impl FileRights {
    /// What the decision sees: who may write may also cut and add.
    pub fn compiled(self) -> Rights {
        if self.0.contains(Rights::WRITE) {
            self.0 | Rights::TRUNCATE | Rights::APPEND
        } else {
            self.0
        }
    }

    /// As in a policy: `[read, write]` or `none`.
    pub fn text(self) -> String {
        match self.0.is_empty() {
            true => "none".to_owned(),
            false => format!("[{}]", self.0.names().collect::<Vec<_>>().join(", ")),
        }
    }

    pub(crate) fn read(reader: &mut Reader, node: &Node) -> Option<Self> {
        if matches!(&node.kind, Kind::Scalar { text, .. } if text == "none") {
            return Some(Self(Rights::NONE));
        }
        if matches!(&node.kind, Kind::List(items) if items.is_empty()) {
            let error = Diagnostic::error(node.span, "the list of rights is empty");
            let help = "write `allow: none` to take the path out of a wider grant";
            reader.out.push(error.help(help));
            return None;
        }
        let names = Rights::NAMES.map(|(name, _)| name);
        let read = reader.words(node, "rights", &names, Rights::from_name)?;
        Some(Self(read.into_iter().fold(Rights::NONE, Rights::union)))
    }
}

impl JsonSchema for FileRights {
    fn schema_name() -> Cow<'static, str> {
        "FileRights".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Rights::NAMES.map(|(name, _)| name);
        json_schema!({
            "description": "rights, or `none` to take the path out of a wider grant",
            "oneOf": [
                { "const": "none" },
                {
                    "type": "array",
                    "items": { "enum": names },
                    "minItems": 1,
                    "uniqueItems": true,
                },
            ],
        })
    }
}

/// A command of `ioctl(2)`, by name or number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IoctlCommand(pub u32);

impl IoctlCommand {
    /// A name of [`ioctl::NAMES`], or a number in decimal or, with `0x`, hexadecimal.
    pub fn parse(text: &str) -> Option<Self> {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            None => ioctl::from_name(text),
        };
        number.map(Self)
    }

    /// Reads the list of commands of a grant.
    pub(crate) fn read_list(reader: &mut Reader, node: &Node) -> Vec<Self> {
        let names: Vec<&str> = ioctl::NAMES.iter().map(|(name, _)| *name).collect();
        let read = reader.words(node, "ioctl commands", &names, Self::parse);
        let read = read.unwrap_or_default();
        for command in &read {
            if ioctl::is_free(command.0) {
                let message = format!("`{command}` is free for every descriptor");
                let warning = Diagnostic::warning(node.span, message);
                reader.out.push(warning.help("remove it"));
            }
            if ioctl::sets_flags(command.0) {
                let message = format!("`{command}` sets flags of files, which is a right");
                let error = Diagnostic::error(node.span, message);
                reader
                    .out
                    .push(error.help("write `flags` among the rights"));
            }
        }
        read
    }

    /// `, ioctl: [A, B]`, or nothing.
    pub(crate) fn list_text(commands: &[Self]) -> String {
        if commands.is_empty() {
            return String::new();
        }
        let words: Vec<String> = commands.iter().map(Self::to_string).collect();
        format!(", ioctl: [{}]", words.join(", "))
    }
}

impl fmt::Display for IoctlCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ioctl::name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl JsonSchema for IoctlCommand {
    fn schema_name() -> Cow<'static, str> {
        "IoctlCommand".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = ioctl::NAMES.iter().map(|(name, _)| *name).collect();
        json_schema!({
            "description": "a command of ioctl(2), by name or number",
            "oneOf": [
                { "enum": names },
                { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                { "type": "string", "pattern": "^0x[0-9a-fA-F]{1,8}$" },
            ],
        })
    }
}

/// Major and minor number of a device, or every minor of a major.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceNumber {
    /// Major number, at most 4095.
    pub major: u32,
    /// Minor number, at most 1048575, or [`ANY_MINOR`].
    pub minor: u32,
}

impl DeviceNumber {
    /// `MAJOR:MINOR` or `MAJOR:*`.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str, max| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u32>().ok().filter(|n| digits && *n <= max)
        };
        let (major, minor) = text.split_once(':')?;
        let minor = match minor {
            "*" => ANY_MINOR,
            minor => number(minor, 0xf_ffff)?,
        };
        Some(Self {
            major: number(major, 0xfff)?,
            minor,
        })
    }

    pub(crate) fn read(reader: &mut Reader, node: &Node) -> Option<Spanned<Self>> {
        let text = reader.word(node, "a device number (`MAJOR:MINOR`)")?;
        match Self::parse(text.value) {
            Some(number) => Some(Spanned::new(number, text.span)),
            None => {
                let message = format!("`{}` is not a device number", text.value);
                let error = Diagnostic::error(text.span, message);
                let help = "write \"MAJOR:MINOR\" or \"MAJOR:*\", as `ls -l` shows them";
                reader.out.push(error.help(help));
                None
            }
        }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            ANY_MINOR => write!(f, "{}:*", self.major),
            minor => write!(f, "{}:{minor}", self.major),
        }
    }
}

impl JsonSchema for DeviceNumber {
    fn schema_name() -> Cow<'static, str> {
        "DeviceNumber".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,4}:([0-9]{1,7}|\\*)$" })
    }
}

/// A path as YAML takes it in a flow mapping, in quotes where it needs them.
pub(crate) fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._+@-".contains(c);
    match path.chars().all(plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "''")),
    }
}

/// Reports a second rule for the same thing.
pub(crate) fn given_twice(reader: &mut Reader, span: Span, what: &str, first: Span) {
    let error = Diagnostic::error(span, format!("{what} has a rule already"));
    let help = format!(
        "the first is at {}: merge the two",
        reader.out.place(first, span)
    );
    reader.out.push(error.help(help));
}
