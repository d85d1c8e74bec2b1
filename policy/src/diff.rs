//! What one policy allows and another does not, decided by the compiled tables: how it is written
//! makes no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::compile::{Compiled, Grant};
use crate::diagnostic::printable;
use crate::explain::{Question, explain};
use crate::facts::Facts;
use crate::model::{Policy, SECTIONS};

/// A policy that compiles, with the facts that answer what is asked.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// What became of it.
    pub compiled: &'a Compiled,
    /// What is known of the host.
    pub facts: &'a Facts,
}

/// What one side allows of an object and the other does not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    /// The object: a path, a capability, a program.
    pub object: String,
    /// What may be done, in the words of the language.
    pub actions: Vec<String>,
    /// The lines that allow it, as `file:line`.
    pub by: Vec<String>,
}

/// A section whose mode is not the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ModeChange {
    /// The section.
    pub section: &'static str,
    /// Its mode in the first policy.
    pub first: &'static str,
    /// And in the second.
    pub second: &'static str,
}

/// The difference of two policies.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Difference {
    /// What only the first allows.
    pub only_first: Vec<Row>,
    /// What only the second allows.
    pub only_second: Vec<Row>,
    /// Sections in different modes.
    pub modes: Vec<ModeChange>,
}

impl Difference {
    /// Whether the two mean the same.
    pub fn is_empty(&self) -> bool {
        self.only_first.is_empty() && self.only_second.is_empty() && self.modes.is_empty()
    }
}

/// Rows by object: actions and lines.
type Rows = BTreeMap<String, (Vec<String>, BTreeSet<String>)>;

/// Compares two policies over `questions`, usually [`crate::universe()`] of both.
pub fn diff(first: Side<'_>, second: Side<'_>, questions: &[Question]) -> Difference {
    let (mut only_first, mut only_second) = (Rows::new(), Rows::new());
    for question in questions {
        let a = explain(first.policy, first.compiled, first.facts, question);
        let b = explain(second.policy, second.compiled, second.facts, question);
        let (rows, by) = match (a.allowed, b.allowed) {
            (true, false) => (&mut only_first, a.by),
            (false, true) => (&mut only_second, b.by),
            _ => continue,
        };
        let (object, action) = question.parts();
        let row = rows.entry(object).or_default();
        row.0.push(action);
        row.1
            .extend(by.map(|by| format!("{}:{}", by.file, by.line)));
    }
    unasked(&first, &second, &mut only_first);
    unasked(&second, &first, &mut only_second);
    let modes = SECTIONS.iter().filter_map(|(name, section)| {
        let (a, b) = (
            first.policy.mode_of(*section),
            second.policy.mode_of(*section),
        );
        (a != b).then_some(ModeChange {
            section: name,
            first: a.name(),
            second: b.name(),
        })
    });
    Difference {
        only_first: finish(only_first),
        only_second: finish(only_second),
        modes: modes.collect(),
    }
}

/// Grants of a kind that the questions do not reach are compared as lines: a difference may be
/// shown where none is, never the other way round.
fn unasked(one: &Side<'_>, other: &Side<'_>, rows: &mut Rows) {
    for grant in &one.compiled.grants {
        let same = |known: &Grant| known.section == grant.section && known.text == grant.text;
        if asked(grant) || other.compiled.grants.iter().any(same) {
            continue;
        }
        let row = rows.entry(grant.section.clone()).or_default();
        row.0.push(grant.text.clone());
        row.1.insert(format!("{}:{}", grant.file, grant.line));
    }
}

/// Whether [`crate::universe()`] has questions for a grant.
fn asked(grant: &Grant) -> bool {
    let key = grant.text.split(':').next().unwrap_or("");
    match grant.section.as_str() {
        "files" | "devices" | "capabilities" | "ipc" => true,
        // Questions about mounts do not say from where, onto what, and what of the files.
        "mounts" => !["source: ", "target: ", "files: "]
            .iter()
            .any(|key| grant.text.contains(key)),
        "processes" => key != "exec",
        "kernel" => true,
        _ => false,
    }
}

fn finish(rows: Rows) -> Vec<Row> {
    let rows = rows.into_iter();
    rows.map(|(object, (actions, by))| Row {
        object,
        actions,
        by: by.into_iter().collect(),
    })
    .collect()
}

/// Most actions of one object that are printed.
const SHOWN: usize = 12;

fn write_rows(f: &mut fmt::Formatter<'_>, sign: char, rows: &[Row]) -> fmt::Result {
    for row in rows {
        let shown: Vec<&str> = row.actions.iter().take(SHOWN).map(String::as_str).collect();
        let mut actions = shown.join(", ");
        if let Some(more @ 1..) = row.actions.len().checked_sub(SHOWN) {
            actions += &format!(" and {more} more");
        }
        let by = match row.by.is_empty() {
            true => "built in, or brought along".to_owned(),
            false => row.by.join(", "),
        };
        let object = printable(&row.object);
        writeln!(f, "{sign} {object}: {actions}  ({})", printable(&by))?;
    }
    Ok(())
}

