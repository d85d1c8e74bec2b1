//! What is learned allows all that was seen; with no rule, nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::compile::compile;
use crate::explain::{Question, explain};
use crate::facts::Facts;
use crate::model::{Mode, Policy, parse};

mod meant;

use meant::{all_questions, meant};

const NOTHING: &str = "reeve: v1\nname: a\n";

struct Asked {
    policy: Policy,
    facts: Facts,
}

impl Asked {
    fn new(text: &str) -> Self {
        let policy = parse("p.yaml", text).unwrap_or_else(|found| panic!("{text}\n{found}"));
        let paths: Vec<String> = all_questions().iter().flat_map(Question::paths).collect();
        let facts = Facts::lexical(&policy, paths.iter().map(String::as_str));
        Self { policy, facts }
    }

    fn answers(&self) -> Vec<crate::Answer> {
        let compiled = compile(&self.policy, &self.facts);
        let compiled = compiled.unwrap_or_else(|found| panic!("{found}"));
        let questions = all_questions();
        let ask = |question| explain(&self.policy, &compiled, &self.facts, question);
        questions.iter().map(ask).collect()
    }
}

fn seen_of(at: &[usize]) -> Vec<Seen> {
    let answers = Asked::new(NOTHING).answers();
    let seen = at.iter().filter_map(|at| {
        let answer = answers.get(*at)?;
        Some(Seen {
            line: answer.to_allow.clone()?,
            action: answer.action.clone(),
            program: "agent\n- { path: /, allow: [write] }".to_owned(),
        })
    });
    seen.collect()
}

