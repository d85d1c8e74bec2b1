//! Section `mounts`: which file systems the container may mount, from where and on what, and what
//! it may do to mounts.

use std::borrow::Cow;

use ebpf_common::Rights;
use ebpf_common::abi::{ANY_MINOR, source_hash_of};
use ebpf_common::decide::mount::MountAction;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::value::{DeviceNumber, FileRights, HostPath, given_twice, quoted};
use crate::diagnostic::Diagnostic;
use crate::names::mount::{self, TypeKind};
use crate::reader::{Fields, Reader};
use crate::source::{Span, Spanned};
use crate::yaml::{Kind, Node};

pub(crate) const KEYS: &[&str] = &["type", "source", "target", "flags", "files", "allow"];

/// A grant to mount one type of file system.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(with = "Written")]
pub struct MountGrant {
    /// One of [`mount::TYPES`].
    pub fs_type: Spanned<&'static str>,
    /// What it may be mounted from; empty where that is not asked.
    pub sources: Vec<Spanned<MountSource>>,
    /// Directories that it may be mounted on; empty: on the container's own.
    pub targets: Vec<Spanned<HostPath>>,
    /// `MS_*` bits that the mount must have.
    pub flags: u64,
    /// What may be done to the files of a file system that is the host's.
    pub files: Rights,
    /// The whole line.
    pub span: Span,
}

/// What a file system is mounted from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MountSource {
    /// A block device by number.
    Device(DeviceNumber),
    /// A block device by its node.
    Node(HostPath),
    /// The source as it is handed over.
    Text(String),
}

impl MountSource {
    fn text(&self) -> String {
        match self {
            Self::Device(number) => format!("\"{number}\""),
            Self::Node(path) => quoted(path.as_str()),
            Self::Text(text) => quoted(text),
        }
    }
}

/// A grant of actions on mounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountActions {
    /// Which.
    pub allow: Vec<MountAction>,
    /// The directories at the root of the mounts; empty: mounts that the container made.
    pub targets: Vec<Spanned<HostPath>>,
    /// The whole line.
    pub span: Span,
}

/// The lines of the section.
#[derive(Default)]
pub(crate) struct Mounts {
    pub(crate) grants: Vec<MountGrant>,
    pub(crate) actions: Vec<MountActions>,
}

/// A grant to mount one type of file system (`type`), or of actions on mounts (`allow`).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "MountGrant")]
#[allow(dead_code, reason = "the form as written, for the schema only")]
struct Written {
    /// File system type, or `bind`.
    #[schemars(extend("enum" = mount::TYPES))]
    r#type: Option<String>,
    /// What it may be mounted from: a block device by number or node for ext4 and xfs, else the
    /// source as it is handed over.
    source: Option<OneOrMore>,
    /// Directories that it may be mounted on; without them, the container's own. With `allow`, the
    /// mounts that it is about.
    target: Option<OneOrMore>,
    /// Flags that the mount must have; none for `bind`.
    flags: Option<Vec<Flag>>,
    /// What may be done to its files, for types whose files are the host's.
    files: Option<FileRights>,
    /// Actions on mounts, instead of a type.
    #[schemars(extend("items" = {"enum": MountAction::NAMES.map(|(name, _)| name)}))]
    allow: Option<Vec<String>>,
}

/// A word, or a list of them.
struct OneOrMore;

impl JsonSchema for OneOrMore {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMore".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ],
        })
    }
}

/// A flag of `mount(2)`, by name.
struct Flag;

impl JsonSchema for Flag {
    fn schema_name() -> Cow<'static, str> {
        "MountFlag".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": mount::FLAGS.map(|(name, ..)| name) })
    }
}

