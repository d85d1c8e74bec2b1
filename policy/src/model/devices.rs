//! Section `devices`: which device nodes may be opened, by class and number, wherever the node
//! lies.

use ebpf_common::Rights;
use ebpf_common::abi::{ANY_MINOR, device_class};
use schemars::JsonSchema;

use super::value::{DeviceNumber, given_twice};
use crate::diagnostic::Diagnostic;
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["block", "char", "allow"];

/// Rights that make sense for a device.
const RIGHTS: [&str; 2] = ["read", "write"];

/// Block or character device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceClass {
    /// Block device.
    Block,
    /// Character device.
    Char,
}

impl DeviceClass {
    /// The word of the policy language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Char => "char",
        }
    }

    /// The number in [`device_class`].
    pub fn number(self) -> u32 {
        match self {
            Self::Block => device_class::BLOCK,
            Self::Char => device_class::CHAR,
        }
    }
}

/// A grant on a device or on all devices of a major number.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(with = "Written")]
pub struct DeviceGrant {
    /// Block or character.
    pub class: DeviceClass,
    /// Which.
    pub number: Spanned<DeviceNumber>,
    /// `read`, `write`.
    pub allow: Rights,
    /// The whole line.
    pub span: Span,
}

/// A grant on a device by number; exactly one of `block` and `char`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "DeviceGrant")]
#[allow(dead_code, reason = "the form as written, for the schema only")]
struct Written {
    /// Block device, `MAJOR:MINOR` or `MAJOR:*`.
    block: Option<DeviceNumber>,
    /// Character device, `MAJOR:MINOR` or `MAJOR:*`.
    char: Option<DeviceNumber>,
    /// What may be done.
    allow: Vec<DeviceRight>,
}

/// A right over a device.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "the form as written, for the schema only")]
enum DeviceRight {
    Read,
    Write,
}

impl DeviceGrant {
    pub(crate) fn text(&self) -> String {
        let rights: Vec<_> = self.allow.names().collect();
        let (class, number) = (self.class.name(), self.number.value);
        format!(
            "{{ {class}: \"{number}\", allow: [{}] }}",
            rights.join(", ")
        )
    }
}

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Vec<DeviceGrant> {
    let Some(items) = reader.list(node, "grants (`- { block: \"8:0\", allow: […] }`)") else {
        return Vec::new();
    };
    let mut grants: Vec<DeviceGrant> = Vec::new();
    for item in items {
        if let Some(grant) = read_one(reader, item) {
            let same = |known: &&DeviceGrant| {
                known.class == grant.class && known.number.value == grant.number.value
            };
            if let Some(first) = grants.iter().find(same) {
                let what = format!("{} device {}", grant.class.name(), grant.number.value);
                given_twice(reader, grant.number.span, &what, first.number.span);
            } else {
                warn(reader, &grant);
                grants.push(grant);
            }
        }
    }
    grants
}

fn read_one(reader: &mut Reader, node: &Node) -> Option<DeviceGrant> {
    let fields = reader.fields(node, "a device grant", KEYS)?;
    let (class, number) = match (fields.find("block"), fields.find("char")) {
        (Some(number), None) => (DeviceClass::Block, number),
        (None, Some(number)) => (DeviceClass::Char, number),
        _ => {
            let message = "a device grant names exactly one of `block` and `char`";
            reader.error(node.span, message);
            return None;
        }
    };
    let number = DeviceNumber::read(reader, number);
    let allow = reader.require(&fields, "allow", "[read]");
    let parse = |word: &str| {
        RIGHTS
            .contains(&word)
            .then(|| Rights::from_name(word))
            .flatten()
    };
    let allow = allow.and_then(|node| reader.words(node, "rights over a device", &RIGHTS, parse));
    Some(DeviceGrant {
        class,
        number: number?,
        allow: allow?.into_iter().fold(Rights::NONE, Rights::union),
        span: node.span,
    })
}

/// The memory and port devices, through which everything is within reach.
fn warn(reader: &mut Reader, grant: &DeviceGrant) {
    let DeviceNumber { major, minor } = grant.number.value;
    let memory = major == 1 && matches!(minor, 1 | 2 | 4 | ANY_MINOR);
    if grant.class == DeviceClass::Char && memory {
        let message = "this gives the memory or the ports of the machine";
        reader
            .out
            .push(Diagnostic::warning(grant.number.span, message));
    }
}
