//! The table of files: granted objects, the mounts below them, the container's own, and the fixed
//! core.

use std::collections::BTreeMap;

use ebpf_common::Rights;
use ebpf_common::abi::{FileRule, NO_RULE, file_flags, split_dev};
use ebpf_common::magic;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::{Facts, Found, Inode, Object, ObjectKind, PathKey, Submount};
use crate::model::{FileGrant, Policy};
use crate::source::{Span, Spanned};

/// `BCACHEFS_STATFS_MAGIC`: as btrfs, it repeats inode numbers between subvolumes.
const BCACHEFS: u32 = 0xca45_1a4e;

/// A grant and what it was found to be.
struct Resolved<'a> {
    rule: u32,
    grant: &'a FileGrant,
    object: &'a Object,
}

pub(super) fn compile(
    policy: &Policy,
    facts: &Facts,
    first_rule: u32,
    out: &mut Diagnostics,
) -> BTreeMap<Inode, FileRule> {
    let mut resolved = Vec::new();
    for (rule, grant) in (first_rule..).zip(&policy.files) {
        let path = grant.path.value.as_str();
        let found = facts.paths.get(&PathKey::Path(path.to_owned()));
        let span = grant.path.span;
        if let Some(object) = existing(found, path, span, grant.optional, out)
            && grantable(facts, grant, object, out)
        {
            resolved.push(Resolved {
                rule,
                grant,
                object,
            });
        }
    }
    let mut table = BTreeMap::new();
    mounts_below(&resolved, facts, &mut table, out);
    objects(&resolved, &mut table, out);
    for inode in &facts.own {
        insert(&mut table, *inode, Rights::ALL, file_flags::OWN, NO_RULE);
    }
    backing(facts, &mut table, &resolved, out);
    for core in &facts.core {
        insert(
            &mut table,
            core.inode,
            Rights::NONE,
            file_flags::CORE,
            NO_RULE,
        );
    }
    pin_above_core(facts, &mut table);
    for (inode, row) in &mut table {
        if row.flags & file_flags::CORE == 0 {
            row.flags |= counted(*inode);
        }
    }
    table
}

/// [`file_flags::COUNTED`] for an inode of a file system without a device of its own: its number is
/// given out again.
pub(super) fn counted(inode: Inode) -> u32 {
    match split_dev(inode.dev).0 {
        0 => file_flags::COUNTED,
        _ => 0,
    }
}

/// The directories above the fixed core stay where they are. What may be done in them does not
/// change: each has the rule that was nearest.
fn pin_above_core(facts: &Facts, table: &mut BTreeMap<Inode, FileRule>) {
    for core in &facts.core {
        for (at, inode) in core.above.iter().enumerate() {
            let system = core.above[at..].iter();
            let mut system = system.take_while(|above| above.dev == inode.dev);
            let nearest = system.find_map(|above| {
                let row = table.get(above)?;
                Some(match above == inode {
                    true => *row,
                    false => FileRule {
                        generation: 0,
                        ..*row
                    },
                })
            });
            // Without a rule nothing may be moved there anyway.
            if let Some(row) = nearest {
                let flags = row.flags | file_flags::PINNED;
                table.insert(*inode, FileRule { flags, ..row });
            }
        }
    }
}

/// [`file_flags`] of a line.
fn flags(grant: &FileGrant) -> u32 {
    match grant.ioctl.is_empty() {
        true => 0,
        false => file_flags::IOCTLS,
    }
}

fn row(rights: Rights, flags: u32, rule: u32) -> FileRule {
    FileRule {
        rights,
        flags,
        rule,
        generation: 0,
        use_count: 0,
        reserved: 0,
    }
}

fn insert(
    table: &mut BTreeMap<Inode, FileRule>,
    inode: Inode,
    rights: Rights,
    flags: u32,
    rule: u32,
) {
    table.insert(inode, row(rights, flags, rule));
}

/// The object at a path that must be there, of a file system whose objects can be told apart.
pub(super) fn existing<'a>(
    found: Option<&'a Found>,
    path: &str,
    span: Span,
    optional: bool,
    out: &mut Diagnostics,
) -> Option<&'a Object> {
    let object = match found {
        Some(Found::At(object)) => object,
        _ if optional => return None,
        _ => {
            let error = Diagnostic::error(span, format!("`{path}` does not exist on this host"));
            out.push(error.help("create it, correct it, or add `optional: true`"));
            return None;
        }
    };
    match told_apart(object) {
        Ok(()) => Some(object),
        Err((why, help)) => {
            let error = Diagnostic::error(span, format!("`{path}` cannot be granted: {why}"));
            out.push(error.help(help));
            None
        }
    }
}

/// Whether (device, inode) names the object for good; if not, why, and what to do.
fn told_apart(object: &Object) -> Result<(), (&'static str, &'static str)> {
    let directory = object.kind == ObjectKind::Directory;
    match object.magic {
        magic::BTRFS | BCACHEFS => Err((
            "inode numbers of btrfs and bcachefs repeat between subvolumes",
            "keep what containers need on ext4, xfs or another file system",
        )),
        magic::PROC => Err((
            "it is in procfs, whose entries have no lasting identity",
            "name settings under `kernel.sysctl`, or give the container a procfs of its own",
        )),
        magic::BPF_FS => Err((
            "it is in bpffs, which is closed to every container",
            "remove the line",
        )),
        magic::OVERLAY if !directory => Err((
            "a file on overlayfs changes its identity when it is first written",
            "grant the directory that holds it",
        )),
        _ => Ok(()),
    }
}