fn listed(words: &[String]) -> String {
    match words {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn targets_text(targets: &[Spanned<HostPath>]) -> String {
    let paths: Vec<_> = targets.iter().map(|at| quoted(at.value.as_str())).collect();
    match paths.is_empty() {
        true => String::new(),
        false => format!(", target: {}", listed(&paths)),
    }
}

impl MountGrant {
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{{ type: {}", self.fs_type.value);
        if !self.sources.is_empty() {
            let sources: Vec<_> = self.sources.iter().map(|from| from.value.text()).collect();
            text += &format!(", source: {}", listed(&sources));
        }
        text += &targets_text(&self.targets);
        if self.flags != 0 {
            text += &format!(", flags: [{}]", mount::flag_names(self.flags).join(", "));
        }
        if is_hosts(self.fs_type.value) {
            text += &format!(", files: {}", FileRights(self.files).text());
        }
        text + " }"
    }
}

impl MountActions {
    pub(crate) fn text(&self) -> String {
        let names: Vec<_> = self.allow.iter().map(|action| action.name()).collect();
        let targets = targets_text(&self.targets);
        format!("{{ allow: [{}]{targets} }}", names.join(", "))
    }
}

/// Whether the files of a type are the host's.
fn is_hosts(fs_type: &str) -> bool {
    matches!(mount::kind(fs_type), TypeKind::Device | TypeKind::Network)
}

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Mounts {
    let mut mounts = Mounts::default();
    let items = reader.list(node, "grants (`- { type: tmpfs }`)");
    for item in items.unwrap_or_default() {
        let Some(fields) = reader.fields(item, "a mount grant", KEYS) else {
            continue;
        };
        if fields.find("allow").is_some() {
            let actions = read_actions(reader, item, &fields);
            mounts.actions.extend(actions);
        } else if let Some(grant) = read_one(reader, item, &fields) {
            add(reader, &mut mounts.grants, grant);
        }
    }
    mounts
}

fn add(reader: &mut Reader, grants: &mut Vec<MountGrant>, grant: MountGrant) {
    let same = |known: &&MountGrant| known.fs_type.value == grant.fs_type.value;
    match grants.iter().find(same) {
        Some(first) => {
            let what = format!("type `{}`", grant.fs_type.value);
            given_twice(reader, grant.fs_type.span, &what, first.fs_type.span);
        }
        None => grants.push(grant),
    }
}

fn read_actions(reader: &mut Reader, node: &Node, fields: &Fields<'_>) -> Option<MountActions> {
    for key in ["type", "source", "flags", "files"] {
        if let Some((span, _)) = fields.entry(key) {
            let error = Diagnostic::error(span, format!("`{key}` beside `allow`"));
            let help = "write a line for the type and one for the actions";
            reader.out.push(error.help(help));
        }
    }
    let names = MountAction::NAMES.map(|(name, _)| name);
    let parse = |word: &str| {
        let mut known = MountAction::NAMES.into_iter();
        known
            .find(|(name, _)| *name == word)
            .map(|(_, found)| found)
    };
    let allow = reader.require(fields, "allow", "[umount]");
    let allow = allow.and_then(|node| reader.words(node, "actions on mounts", &names, parse))?;
    let targets = read_targets(reader, fields)?;
    for action in &allow {
        let named = !targets.is_empty();
        let (wrong, help) = match action {
            MountAction::Umount if !named => (true, "name the mounts with `target`"),
            other if named && !other.has_target() => (
                true,
                "no hook sees which mount it is about: give it a line without `target`",
            ),
            _ => (false, ""),
        };
        if wrong {
            let message = format!("`{}` cannot be granted so", action.name());
            let error = Diagnostic::error(node.span, message);
            reader.out.push(error.help(help));
        }
    }
    Some(MountActions {
        allow,
        targets,
        span: node.span,
    })
}

fn read_one(reader: &mut Reader, node: &Node, fields: &Fields<'_>) -> Option<MountGrant> {
    let fs_type = reader.require(fields, "type", "tmpfs");
    let fs_type = fs_type.and_then(|node| read_type(reader, node));
    let names = mount::FLAGS.map(|(name, ..)| name);
    let mut flags = 0;
    if let Some(node) = fields.find("flags") {
        let bits = reader.words(node, "mount flags", &names, mount::flag)?;
        flags = bits.into_iter().fold(0, |all, bit| all | bit);
        if fs_type
            .as_ref()
            .is_some_and(|found| found.value == mount::BIND)
        {
            let error = Diagnostic::error(node.span, "a bind mount takes no flags");
            let help = "mount(2) ignores them on MS_BIND, so they cannot be required: remove them";
            reader.out.push(error.help(help));
        }
    }
    let fs_type = fs_type?;
    let sources = read_sources(reader, fields, &fs_type)?;
    let targets = read_targets(reader, fields)?;
    let files = read_files(reader, fields, &fs_type)?;
    Some(MountGrant {
        fs_type,
        sources,
        targets,
        flags,
        files,
        span: node.span,
    })
}

fn read_files(
    reader: &mut Reader,
    fields: &Fields<'_>,
    fs_type: &Spanned<&'static str>,
) -> Option<Rights> {
    let hosts = is_hosts(fs_type.value);
    let Some((span, node)) = fields.entry("files") else {
        return Some(if hosts { Rights::READ } else { Rights::NONE });
    };
    if !hosts {
        let message = format!("`files` on a mount of type `{}`", fs_type.value);
        let error = Diagnostic::error(span, message);
        let help = "what is in it is the container's own, or has lines in `files`: remove the key";
        reader.out.push(error.help(help));
        return None;
    }
    Some(FileRights::read(reader, node)?.compiled())
}

/// The items of a list, or the one word that stands for it.
fn items<'n>(reader: &mut Reader, node: &'n Node, what: &str) -> Option<&'n [Node]> {
    match &node.kind {
        Kind::Scalar { .. } => Some(std::slice::from_ref(node)),
        _ => reader.list(node, what),
    }
}

fn read_targets(reader: &mut Reader, fields: &Fields<'_>) -> Option<Vec<Spanned<HostPath>>> {
    let Some(node) = fields.find("target") else {
        return Some(Vec::new());
    };
    let items = items(reader, node, "directories")?;
    let read = items.iter().map(|item| HostPath::read(reader, item));
    read.collect()
}

fn read_sources(
    reader: &mut Reader,
    fields: &Fields<'_>,
    fs_type: &Spanned<&'static str>,
) -> Option<Vec<Spanned<MountSource>>> {
    let name = fs_type.value;
    let Some((span, node)) = fields.entry("source") else {
        if is_hosts(name) {
            let message = format!("a mount of type `{name}` needs a `source`");
            let help = match mount::kind(name) {
                TypeKind::Device => "name the block device: `source: \"8:1\"` or its node",
                _ => "write the source as it is handed over, such as `server:/export`",
            };
            reader
                .out
                .push(Diagnostic::error(fs_type.span, message).help(help));
            return None;
        }
        return Some(Vec::new());
    };
    if name == mount::BIND {
        let error = Diagnostic::error(span, "a bind mount takes no source");
        let help = "what it shows stays under the lines of `files`: remove the key";
        reader.out.push(error.help(help));
        return None;
    }
    let items = items(reader, node, "sources")?;
    let read = items.iter().map(|item| read_source(reader, item, name));
    read.collect()
}

fn read_source(reader: &mut Reader, node: &Node, fs_type: &str) -> Option<Spanned<MountSource>> {
    let word = reader.word(node, "a source")?;
    if mount::kind(fs_type) != TypeKind::Device {
        if source_hash_of(word.value) == 0 {
            let message = "the source is empty or longer than 126 bytes";
            reader.error(word.span, message);
            return None;
        }
        let text = MountSource::Text(word.value.to_owned());
        return Some(Spanned::new(text, word.span));
    }
    if word.value.starts_with('/') {
        let path = HostPath::read(reader, node)?;
        return Some(Spanned::new(MountSource::Node(path.value), path.span));
    }
    let number = DeviceNumber::read(reader, node)?;
    if number.value.minor == ANY_MINOR {
        reader.error(word.span, "a mount has one device: name its minor number");
        return None;
    }
    Some(Spanned::new(MountSource::Device(number.value), number.span))
}

fn read_type(reader: &mut Reader, node: &Node) -> Option<Spanned<&'static str>> {
    let word = reader.word(node, "a file system type")?;
    match mount::TYPES.into_iter().find(|known| *known == word.value) {
        Some(known) => Some(Spanned::new(known, word.span)),
        None => {
            reader.unknown_word(word, "types that may be granted", &mount::TYPES);
            None
        }
    }
}