fn options(rules: &[Rule]) -> Options<'_> {
    Options {
        rules,
        directory: &|_| Some(true),
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

fn some() -> impl Strategy<Value = Vec<usize>> {
    let many = all_questions().len();
    let one = any::<Index>().prop_map(move |index| index.index(many));
    prop::collection::vec(one, 0..24)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let some = vec![Rule::Siblings(2), Rule::Depth(2), Rule::Temporary];
    prop::collection::vec(prop::sample::select(some), 0..4)
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn with_no_rule_what_was_seen_and_nothing_else(at in some()) {
        let seen = seen_of(&at);
        let text = learn(&seen, &options(&[])).policy("a", "made for a test");
        let questions = all_questions();
        let asked: Vec<Question> = at.iter().map(|at| questions[*at].clone()).collect();
        for (question, answer) in questions.iter().zip(Asked::new(&text).answers()) {
            prop_assert_eq!(answer.allowed, meant(&asked, question), "{}\n{}", answer, text);
        }
    }

    #[test]
    fn whatever_the_rules_what_was_seen_is_allowed(
        at in some(),
        rules in rules(),
    ) {
        let seen = seen_of(&at);
        let text = learn(&seen, &options(&rules)).policy("a", "");
        let answers = Asked::new(&text).answers();
        for at in at {
            prop_assert!(answers[at].allowed, "{}\n{}", answers[at], text);
        }
    }

    #[test]
    fn put_into_a_policy_it_is_allowed_too(
        first in some(),
        second in some(),
        rules in rules(),
    ) {
        let text = learn(&seen_of(&first), &options(&[])).policy("a", "");
        let options = options(&rules);
        let learned = learn(&seen_of(&second), &options);
        let (added, left) = learned.put_into(&text, &options).expect("a policy");
        prop_assert!(left.is_empty(), "{:?}", left);
        let answers = Asked::new(&added).answers();
        for at in second {
            prop_assert!(answers[at].allowed, "{}\n{}", answers[at], added);
        }
        for line in text.lines().filter(|line| line.starts_with('#')) {
            prop_assert!(added.contains(line));
        }
        let again = learned.put_into(&added, &options).expect("a policy");
        prop_assert_eq!(again.0, added);
    }
}

fn file(path: &str, allow: &str) -> Seen {
    Seen {
        line: format!("files: - {{ path: {path}, allow: [{allow}] }}"),
        action: allow.to_owned(),
        program: "cp".to_owned(),
    }
}

#[test]
fn each_line_says_why_it_is_there() {
    let mut seen = vec![
        file("/srv/a", "read"),
        file("/srv/a", "write"),
        file("/srv/a", "read"),
    ];
    seen.push(Seen {
        line: "capabilities: { SYS_NICE: [setpriority] }".to_owned(),
        action: "capability".to_owned(),
        program: "nice".to_owned(),
    });
    let learned = learn(&seen, &options(&[]));
    let wanted = "# two\n\
        # lines\n\
        reeve: v1\n\
        name: agent\n\
        capabilities:\n\
        \x20 SYS_NICE: [setpriority]  # 1×: capability by nice\n\
        files:\n\
        \x20 - { path: /srv/a, allow: [read, write] }  # 3×: read, write by cp; \
        a directory: with everything below\n";
    let text = learned.policy("agent", "two\nlines");
    assert_eq!(text, wanted);
}

#[test]
fn rules_group_and_wide_directories_are_left_alone() {
    let paths = |seen: &[Seen], rules: &[Rule]| -> BTreeSet<String> {
        let learned = learn(seen, &options(rules));
        learned
            .entries
            .iter()
            .filter_map(|(entry, _)| entry.path())
            .collect()
    };
    let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let images: Vec<Seen> = (0..3)
        .map(|at| file(&format!("/srv/vms/{at}"), "read"))
        .collect();
    assert_eq!(paths(&images, &[Rule::Siblings(3)]), set(&["/srv/vms"]));
    assert_eq!(paths(&images, &[Rule::Siblings(4)]).len(), 3);
    let etc: Vec<Seen> = (0..9)
        .map(|at| file(&format!("/etc/{at}"), "read"))
        .collect();
    assert_eq!(paths(&etc, &[Rule::Siblings(2), Rule::Depth(2)]).len(), 9);
    let deep = [file("/srv/a/b/c/d", "read"), file("/srv/a/x", "write")];
    assert_eq!(paths(&deep, &[Rule::Depth(2)]), set(&["/srv/a"]));
    let temporary = [file("/srv/a/.x.Ab3dE9", "write"), file("/srv/a/x", "read")];
    assert_eq!(
        paths(&temporary, &[Rule::Temporary]),
        set(&["/srv/a", "/srv/a/x"])
    );
}

#[test]
fn what_is_no_line_is_counted() {
    let seen = [Seen {
        line: "]".to_owned(),
        action: "x".to_owned(),
        program: "x".to_owned(),
    }];
    let learned = learn(&seen, &options(&[]));
    assert!(learned.lines.is_empty() && learned.unread.len() == 1);
}

#[test]
fn an_entry_adds_grants_and_says_nothing_else_of_a_policy() {
    for line in [
        "mode: audit",
        "modes: { files: audit }",
        "include: [/etc/shadow]",
        "extends: [x]",
        "vars: { a: b }",
        "name: b",
        "description: b",
        "reeve: v2",
        "kernel: { clock: true }\nmode: audit",
        "files: - { path: /srv, allow: [read] }\nmode: audit",
        "{ files: [{ path: /srv, allow: [read] }], mode: audit }",
        "files: - { path: /srv, \"allow: [read] }\\nmode: audit  #\": [x] }",
        "kernel: { \"clock: true\\nmode: audit #\": true }",
        "files: { mode: audit }",
        "files: - { path: srv, allow: [read] }",
        "files: - { path: '${a}', allow: [read] }",
        "{}",
    ] {
        let seen = [
            Seen {
                line: line.to_owned(),
                action: "x".to_owned(),
                program: "x".to_owned(),
            },
            file("/srv/b", "write"),
        ];
        let learned = learn(&seen, &options(&[]));
        assert_eq!(learned.unread, BTreeMap::from([(line.to_owned(), 1)]));
        let policy = learned.policy("a", "");
        let (added, left) = learned.put_into(NOTHING, &options(&[])).expect("a policy");
        assert!(left.is_empty(), "{left:?}");
        for text in [policy, added] {
            let read = parse("p.yaml", &text).unwrap_or_else(|found| panic!("{text}\n{found}"));
            assert_eq!((read.mode, read.files.len()), (Mode::Enforce, 1), "{text}");
            assert!(!text.contains("audit"), "{line}\n{text}");
        }
    }
}

#[test]
fn lines_about_one_object_become_one() {
    let seen = |line: &str| Seen {
        line: line.to_owned(),
        action: "x".to_owned(),
        program: "x".to_owned(),
    };
    let seen = [
        seen("processes: { exec: [/bin/b] }"),
        seen("processes: { exec: [/bin/a] }"),
        seen("mounts: - { type: ext4, source: \"8:1\" }"),
        seen("mounts: - { type: ext4, source: \"8:2\" }"),
        seen("mounts: - { allow: [chroot] }"),
        seen("mounts: - { allow: [remount] }"),
        seen("mounts: - { allow: [umount], target: /srv/a }"),
        seen("ipc: { shm: [read, write] }"),
    ];
    let text = learn(&seen, &options(&[])).policy("a", "");
    for line in [
        "  exec: [/bin/a, /bin/b]  # 2×",
        "  - { type: ext4, source: ['8:1', '8:2'] }  # 2×",
        "  - { allow: [chroot, remount] }  # 2×",
        "  - { target: /srv/a, allow: [umount] }  # 1×",
        "  shm: [read, write]  # 1×",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let policy = parse("p.yaml", &text).unwrap_or_else(|found| panic!("{text}\n{found}"));
    assert_eq!(policy.mounts[0].sources.len(), 2);
}

#[test]
fn what_another_line_brings_along_needs_none() {
    let seen = |line: &str| Seen {
        line: line.to_owned(),
        action: "x".to_owned(),
        program: "x".to_owned(),
    };
    let mount = seen("mounts: - { type: tmpfs }");
    let both = [
        seen("capabilities: { SYS_ADMIN: [mount] }"),
        seen("capabilities: { SYS_ADMIN: [bpf] }"),
    ];
    let text = learn(&[&both[..], &[mount]].concat(), &options(&[])).policy("a", "");
    assert!(
        text.contains("SYS_ADMIN: [bpf]") && !text.contains("[mount"),
        "{text}"
    );
    let text = learn(&both, &options(&[])).policy("a", "");
    assert!(text.contains("SYS_ADMIN: [bpf, mount]"), "{text}");
}
