//! What a policy allows and most likely was not meant to: found by asking it, so that a grant is
//! found out whatever line or section it comes from.

mod dangers;

use std::collections::BTreeMap;

use ebpf_common::Rights;
use ebpf_common::abi::{ANY_MINOR, split_dev};

pub use dangers::{Danger, all as dangers};

use crate::compile::Compiled;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::explain::{Question, explain};
use crate::facts::{Facts, Found};
use crate::model::{DeviceClass, FileGrant, HostPath, Policy};
use crate::source::Span;

/// The questions that [`lint`] asks: facts about their paths must be at hand.
pub fn questions(policy: &Policy) -> Vec<Question> {
    let dangers = dangers().filter_map(|danger| danger.action.parse().ok());
    let planted = planted(policy).into_iter().flat_map(|(_, path, _)| {
        let above = std::iter::successors(Some(path), HostPath::parent);
        above.map(|path| file(Rights::CREATE, &path))
    });
    dangers.chain(planted).collect()
}

/// Warnings about a policy that compiles.
pub fn lint(policy: &Policy, compiled: &Compiled, facts: &Facts) -> Diagnostics {
    let mut out = Diagnostics::new(policy.source.clone());
    let asker = Asker {
        policy,
        compiled,
        facts,
    };
    repeated_files(policy, &mut out);
    repeated_devices(policy, &mut out);
    disks(policy, compiled, facts, &mut out);
    asker.dangerous(&mut out);
    asker.planted(&mut out);
    out.sorted()
}

/// A line that says what the nearest line around it says.
fn repeated_files(policy: &Policy, out: &mut Diagnostics) {
    for grant in &policy.files {
        let path = &grant.path.value;
        let around = |other: &&FileGrant| {
            other.path.value != *path && path.is_within(other.path.value.as_str())
        };
        let around = policy.files.iter().filter(around);
        let nearest = around.max_by_key(|other| other.path.value.as_str().len());
        // A line over one of a preset says what it does by being there.
        let same = |other: &&FileGrant| {
            other.allow == grant.allow && other.path.span.file == grant.path.span.file
        };
        if let Some(other) = nearest.filter(same) {
            let at = out.place(other.path.span, grant.path.span);
            let message = format!("`{path}` gets from {at} what this line gives");
            let help = format!(
                "remove the line: `{}` covers everything below it",
                other.path.value
            );
            out.push(Diagnostic::warning(grant.path.span, message).help(help));
        }
    }
}

fn repeated_devices(policy: &Policy, out: &mut Diagnostics) {
    for grant in &policy.devices {
        let number = grant.number.value;
        let whole = policy.devices.iter().find(|other| {
            let whole = other.number.value;
            other.class == grant.class
                && whole.minor == ANY_MINOR
                && whole.major == number.major
                && number.minor != ANY_MINOR
                && other.allow == grant.allow
        });
        if let Some(other) = whole {
            let at = out.place(other.number.span, grant.number.span);
            let message = format!("device {number} gets from {at} what this line gives");
            let warning = Diagnostic::warning(grant.number.span, message);
            out.push(warning.help("remove the line"));
        }
    }
}

/// Disks that hold a mounted file system: below it, no line of `files` decides.
fn disks(policy: &Policy, compiled: &Compiled, facts: &Facts, out: &mut Diagnostics) {
    let mut mounted = BTreeMap::new();
    for found in facts.paths.values() {
        if let Found::At(object) = found {
            let submounts = object.submounts.iter();
            let below = submounts.map(|mount| (mount.inode.dev, mount.path.as_str()));
            let own = (object.inode.dev, object.real.as_str());
            for (dev, path) in below.chain([own]) {
                let known: &mut &str = mounted.entry(split_dev(dev)).or_insert(path);
                if path.len() < known.len() {
                    *known = path;
                }
            }
        }
    }
    for grant in &policy.devices {
        let number = grant.number.value;
        let holds = |(major, minor): (u32, u32)| {
            let whole = number.minor == ANY_MINOR || number.minor == minor;
            // A disk of sixteen numbers begins with the whole of it.
            let disk = number.minor % 16 == 0 && number.minor / 16 == minor / 16;
            major != 0 && major == number.major && (whole || disk)
        };
        let below = mounted.iter().find(|(dev, _)| holds(**dev));
        let told = told(compiled, grant.number.span);
        if let (false, DeviceClass::Block, Some((_, path))) = (told, grant.class, below) {
            let what = match grant.allow.contains(Rights::WRITE) {
                true => "changes",
                false => "reads",
            };
            let message = format!("whoever opens this disk {what} every file around `{path}`");
            let help = "grant a volume of its own, or the files under `files`";
            out.push(Diagnostic::warning(grant.number.span, message).help(help));
        }
    }
}

