//! Questions and answers on a policy that has every section.

use super::*;
use crate::compile::compile;
use crate::model::parse;

const TEXT: &str = "reeve: v1
name: agent
modes: { mounts: audit }
files:
  - { path: /var/lib/vms, allow: [read] }
  - { path: /srv/backup, allow: [read, write, create, rename] }
  - { path: /srv/drop, allow: [create] }
devices:
  - { block: 253:*, allow: [read] }
mounts:
  - { type: tmpfs, flags: [nosuid] }
capabilities:
  SYS_NICE: [sched_setscheduler]
processes:
  signal: [ { exe: /usr/bin/qemu, signals: [TERM] } ]
  ptrace: [ { exe: /usr/bin/qemu, allow: [read] } ]
kernel: { modules: [nbd], bpf: [map_create], clock: true }
";

fn ask(text: &str) -> Answer {
    let policy = parse("p.yaml", TEXT).unwrap_or_else(|found| panic!("{found}"));
    let question: Question = text
        .parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let paths = question.paths();
    let facts = Facts::lexical(&policy, paths.iter().map(String::as_str));
    let compiled = compile(&policy, &facts).unwrap_or_else(|found| panic!("{found}"));
    explain(&policy, &compiled, &facts, &question)
}

#[test]
fn allowed_actions_name_their_line() {
    for (text, line) in [
        ("read /var/lib/vms/web1.qcow2", 5),
        ("write /srv/backup/a", 6),
        ("truncate /srv/backup/a", 6),
        ("create /srv/backup/new", 6),
        ("rename /srv/backup/a /srv/drop/a", 6),
        ("open-device block 253:7 read", 9),
        ("mount tmpfs nosuid,nodev", 11),
        ("capability SYS_ADMIN mount", 11),
        ("capability CAP_SYS_NICE sched_setscheduler", 13),
        ("signal TERM /usr/bin/qemu", 15),
        ("ptrace read /usr/bin/qemu", 15),
        ("load-module nbd", 17),
        ("bpf map_create", 17),
        ("set-clock", 17),
    ] {
        let answer = ask(text);
        assert!(answer.allowed, "{answer}");
        assert_eq!(answer.by.as_ref().map(|by| by.line), Some(line), "{answer}");
        assert!(
            !answer.hooks.is_empty() && answer.to_allow.is_none(),
            "{answer}"
        );
    }
    assert!(ask("open-device char 1:3 write").by.is_none(), "built in");
}

#[test]
fn refused_actions_carry_an_errno_and_a_remedy() {
    for (text, errno, remedy) in [
        (
            "write /etc/shadow",
            "EACCES",
            "{ path: /etc/shadow, allow: [write] }",
        ),
        (
            "write /var/lib/vms/a",
            "EACCES",
            "{ path: /var/lib/vms/a, allow: [read, write] }",
        ),
        (
            "chmod /srv/backup/a",
            "EPERM",
            "allow: [read, write, create, rename, chmod] }",
        ),
        (
            "create /etc/new",
            "EACCES",
            "{ path: /etc, allow: [create] }",
        ),
        (
            "open-device block 253:7 write",
            "EACCES",
            "block: \"253:7\"",
        ),
        ("mount tmpfs", "EPERM", "type: tmpfs"),
        ("capability SYS_ADMIN setns", "EPERM", "SYS_ADMIN: [setns]"),
        ("signal KILL /usr/bin/qemu", "EPERM", "signals: [KILL]"),
        ("ptrace attach /usr/bin/qemu", "EPERM", "allow: [attach]"),
        ("bpf prog_load", "EPERM", "bpf: [prog_load]"),
        ("load-module ext4", "EPERM", "modules: [ext4]"),
    ] {
        let answer = ask(text);
        assert!(!answer.allowed, "{answer}");
        assert_eq!(answer.errno, Some(errno), "{answer}");
        let offered = answer.to_allow.clone().unwrap_or_default();
        assert!(offered.contains(remedy), "{answer}");
    }
}

#[test]
fn a_move_never_widens() {
    let answer = ask("rename /srv/drop/a /srv/backup/a");
    assert_eq!(answer.errno, Some("EACCES"), "no right to rename: {answer}");
    let answer = ask("link /srv/backup/a /srv/drop/a");
    assert_eq!(answer.errno, Some("EACCES"), "no right to link: {answer}");
}

#[test]
fn audit_mode_is_told() {
    let answer = ask("mount tmpfs");
    assert!(answer.only_recorded, "{answer}");
    assert!(
        answer
            .to_string()
            .contains("section `mounts` is in audit mode")
    );
    assert!(!ask("write /etc/shadow").only_recorded);
}

#[test]
fn an_answer_prints_and_serializes() {
    let answer = ask("write /var/lib/vms/web1.qcow2");
    assert_eq!(
        answer.to_string(),
        "refused: write /var/lib/vms/web1.qcow2 (EACCES)\n  \
         because the nearest grant does not give this right\n  \
         by p.yaml:5:5: - { path: /var/lib/vms, allow: [read] }\n  \
         decided at file_open, mmap_file, file_mprotect (Linux 6.1 or later)\n  \
         to allow: files: - { path: /var/lib/vms/web1.qcow2, allow: [read, write] }\n"
    );
    let json = serde_json::to_value(&answer).expect("JSON");
    assert_eq!(json.pointer("/by/line"), Some(&5.into()));
}
