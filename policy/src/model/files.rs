//! Section `files`: what may be done to host files, by path.

use ebpf_common::Rights;
use schemars::JsonSchema;

use super::value::{FileRights, HostPath, IoctlCommand, given_twice, quoted};
use crate::diagnostic::Diagnostic;
use crate::reader::Reader;
use crate::source::{Span, Spanned};
use crate::yaml::Node;

pub(crate) const KEYS: &[&str] = &["path", "allow", "ioctl", "optional"];

/// A grant on a host file or directory. A directory means everything below it; the nearest grant
/// decides.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FileGrant {
    /// Absolute host path, taken literally; symbolic links are followed when the container is made.
    pub path: Spanned<HostPath>,
    /// What may be done: rights, or `none`.
    pub allow: FileRights,
    /// Commands of `ioctl(2)`, by name or number.
    #[schemars(default)]
    pub ioctl: Vec<IoctlCommand>,
    /// Whether the path may be missing when the container is made.
    #[schemars(default)]
    pub optional: bool,
    /// The whole line.
    #[schemars(skip)]
    pub span: Span,
}

impl FileGrant {
    pub(crate) fn text(&self) -> String {
        let optional = if self.optional {
            ", optional: true"
        } else {
            ""
        };
        let path = quoted(self.path.value.as_str());
        let (allow, ioctl) = (self.allow.text(), IoctlCommand::list_text(&self.ioctl));
        format!("{{ path: {path}, allow: {allow}{ioctl}{optional} }}")
    }
}

pub(crate) fn read(reader: &mut Reader, node: &Node) -> Vec<FileGrant> {
    let Some(items) = reader.list(node, "grants (`- { path: …, allow: […] }`)") else {
        return Vec::new();
    };
    let mut grants: Vec<FileGrant> = Vec::new();
    for item in items {
        if let Some(grant) = read_one(reader, item) {
            let first = grants
                .iter()
                .find(|known| known.path.value == grant.path.value);
            if let Some(first) = first {
                let what = format!("`{}`", grant.path.value);
                given_twice(reader, grant.path.span, &what, first.path.span);
            } else {
                grants.push(grant);
            }
        }
    }
    warn(reader, &grants);
    grants
}

fn read_one(reader: &mut Reader, node: &Node) -> Option<FileGrant> {
    let fields = reader.fields(node, "a file grant", KEYS)?;
    let path = reader.require(&fields, "path", "/absolute/path");
    let path = path.and_then(|node| HostPath::read(reader, node));
    let allow = reader.require(&fields, "allow", "[read]");
    let allow = allow.and_then(|node| FileRights::read(reader, node));
    let ioctl = fields.find("ioctl");
    let ioctl = ioctl.map(|node| IoctlCommand::read_list(reader, node));
    let optional = fields.find("optional");
    let optional = optional.is_some_and(|node| reader.boolean(node) == Some(true));
    Some(FileGrant {
        path: path?,
        allow: allow?,
        ioctl: ioctl.unwrap_or_default(),
        optional,
        span: node.span,
    })
}

/// Directories whose writer is as good as root on the host.
const TAKES_OVER: [&str; 7] = ["/", "/etc", "/usr", "/bin", "/sbin", "/lib", "/boot"];

/// Places where whoever writes has the kernel execute a program, or changes what it executes.
const TAKES_KERNEL: [&str; 4] = [
    "/sys/kernel/tracing",
    "/sys/kernel/debug",
    "/sys/kernel/uevent_helper",
    "/proc/sys/fs/binfmt_misc",
];

/// Whether writing there has the kernel act as root.
fn takes_kernel(path: &HostPath) -> bool {
    let release_agent = path.as_str().ends_with("/release_agent");
    release_agent || TAKES_KERNEL.iter().any(|place| path.is_within(place))
}

fn warn(reader: &mut Reader, grants: &[FileGrant]) {
    let changes = Rights::ALL.minus(Rights::READ | Rights::EXECUTE);
    for grant in grants {
        let path = &grant.path.value;
        let changing = !grant.allow.0.minus(Rights::ALL.minus(changes)).is_empty();
        let taken = TAKES_OVER.contains(&path.as_str()) || takes_kernel(path);
        if changing && taken {
            let message = format!("changing `{path}` is as good as root on the host");
            let help = "grant the directories that are needed";
            reader
                .out
                .push(Diagnostic::warning(grant.path.span, message).help(help));
        }
        let wider = |other: &&FileGrant| {
            other.path.value != *path && path.is_within(other.path.value.as_str())
        };
        planted_links(reader, grant, grants);
        if grant.allow.0.is_empty() && !grants.iter().any(|other| wider(&other)) {
            let message =
                format!("no grant covers `{path}`, so there is nothing to take it out of");
            reader
                .out
                .push(Diagnostic::warning(grant.span, message).help("remove the line"));
        }
    }
}

/// A container that may change entries above the path of another line can put a symbolic link
/// there, at which the next start looks the path up.
fn planted_links(reader: &mut Reader, grant: &FileGrant, grants: &[FileGrant]) {
    let above = grants.iter().find(|above| {
        let rights = above.allow.0;
        let replaces = rights.contains(Rights::RENAME) || rights.contains(Rights::DELETE);
        let path = above.path.value.as_str();
        path != grant.path.value.as_str()
            && grant.path.value.is_within(path)
            && rights.contains(Rights::CREATE)
            && (replaces || grant.optional)
    });
    if let Some(above) = above.filter(|_| !grant.allow.0.is_empty()) {
        let (path, above) = (&grant.path.value, &above.path.value);
        let message = format!(
            "what may be done in `{above}` can put a symbolic link at `{path}` for the next start"
        );
        let help = format!("grant `{path}` at a place that no container changes");
        let warning = Diagnostic::warning(grant.path.span, message).help(help);
        reader.out.push(warning);
    }
}