/// Whether the policy's own warnings have one at this place.
fn told(compiled: &Compiled, span: Span) -> bool {
    compiled.warnings.iter().any(|known| known.span == span)
}

/// What stays where it is named only if nobody else may put something there: the line's place, the
/// path, and whether it may be missing.
fn planted(policy: &Policy) -> Vec<(Span, HostPath, bool)> {
    let requests = policy.paths().into_iter();
    let found = requests.filter_map(|request| {
        let path = HostPath::parse(&request.path).ok()?;
        Some((request.span, path, request.optional))
    });
    found.collect()
}

fn file(rights: Rights, path: &HostPath) -> Question {
    let path = path.clone();
    Question::File { rights, path }
}

struct Asker<'a> {
    policy: &'a Policy,
    compiled: &'a Compiled,
    facts: &'a Facts,
}

impl Asker<'_> {
    fn allows(&self, rights: Rights, path: &HostPath) -> bool {
        explain(self.policy, self.compiled, self.facts, &file(rights, path)).allowed
    }

    /// One warning for each line that allows something dangerous, with the first few such things.
    fn dangerous(&self, out: &mut Diagnostics) {
        let mut by_line: BTreeMap<(usize, usize, String), Vec<&'static Danger>> = BTreeMap::new();
        for danger in dangers() {
            let Ok(question) = danger.action.parse::<Question>() else {
                continue;
            };
            let answer = explain(self.policy, self.compiled, self.facts, &question);
            if let (true, Some(by)) = (answer.allowed, answer.by) {
                let place = (by.line, by.column, by.file);
                by_line.entry(place).or_default().push(danger);
            }
        }
        for ((line, column, file), found) in by_line {
            let Some(span) = self.policy.source.at(&file, line, column) else {
                continue;
            };
            let said =
                |known: &Diagnostic| known.span.line == span.line && known.span.file == span.file;
            if self.policy.warnings.iter().any(said) {
                continue;
            }
            let Some(first) = found.first() else {
                continue;
            };
            let others = match found.len() {
                1 => String::new(),
                many => format!(" (and {} more like it)", many - 1),
            };
            let message = format!("this allows `{}`{others}: {}", first.action, first.why);
            out.push(Diagnostic::warning(span, message).help(first.instead));
        }
    }

    /// A place that the container may fill itself, with a link to anywhere, before the policy is
    /// looked up the next time.
    fn planted(&self, out: &mut Diagnostics) {
        for (span, path, optional) in planted(self.policy) {
            let above = std::iter::successors(Some(path.clone()), HostPath::parent);
            let replaced = above.enumerate().find(|(steps, at)| {
                let goes = self.allows(Rights::DELETE, at) || self.allows(Rights::RENAME, at);
                self.allows(Rights::CREATE, at) && (goes || (optional && *steps == 0))
            });
            if let Some((_, at)) = replaced.filter(|_| !told(self.compiled, span)) {
                let message = format!(
                    "the container may put a link to anywhere at `{at}`, and this line would grant \
                     or spare what it leads to at the next start"
                );
                let help = "grant the directory above as a whole, or keep what is named here \
                            outside of directories that the container may change";
                out.push(Diagnostic::warning(span, message).help(help));
            }
        }
    }
}

#[cfg(test)]
mod tests;
