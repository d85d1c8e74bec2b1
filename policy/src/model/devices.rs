//! Section `devices`: which device nodes may be opened, by class and number, wherever the node
//! lies.

use ebpf_common::Rights;
use ebpf_common::abi::{ANY_MINOR, device_class};
use schemars::JsonSchema;

use super::value::{DeviceNumber, IoctlCommand, given_twice};
use crate::diagnostic::Diagnostic;
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["block", "char", "allow", "ioctl"];

/// Rights that make sense for a device.
pub(crate) const RIGHTS: [&str; 4] = ["read", "write", "mknod", "ioctl"];

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
    /// `read`, `write`, `mknod`, `ioctl`.
    pub allow: Rights,
    /// Commands of `ioctl(2)`, by name or number.
    pub ioctl: Vec<IoctlCommand>,
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
    /// Commands of `ioctl(2)`, by name or number.
    #[schemars(default)]
    ioctl: Vec<IoctlCommand>,
}

/// A right over a device.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "the form as written, for the schema only")]
enum DeviceRight {
    Read,
    Write,
    Mknod,
    Ioctl,
}

impl DeviceGrant {
    pub(crate) fn text(&self) -> String {
        let rights: Vec<_> = self.allow.names().collect();
        let (class, number) = (self.class.name(), self.number.value);
        format!(
            "{{ {class}: \"{number}\", allow: [{}]{} }}",
            rights.join(", "),
            IoctlCommand::list_text(&self.ioctl)
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
    let ioctl = fields.find("ioctl");
    let ioctl = ioctl.map(|node| IoctlCommand::read_list(reader, node));
    Some(DeviceGrant {
        class,
        number: number?,
        allow: allow?.into_iter().fold(Rights::NONE, Rights::union),
        ioctl: ioctl.unwrap_or_default(),
        span: node.span,
    })
}

/// Devices through which much more than the device itself is within reach.
fn warn(reader: &mut Reader, grant: &DeviceGrant) {
    let message = match grant.class {
        DeviceClass::Char => reaches_by_char(grant.number.value),
        DeviceClass::Block => reaches_by_block(grant.number.value),
    };
    // What such a device stands for is said by its commands; nothing else of it reaches further.
    let stands_for = matches!(grant.class, DeviceClass::Block);
    let commands = grant.allow.contains(Rights::IOCTL) || !grant.ioctl.is_empty();
    if let Some(message) = message.filter(|_| !stands_for || commands) {
        reader
            .out
            .push(Diagnostic::warning(grant.number.span, message));
    }
}

fn reaches_by_char(number: DeviceNumber) -> Option<&'static str> {
    match (number.major, number.minor) {
        (1, 1 | 2 | 4 | ANY_MINOR) => Some("this gives the memory or the ports of the machine"),
        (10, 236) => Some("device mapper makes devices of every disk of the host"),
        (10, 237) => Some("this makes loop devices, which show files without the `files` lines"),
        (10, ANY_MINOR) => Some("this gives device mapper and the control of loop devices, too"),
        (21, _) => Some("raw commands to a disk go round what `files` lines say"),
        _ => None,
    }
}

fn reaches_by_block(number: DeviceNumber) -> Option<&'static str> {
    match number.major {
        7 => Some("a loop device shows whatever file it is set to, by the kernel's own rights"),
        9 => Some("an md device is made of whatever disks it is given"),
        43 => Some("an nbd device serves whatever socket it is set to"),
        _ => None,
    }
}
