//! The table of mounts: a rule for each type, what its line is narrowed to, and actions on mounts.

use std::collections::BTreeMap;

use ebpf_common::Rights;
use ebpf_common::abi::{
    MountKey, MountRule, PolicyId, device_class, kernel_dev, mount_scope, narrowed, source_hash_of,
    type_hash_of,
};

use super::files::existing;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::{Facts, Inode, ObjectKind, PathKey};
use crate::model::{HostPath, MountSource, Policy};
use crate::source::{Span, Spanned};

/// The rows, by keys whose policy is 0.
pub(super) type Table = BTreeMap<MountKey, MountRule>;

pub(super) fn compile(
    policy: &Policy,
    facts: &Facts,
    first_rule: u32,
    first_action: u32,
    out: &mut Diagnostics,
) -> Table {
    let mut table = Table::new();
    for (rule, grant) in (first_rule..).zip(&policy.mounts) {
        let fs_type = type_hash_of(grant.fs_type.value);
        let mut row = MountRule {
            required_flags: grant.flags,
            rule,
            narrowed: 0,
            files: grant.files,
            reserved: 0,
        };
        let mut keys = Vec::new();
        for source in &grant.sources {
            let (bit, scope) = match source.value {
                MountSource::Text(_) => (narrowed::SOURCE, mount_scope::SOURCE),
                _ => (narrowed::DEVICE, mount_scope::DEVICE),
            };
            row.narrowed |= bit;
            let named = named(facts, source, out);
            keys.extend(named.map(|named| key(fs_type, scope, named)));
        }
        for target in &grant.targets {
            row.narrowed |= narrowed::TARGET;
            let named = directory(facts, target, out);
            keys.extend(named.map(|named| key(fs_type, mount_scope::TARGET, named)));
        }
        keys.push(key(fs_type, mount_scope::TYPE, Inode::default()));
        table.extend(keys.into_iter().map(|key| (key, row)));
    }
    actions(policy, facts, first_action, &mut table, out);
    table
}

fn actions(
    policy: &Policy,
    facts: &Facts,
    first_rule: u32,
    table: &mut Table,
    out: &mut Diagnostics,
) {
    for (rule, line) in (first_rule..).zip(&policy.mount_actions) {
        let row = MountRule {
            required_flags: 0,
            rule,
            narrowed: 0,
            files: Rights::NONE,
            reserved: 0,
        };
        let named = line.targets.iter();
        let mut places: Vec<Inode> = named
            .filter_map(|target| directory(facts, target, out))
            .collect();
        if line.targets.is_empty() {
            places.push(Inode::default());
        }
        for action in &line.allow {
            for place in &places {
                let key = key(*action as u32 as u64, mount_scope::ACTION, *place);
                table.entry(key).or_insert(row);
            }
        }
    }
}

fn key(fs_type: u64, scope: u32, object: Inode) -> MountKey {
    MountKey {
        fs_type,
        object: object.ino,
        policy: PolicyId(0),
        dev: object.dev,
        scope,
        reserved: 0,
    }
}

/// A source as the hooks see it: a device number, or the hash of a text.
fn named(facts: &Facts, source: &Spanned<MountSource>, out: &mut Diagnostics) -> Option<Inode> {
    let of_device = |major, minor| Inode {
        dev: kernel_dev(major, minor),
        ino: 0,
    };
    match &source.value {
        MountSource::Text(text) => Some(Inode {
            dev: 0,
            ino: source_hash_of(text),
        }),
        MountSource::Device(number) => Some(of_device(number.major, number.minor)),
        MountSource::Node(path) => match facts.object(path.as_str()).map(|found| found.kind) {
            Some(ObjectKind::Device {
                class: device_class::BLOCK,
                major,
                minor,
            }) => Some(of_device(major, minor)),
            found => {
                let why = match found {
                    Some(_) => "is not a block device",
                    None => "does not exist on this host",
                };
                let error = Diagnostic::error(source.span, format!("`{path}` {why}"));
                out.push(error.help("name the node of a block device, or its number"));
                None
            }
        },
    }
}

fn directory(facts: &Facts, path: &Spanned<HostPath>, out: &mut Diagnostics) -> Option<Inode> {
    let text = path.value.as_str();
    let found = facts.paths.get(&PathKey::Path(text.to_owned()));
    let object = existing(found, text, path.span, false, out)?;
    let core = facts
        .core
        .iter()
        .any(|core| core.inode == object.inode || object.ancestors.contains(&core.inode));
    if core {
        return refuse(path.span, format!("`{text}` is Reeve's own"), out);
    }
    Some(object.inode)
}

fn refuse(span: Span, message: String, out: &mut Diagnostics) -> Option<Inode> {
    let error = Diagnostic::error(span, message);
    out.push(error.help("no policy gives anything over it: remove the line"));
    None
}
