//! What several files make together, and what is wrong with them.

use std::collections::BTreeMap;

use super::presets::ALL;
use super::{Files, Variables};
use crate::compile::compile;
use crate::facts::Facts;
use crate::model::{Policy, parse, parse_with};
use crate::{Diagnostic, Diagnostics, Severity};

/// Files by name, in one folder.
struct Folder(BTreeMap<&'static str, &'static str>);

impl Files for Folder {
    fn read(&mut self, _: &str, path: &str) -> Result<(String, String), String> {
        let found = self.0.get(path);
        let found = found.ok_or_else(|| "no such file".to_owned());
        found.map(|text| (path.to_owned(), (*text).to_owned()))
    }
}

fn read(
    text: &str,
    given: &[&str],
    files: &[(&'static str, &'static str)],
) -> Result<Policy, Diagnostics> {
    let mut vars = Variables::default();
    for one in given {
        vars.give(one).expect("a variable");
    }
    let text = format!("reeve: v1\nname: a\n{text}");
    parse_with(
        "p.yaml",
        &text,
        &vars,
        &mut Folder(files.iter().copied().collect()),
    )
}

fn good(text: &str, given: &[&str], files: &[(&'static str, &'static str)]) -> Policy {
    read(text, given, files).unwrap_or_else(|found| panic!("{found}"))
}

fn bad(text: &str, given: &[&str], files: &[(&'static str, &'static str)]) -> String {
    match read(text, given, files) {
        Ok(policy) => panic!("{}", policy.flat()),
        Err(found) => found.to_string(),
    }
}

fn files_of(policy: &Policy) -> Vec<String> {
    policy.files.iter().map(|grant| grant.text()).collect()
}

#[test]
fn a_variable_stands_for_a_text_in_one_value() {
    let policy = good(
        "vars: { vms: /var/lib/vms, n: \"7\" }\n\
            files:\n\
            \x20 - { path: '${vms}/a$${x}', allow: [read] }\n\
            devices:\n\
            \x20 - { block: '${n}:*', allow: [read] }\n",
        &[],
        &[],
    );
    assert_eq!(
        files_of(&policy),
        ["{ path: '/var/lib/vms/a${x}', allow: [read] }"]
    );
    assert_eq!(policy.devices.len(), 1);
}

#[test]
fn what_is_given_overrules_what_is_written() {
    let text = "vars: { at: /a }\nfiles:\n  - { path: '${at}', allow: [read] }\n";
    assert_eq!(
        files_of(&good(text, &["at=/b c"], &[])),
        ["{ path: '/b c', allow: [read] }"]
    );
}

#[test]
fn a_value_cannot_become_more_than_a_text() {
    let text = "files:\n  - { path: '${x}', allow: [read] }\n";
    for value in [
        "/a, allow: [write] }",
        "/a' }",
        "/a #",
        "/a: b",
        "[/a]",
        "!x",
        "&a /b",
        "*a",
    ] {
        let given = format!("x=/{value}");
        if let Ok(policy) = read(text, &[&given], &[]) {
            assert_eq!(policy.files.len(), 1);
            assert_eq!(
                policy.files[0].path.value.as_str(),
                format!("/{value}").as_str()
            );
            assert_eq!(policy.files[0].allow.text(), "[read]");
        }
    }
    let optional = "files:\n  - { path: /a, allow: [read], optional: '${x}' }\n";
    assert!(bad(optional, &["x=true"], &[]).contains("expected `true` or `false`"));
    assert!(bad(text, &["x=/a/../b"], &[]).contains("`..` in the path"));
    assert!(Variables::default().give("x=/a\n  - {}").is_err());
    assert!(Variables::default().give("x=${y}").is_err());
}

#[test]
fn a_variable_that_is_not_set_not_used_or_not_one_is_an_error() {
    let text = "vars: { vms: /v }\n\
        files:\n\
        \x20 - { path: '${vmz}', allow: [read] }\n\
        \x20 - { path: '/${vms', allow: [read] }\n";
    let found = bad(text, &[], &[]);
    assert!(
        found.contains("p.yaml:5:13: error: variable `vmz` is not set"),
        "{found}"
    );
    assert!(found.contains("did you mean `vms`?"), "{found}");
    assert!(
        found.contains("p.yaml:6:13: error: `${` without `}`"),
        "{found}"
    );
    let found = bad(
        "vars: { vms: /v }\nfiles: [{ path: '${vms}', allow: [read] }]\n",
        &["vsm=/w"],
        &[],
    );
    assert!(
        found.contains("variable `vsm` is given, and no `${vsm}` uses it"),
        "{found}"
    );
    let unused = good("vars: { vms: /v }\n", &[], &[]);
    assert_eq!(unused.warnings().count(Severity::Warning), 1);
}

