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
ipc: { shm: [read] }
";

/// Another, of what is named by a number.
const PARTS: &str = "reeve: v1
name: agent
capabilities: { SYS_BOOT: [reboot] }
kernel:
  sysctl: { read: [vm.dirty_ratio], write: [net.ipv4.*] }
  hostname: true
  io_uring: [sqpoll]
  userns: false
  lockdown: [ioport]
ipc:
  shm: [read]
  keys: [search]
";

fn ask(text: &str) -> Answer {
    ask_of(TEXT, text)
}

fn ask_of(policy: &str, text: &str) -> Answer {
    let policy = parse("p.yaml", policy).unwrap_or_else(|found| panic!("{found}"));
    let question: Question = text
        .parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let paths = question.paths();
    let facts = Facts::lexical(&policy, paths.iter().map(String::as_str));
    let compiled = compile(&policy, &facts).unwrap_or_else(|found| panic!("{found}"));
    explain(&policy, &compiled, &facts, &question)
}

#[test]
fn an_inode_is_known_by_its_generation_too() {
    let text = "reeve: v1\nname: a\nfiles: [{ path: /srv, allow: [read] }]\n";
    let policy = parse("p.yaml", text).expect("a policy");
    let mut facts = Facts::lexical(&policy, ["/srv/a", "/srv", "/"]);
    for found in facts.paths.values_mut() {
        if let Found::At(object) = found {
            object.generation = 7;
        }
    }
    let compiled = compile(&policy, &facts).expect("good");
    let ask = |text: &str| {
        let question = text.parse().expect("a question");
        explain(&policy, &compiled, &facts, &question).allowed
    };
    assert!(ask("read /srv/a") && ask("read /srv") && !ask("write /srv/a"));
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
        ("mount ramfs", "EPERM", "type: ramfs"),
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
    // No line that is added does.
    assert_eq!(ask("mount tmpfs").to_allow, None);
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
         decided at file_open, file_receive, mmap_file, file_mprotect, file_fcntl \
         (Linux 6.1 or later)\n  \
         to allow: files: - { path: /var/lib/vms/web1.qcow2, allow: [read, write] }\n"
    );
    let json = serde_json::to_value(&answer).expect("JSON");
    assert_eq!(json.pointer("/by/line"), Some(&5.into()));
}

const MOUNTS: &str = "reeve: v1
name: agent
mounts:
  - { type: ext4, source: [\"8:5\", /dev/sda1], target: /srv/in, flags: [ro] }
  - { allow: [umount, remount], target: /srv/old }
  - { allow: [chroot] }
processes:
  setns: [ { exe: /usr/bin/qemu, types: [net, mnt] } ]
  limits: [ { exe: /usr/bin/qemu, allow: [nice] } ]
  ptrace: [ { exe: /usr/bin/qemu, allow: [process_vm_readv] } ]
  exec: [ /usr/bin/agent ]
files:
  - { path: /usr/bin, allow: [execute] }
";

#[test]
fn mounts_and_processes_are_asked_about_by_what_narrows_them() {
    let policy = parse("p.yaml", MOUNTS).unwrap_or_else(|found| panic!("{found}"));
    for (text, allowed) in [
        ("mount ext4 ro", true),
        ("mount ext4", false),
        ("umount /srv/old", true),
        ("umount /srv/in", false),
        ("remount", false),
        ("chroot", true),
        ("setns net /usr/bin/qemu", true),
        ("setns net /usr/bin/agent", false),
        ("setns uts /usr/bin/qemu", false),
        ("limits nice /usr/bin/qemu", true),
        ("limits resources /usr/bin/qemu", false),
        ("ptrace process_vm_readv /usr/bin/qemu", true),
        ("ptrace process_vm_writev /usr/bin/qemu", false),
        ("ptrace attach /usr/bin/qemu", false),
        ("execute /usr/bin/agent", true),
        ("execute /usr/bin/qemu", false),
        ("capability SYS_ADMIN fsmount", true),
        ("capability SYS_CHROOT chroot", true),
        ("capability SYS_ADMIN mount_setattr", false),
    ] {
        let question: Question = text.parse().expect(text);
        let paths = question.paths();
        let facts = Facts::lexical(&policy, paths.iter().map(String::as_str));
        let compiled = compile(&policy, &facts).unwrap_or_else(|found| panic!("{found}"));
        let answer = explain(&policy, &compiled, &facts, &question);
        assert_eq!(answer.allowed, allowed, "{text}: {answer}");
        assert!(!allowed || answer.to_allow.is_none(), "{text}: {answer}");
    }
}

#[test]
fn what_a_mount_is_from_is_narrowed_by_device() {
    let policy = parse("p.yaml", MOUNTS).unwrap_or_else(|found| panic!("{found}"));
    let facts = Facts::lexical(&policy, []);
    let compiled = compile(&policy, &facts).unwrap_or_else(|found| panic!("{found}"));
    let mut devices: Vec<u32> = compiled
        .tables
        .mounts
        .keys()
        .filter(|key| key.scope == mount_scope::DEVICE)
        .map(|key| key.dev)
        .collect();
    devices.sort_unstable();
    assert_eq!(devices, [8 << 20 | 1, 8 << 20 | 5]);
    let json = serde_json::to_string(&compiled.tables).expect("tables");
    let back: Tables = serde_json::from_str(&json).expect("tables again");
    assert_eq!(back, compiled.tables);
}
#[test]
fn parts_settings_and_ipc_name_their_line() {
    for (text, line) in [
        ("sysctl read vm.dirty_ratio", 5),
        ("sysctl write net.ipv4.ip_forward", 5),
        ("kernel hostname", 6),
        ("kernel reboot", 3),
        ("kernel io_uring.sqpoll", 7),
        ("lockdown ioport", 9),
        ("ipc shm read", 11),
        ("ipc keys search", 12),
    ] {
        let answer = ask_of(PARTS, text);
        assert!(answer.allowed, "{answer}");
        assert_eq!(answer.by.as_ref().map(|by| by.line), Some(line), "{answer}");
    }
    for (text, errno, remedy) in [
        (
            "sysctl write vm.dirty_ratio",
            "EACCES",
            Some("kernel: { sysctl: { write: [vm.dirty_ratio] } }"),
        ),
        ("sysctl write kernel.ftrace_enabled", "EACCES", None),
        ("kernel swap", "EPERM", Some("kernel: { swap: true }")),
        (
            "kernel io_uring.command",
            "EPERM",
            Some("kernel: { io_uring: [command] }"),
        ),
        ("kernel userns", "EPERM", None),
        ("lockdown msr", "EPERM", Some("kernel: { lockdown: [msr] }")),
        ("ipc shm write", "EACCES", Some("ipc: { shm: [write] }")),
        ("ipc sem control", "EPERM", Some("ipc: { sem: [control] }")),
    ] {
        let answer = ask_of(PARTS, text);
        assert!(!answer.allowed, "{answer}");
        assert_eq!(answer.errno, Some(errno), "{answer}");
        assert_eq!(answer.to_allow.as_deref(), remedy, "{answer}");
    }
}
