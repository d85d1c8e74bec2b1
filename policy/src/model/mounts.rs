//! Section `mounts`: which file systems the container may mount, on mount points of its own.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::value::given_twice;
use crate::diagnostic::Diagnostic;
use crate::names::mount;
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["type", "flags"];

/// A grant to mount one type of file system.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(with = "Written")]
pub struct MountGrant {
    /// One of [`mount::TYPES`].
    pub fs_type: Spanned<&'static str>,
    /// `MS_*` bits that the mount must have.
    pub flags: u64,
    /// The whole line.
    pub span: Span,
}

/// A grant to mount one type of file system.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "MountGrant")]
#[allow(dead_code, reason = "the form as written, for the schema only")]
struct Written {
    /// File system type, or `bind`.
    #[schemars(extend("enum" = mount::TYPES))]
    r#type: String,
    /// Flags that the mount must have; none for `bind`.
    flags: Option<Vec<Flag>>,
}

/// A flag of `mount(2)`, by name.
struct Flag;

impl JsonSchema for Flag {
    fn schema_name() -> Cow<'static, str> {
        "MountFlag".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": mount::FLAGS.map(|(name, _)| name) })
    }
}

impl MountGrant {
    pub(crate) fn text(&self) -> String {
        let fs_type = self.fs_type.value;
        match self.flags {
            0 => format!("{{ type: {fs_type} }}"),
            flags => {
                let names = mount::flag_names(flags).join(", ");
                format!("{{ type: {fs_type}, flags: [{names}] }}")
            }
        }
    }
}

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Vec<MountGrant> {
    let Some(items) = reader.list(node, "grants (`- { type: tmpfs }`)") else {
        return Vec::new();
    };
    let mut grants: Vec<MountGrant> = Vec::new();
    for item in items {
        if let Some(grant) = read_one(reader, item) {
            let same = |known: &&MountGrant| known.fs_type.value == grant.fs_type.value;
            if let Some(first) = grants.iter().find(same) {
                let what = format!("type `{}`", grant.fs_type.value);
                given_twice(reader, grant.fs_type.span, &what, first.fs_type.span);
            } else {
                grants.push(grant);
            }
        }
    }
    grants
}

fn read_one(reader: &mut Reader, node: &Node) -> Option<MountGrant> {
    let fields = reader.fields(node, "a mount grant", KEYS)?;
    let fs_type = reader.require(&fields, "type", "tmpfs");
    let fs_type = fs_type.and_then(|node| read_type(reader, node));
    let names = mount::FLAGS.map(|(name, _)| name);
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
    Some(MountGrant {
        fs_type: fs_type?,
        flags,
        span: node.span,
    })
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