#[test]
fn expansion_is_bounded() {
    let long = format!("x={}", "y".repeat(3000));
    let many = "    - '${x}'\n".repeat(400);
    let found = read(&format!("kernel:\n  modules:\n{many}"), &[&long], &[]);
    let found = found.expect_err("too long");
    let said = |one: &&Diagnostic| {
        one.message
            .contains("with its variables the policy is longer")
    };
    assert_eq!(found.iter().filter(said).count(), 1);
    let found = bad(
        "files: [{ path: '/${x}${x}', allow: [read] }]\n",
        &[&long],
        &[],
    );
    assert!(found.contains("is longer than 4096 bytes"), "{found}");
}

const PART: &str = "vars: { at: /part }\n\
    files:\n\
    \x20 - { path: '${at}', allow: [read] }\n\
    \x20 - { path: /both, allow: [read] }\n\
    kernel: { modules: [nbd] }\n";

#[test]
fn an_include_adds_its_lines_and_a_finding_names_its_file() {
    let text = "include: [part.yaml]\n\
        files:\n\
        \x20 - { path: /both, allow: [read] }\n\
        kernel: { modules: [loop] }\n";
    let policy = good(text, &[], &[("part.yaml", PART)]);
    assert_eq!(
        files_of(&policy),
        [
            "{ path: /both, allow: [read] }",
            "{ path: /part, allow: [read] }"
        ]
    );
    assert_eq!(policy.kernel.modules.len(), 2);
    let compiled = compile(&policy, &Facts::lexical(&policy, [])).expect("good");
    let part = compiled
        .grants
        .iter()
        .find(|grant| grant.text.contains("/part"));
    assert_eq!(
        part.map(|grant| (grant.file.as_str(), grant.line)),
        Some(("part.yaml", 3))
    );
    let found = bad(
        "include: [part.yaml]\n",
        &[],
        &[("part.yaml", "files:\n  - { path: x, allow: [read] }\n")],
    );
    assert!(
        found.starts_with("part.yaml:2:13: error: `x` is not an absolute path"),
        "{found}"
    );
}

#[test]
fn includes_that_contradict_each_other_are_refused() {
    let text = "include: [part.yaml]\nfiles:\n  - { path: /both, allow: [write] }\n";
    let found = bad(text, &[], &[("part.yaml", PART)]);
    let wanted =
        "part.yaml:4:5: error: `path: /both` says something else here than at line 5 of p.yaml";
    assert!(found.contains(wanted), "{found}");
    let one = ("one.yaml", "capabilities: { SYS_TIME: [adjtimex] }\n");
    let two = ("two.yaml", "capabilities: { CAP_SYS_TIME: all }\n");
    let found = bad("include: [one.yaml, two.yaml]\n", &[], &[one, two]);
    assert!(found.contains("`SYS_TIME` says something else"), "{found}");
    let mode = ("mode.yaml", "mode: audit\n");
    assert!(bad("include: [mode.yaml]\n", &[], &[mode]).contains("`mode` is not taken"));
}

#[test]
fn what_a_line_is_about_tells_two_from_one() {
    for (one, other, about) in [
        (
            "files: [{ path: /a, allow: [read], ioctl: [FICLONE] }]",
            "files: [{ path: /a, allow: [read], ioctl: [FITRIM] }]",
            "`path: /a` says",
        ),
        (
            "devices: [{ char: '9:0', allow: [read] }]",
            "devices: [{ char: '9:0', allow: [read], ioctl: [SG_IO] }]",
            "`char: '9:0'` says",
        ),
        (
            "mounts: [{ type: ext4, source: '8:1' }]",
            "mounts: [{ type: ext4, source: '8:2', target: /m, files: [read] }]",
            "`type: ext4` says",
        ),
        (
            "mounts: [{ allow: [umount], target: /m }]",
            "mounts: [{ allow: [umount, move], target: /m }]",
            "`target: /m` says",
        ),
        (
            "mounts: [{ allow: [chroot] }]",
            "mounts: [{ allow: [pivot_root] }]",
            "the line about no named mount says",
        ),
        (
            "processes: { setns: [{ exe: /a, types: [net] }] }",
            "processes: { setns: [{ exe: /a, types: [mnt] }] }",
            "`exe: /a` says",
        ),
        (
            "processes: { limits: [{ exe: /a, allow: [nice] }] }",
            "processes: { limits: [{ exe: /a, allow: [scheduler] }] }",
            "`exe: /a` says",
        ),
    ] {
        let include = "include: [one.yaml, two.yaml]\n";
        let found = bad(include, &[], &[("one.yaml", one), ("two.yaml", other)]);
        assert!(found.contains(about), "{found}");
        good(include, &[], &[("one.yaml", one), ("two.yaml", one)]);
    }
}