fn grantable(facts: &Facts, grant: &FileGrant, object: &Object, out: &mut Diagnostics) -> bool {
    let Spanned { value: path, span } = &grant.path;
    let in_core = facts.core.iter().find(|core| {
        core.inode == object.inode
            || object.ancestors.contains(&core.inode)
            || within(&object.real, &core.path)
    });
    if let Some(core) = in_core {
        let message = format!("`{path}` belongs to Reeve itself (`{}`)", core.path);
        let error = Diagnostic::error(*span, message);
        out.push(error.help("no policy opens it: remove the line"));
        return false;
    }
    if let ObjectKind::Device {
        class,
        major,
        minor,
    } = object.kind
    {
        let class = match class {
            ebpf_common::abi::device_class::BLOCK => "block",
            _ => "char",
        };
        let message = format!("`{path}` is a device node, which is opened by its number");
        let help = format!("under `devices`: - {{ {class}: \"{major}:{minor}\", allow: [read] }}");
        out.push(Diagnostic::warning(*span, message).help(help));
    }
    true
}

pub(super) fn within(path: &str, directory: &str) -> bool {
    match path.strip_prefix(directory) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || directory == "/",
        None => false,
    }
}

/// Mounts below granted directories get the rights of the nearest grant above their mount point.
/// Where one file system is mounted at several places under different grants, only what all of them
/// give is given.
fn mounts_below(
    resolved: &[Resolved<'_>],
    facts: &Facts,
    table: &mut BTreeMap<Inode, FileRule>,
    out: &mut Diagnostics,
) {
    let mut nearest: BTreeMap<&str, (&Resolved<'_>, &Submount)> = BTreeMap::new();
    let mut skipped = Vec::new();
    for one in resolved {
        for mount in &one.object.submounts {
            let core = facts
                .core
                .iter()
                .any(|core| within(&mount.path, &core.path));
            if core || magic::shows_kernel(mount.magic) || mount.magic == magic::BPF_FS {
                continue;
            }
            if matches!(mount.magic, magic::BTRFS | BCACHEFS) {
                skipped.push((one, mount));
                continue;
            }
            let nearer = nearest
                .get(mount.path.as_str())
                .is_none_or(|(known, _)| known.object.real.len() < one.object.real.len());
            if nearer {
                nearest.insert(&mount.path, (one, mount));
            }
        }
    }
    for (one, mount) in skipped {
        let message = format!(
            "the grant does not reach into `{}`, whose inode numbers repeat",
            mount.path
        );
        out.push(Diagnostic::warning(one.grant.path.span, message));
    }
    for (path, (one, mount)) in nearest {
        let (inode, rights) = (mount.inode, one.grant.allow.compiled());
        let known = table.get(&inode).copied();
        let made = FileRule {
            generation: mount.generation,
            ..row(rights, flags(one.grant), one.rule)
        };
        match known {
            Some(known) if known.rights != rights || known.flags != made.flags => {
                let message = format!(
                    "`{path}` is also mounted under another line: only what both give holds"
                );
                out.push(Diagnostic::warning(one.grant.path.span, message));
                let both = Rights(known.rights.0 & rights.0);
                insert(table, inode, both, 0, known.rule);
            }
            // Commands are those of one line; two name what they like.
            Some(known) if known.flags & file_flags::IOCTLS != 0 => {
                insert(table, inode, rights, 0, known.rule);
            }
            Some(_) => {}
            None => {
                table.insert(inode, made);
            }
        }
    }
}

/// The granted objects themselves. Two paths may lead to one object: that is a contradiction if
/// their rights differ.
fn objects(
    resolved: &[Resolved<'_>],
    table: &mut BTreeMap<Inode, FileRule>,
    out: &mut Diagnostics,
) {
    let mut explicit: BTreeMap<Inode, &Resolved<'_>> = BTreeMap::new();
    for one in resolved {
        let Some(first) = explicit.get(&one.object.inode) else {
            explicit.insert(one.object.inode, one);
            let row = FileRule {
                generation: one.object.generation,
                ..row(one.grant.allow.compiled(), flags(one.grant), one.rule)
            };
            table.insert(one.object.inode, row);
            continue;
        };
        let Spanned { value: path, span } = &one.grant.path;
        let (known, at) = (&first.grant.path.value, first.grant.path.span);
        let at = out.place(at, *span);
        let same = format!("`{path}` and `{known}` ({at}) are one object");
        if first.grant.allow == one.grant.allow && first.grant.ioctl == one.grant.ioctl {
            out.push(Diagnostic::warning(*span, same).help("remove one of the lines"));
        } else {
            let error = Diagnostic::error(*span, format!("{same} with different rights"));
            out.push(error.help("keep one of the lines"));
        }
    }
}

fn backing(
    facts: &Facts,
    table: &mut BTreeMap<Inode, FileRule>,
    resolved: &[Resolved<'_>],
    out: &mut Diagnostics,
) {
    let upper = facts.upper.iter().map(|inode| (inode, Rights::ALL));
    let lower = facts
        .lower
        .iter()
        .map(|inode| (inode, Rights::READ | Rights::EXECUTE));
    for (inode, rights) in upper.chain(lower) {
        if let Some(one) = resolved.iter().find(|one| one.object.inode == *inode) {
            let message = format!(
                "`{}` is a layer of the container's own root",
                one.grant.path.value
            );
            let error = Diagnostic::error(one.grant.path.span, message);
            out.push(error.help("the container has it as its own already: remove the line"));
        }
        insert(table, *inode, rights, file_flags::BACKING, NO_RULE);
    }
}