impl fmt::Display for Difference {
    /// `-` what only the first allows, `+` what only the second does, `~` modes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_rows(f, '-', &self.only_first)?;
        write_rows(f, '+', &self.only_second)?;
        for mode in &self.modes {
            let (section, first, second) = (mode.section, mode.first, mode.second);
            writeln!(f, "~ mode of {section}: {first} → {second}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile;
    use crate::model::parse;
    use crate::universe;

    fn between(first: &str, second: &str) -> String {
        let read = |name: &str, lines: &str| {
            let text = format!("reeve: v1\nname: a\n{lines}");
            parse(name, &text).unwrap_or_else(|found| panic!("{found}"))
        };
        let (a, b) = (read("a.yaml", first), read("b.yaml", second));
        let asked = universe(&[&a, &b]);
        let paths: Vec<String> = asked.iter().flat_map(Question::paths).collect();
        let facts = |policy| Facts::lexical(policy, paths.iter().map(String::as_str));
        let (facts_a, facts_b) = (facts(&a), facts(&b));
        let compile = |policy, facts| compile(policy, facts).expect("good");
        let (one, two) = (compile(&a, &facts_a), compile(&b, &facts_b));
        let side = |policy, compiled, facts| Side {
            policy,
            compiled,
            facts,
        };
        let found = diff(side(&a, &one, &facts_a), side(&b, &two, &facts_b), &asked);
        assert_eq!(found.is_empty(), found.to_string().is_empty());
        found.to_string()
    }

    #[test]
    fn the_same_in_other_words_is_no_difference() {
        let one = "files:\n\
            \x20 - { path: /a, allow: [read, write] }\n\
            \x20 - { path: /a/b, allow: [read, write] }\n\
            capabilities: { SYS_NICE: [sched_setscheduler] }\n";
        let two = "capabilities: { CAP_SYS_NICE: [sched_setscheduler] }\n\
            files:\n\
            \x20 - { path: /a, allow: [write, read, truncate] }\n";
        assert_eq!(between(one, two), "");
        assert_eq!(between("capabilities: { CHOWN: [chown] }\n", ""), "");
    }

    #[test]
    fn both_directions_are_shown_with_their_lines() {
        let one = "files:\n\
            \x20 - { path: /a, allow: [read] }\n\
            \x20 - { path: /a/b, allow: none }\n\
            kernel: { clock: true }\n";
        let two = "mode: audit\n\
            files:\n\
            \x20 - { path: /a, allow: [read, create] }\n\
            devices:\n\
            \x20 - { block: '8:*', allow: [read] }\n";
        let found = between(one, two);
        for line in [
            "+ /a/b: read  (b.yaml:5)\n",
            "+ /a/…: create  (b.yaml:5)\n",
            "+ block device 8:0: read  (b.yaml:7)\n",
            "- set-clock:   (a.yaml:6)\n",
            "~ mode of files: enforce → audit\n",
            "- capability SYS_TIME: ",
        ] {
            assert!(found.contains(line), "{line}{found}");
        }
        assert!(!found.contains(" /a: "), "{found}");
    }

    #[test]
    fn every_section_and_key_makes_a_difference() {
        for (lines, shown) in [
            ("files: [{ path: /a, allow: [append] }]\n", "/a: append  "),
            (
                "files: [{ path: /a, allow: [times, flags] }]\n",
                "/a: times, flags  ",
            ),
            (
                "files: [{ path: /a, allow: [read], ioctl: [FICLONE] }]\n",
                "/a: read, ioctl FICLONE  ",
            ),
            (
                "devices: [{ block: '8:0', allow: [mknod], ioctl: [BLKDISCARD] }]\n",
                "block device 8:0: mknod, ioctl BLKDISCARD  ",
            ),
            (
                "devices: [{ char: '9:0', allow: [ioctl] }]\n",
                "char device 9:0: ioctl 0xffffffff  ",
            ),
            (
                "mounts: [{ type: ext4, source: '8:1', target: /m, files: [read] }]\n",
                "mounts: { type: ext4, source: \"8:1\", target: /m, files: [read] }  ",
            ),
            (
                "mounts: [{ allow: [umount], target: /m }]\n",
                "mounts at /m: umount  ",
            ),
            ("mounts: [{ allow: [pivot_root] }]\n", "mounts: pivot_root"),
            (
                "processes: { exec: [/bin/a] }\n",
                "processes: exec: [/bin/a]  ",
            ),
            (
                "processes: { setns: [{ exe: /bin/a, types: [net] }] }\n",
                "setns /bin/a: net  ",
            ),
            (
                "processes: { limits: [{ exe: /bin/a, allow: [nice] }] }\n",
                "limits /bin/a: nice  ",
            ),
            (
                "processes: { ptrace: [{ exe: /bin/a, allow: [pidfd_getfd] }] }\n",
                "ptrace /bin/a: pidfd_getfd  ",
            ),
            (
                "kernel: { sysctl: { read: [vm.swappiness] } }\n",
                "sysctl vm.swappiness: read  ",
            ),
            (
                "kernel: { perf: true, acct: true }\n",
                "kernel: perf, acct  ",
            ),
            (
                "kernel: { io_uring: [command] }\n",
                "kernel: io_uring.command  ",
            ),
            ("kernel: { lockdown: [msr] }\n", "lockdown: msr  "),
            ("ipc: { shm: [read], keys: [view] }\n", "ipc shm: read  "),
        ] {
            let found = between(lines, "");
            assert!(found.contains(&format!("- {shown}")), "{lines}{found}");
            assert_eq!(between(lines, lines), "");
        }
        // It takes away what is there otherwise.
        assert_eq!(
            between("", "kernel: { userns: false }\n"),
            "- kernel: userns  (built in, or brought along)\n"
        );
    }

    #[test]
    fn flags_that_a_mount_needs_make_a_difference() {
        let one = "mounts: [{ type: tmpfs }]\n";
        let two = "mounts: [{ type: tmpfs, flags: [nosuid, nodev] }]\n";
        let found = between(one, two);
        assert!(found.contains("- mount: tmpfs, "), "{found}");
        assert!(!found.contains("+ mount"), "{found}");
    }
}