#[test]
fn lines_about_different_things_and_lists_of_words_come_together() {
    let both = [
        (
            "one.yaml",
            "ipc: { shm: [read] }\nkernel: { sysctl: { read: [vm] } }\n",
        ),
        (
            "two.yaml",
            "ipc: { sem: [read] }\nkernel: { sysctl: { write: [vm] } }\n",
        ),
    ];
    let policy = good("include: [one.yaml, two.yaml]\n", &[], &both);
    assert_eq!(policy.ipc.grants().count(), 2);
    assert_eq!(policy.kernel.sysctl.grants().count(), 2);
    let lists = [
        (
            "one.yaml",
            "processes: { exec: [/a, /b] }\nkernel: { lockdown: [msr] }\n",
        ),
        (
            "two.yaml",
            "processes: { exec: [/b, /c] }\nkernel: { lockdown: [ioport] }\n",
        ),
    ];
    let policy = good("include: [one.yaml, two.yaml]\n", &[], &lists);
    assert_eq!(policy.processes.exec.map(|exec| exec.value.len()), Some(3));
    assert_eq!(
        policy.kernel.lockdown.map(|known| known.value.len()),
        Some(2)
    );
}

#[test]
fn includes_end() {
    let a = ("a.yaml", "include: [b.yaml]\n");
    let b = ("b.yaml", "include: [a.yaml]\n");
    let found = bad("include: [a.yaml]\n", &[], &[a, b]);
    assert!(
        found.contains("b.yaml:1:11: error: includes go round: a.yaml → b.yaml → a.yaml"),
        "{found}"
    );
    let found = bad("include: [none.yaml]\n", &[], &[]);
    assert!(
        found.contains("`none.yaml` cannot be included: no such file"),
        "{found}"
    );
    // A tree in which every file includes two more is bounded by its depth and number of files.
    struct Endless(usize);
    impl Files for Endless {
        fn read(&mut self, _: &str, _: &str) -> Result<(String, String), String> {
            self.0 += 1;
            Ok((format!("{}.yaml", self.0), "include: [x, y]\n".to_owned()))
        }
    }
    let mut endless = Endless(0);
    let text = "reeve: v1\nname: a\ninclude: [x]\n";
    let found = parse_with("p.yaml", text, &Variables::default(), &mut endless);
    let found = found.expect_err("endless").to_string();
    assert!(found.contains("nested deeper than 8"), "{found}");
    assert!(found.contains("more than 64 files"), "{found}");
    assert!(endless.0 < 200, "{}", endless.0);
}

#[test]
fn the_lines_of_the_policy_take_the_place_of_the_presets() {
    let text = "extends: [vm-backup-agent]\n\
        vars: { images: /vms }\n\
        files:\n\
        \x20 - { path: /srv/backup, allow: [read] }\n";
    let policy = good(text, &[], &[]);
    assert_eq!(
        files_of(&policy),
        [
            "{ path: /srv/backup, allow: [read] }",
            "{ path: /vms, allow: [read] }"
        ]
    );
    assert_eq!(policy.processes.signal.len(), 1);
    let text = "extends: [network-agent]\ncapabilities: { CAP_NET_RAW: [bind] }\n";
    let policy = good(text, &[], &[]);
    let raw = policy
        .capabilities
        .0
        .iter()
        .find(|grant| grant.capability.value.name() == "NET_RAW");
    assert_eq!(
        raw.map(|grant| grant.text()).as_deref(),
        Some("NET_RAW: [bind]")
    );
    assert!(bad("extends: [vm-backup]\n", &[], &[]).contains("there is no preset `vm-backup`"));
}

#[test]
fn every_preset_is_a_policy_of_its_own_and_prints_flat() {
    for preset in ALL {
        let text = format!("extends: [{}]\n", preset.name);
        let policy = good(&text, &[], &[]);
        assert!(!preset.description().is_empty(), "{}", preset.name);
        let compiled = compile(&policy, &Facts::lexical(&policy, []));
        let compiled = compiled.unwrap_or_else(|found| panic!("{found}"));
        let flat = policy.flat();
        let again = parse("flat.yaml", &flat).unwrap_or_else(|found| panic!("{flat}{found}"));
        let again = compile(&again, &Facts::lexical(&again, [])).expect("good");
        assert_eq!(again.tables, compiled.tables, "{flat}");
    }
}
