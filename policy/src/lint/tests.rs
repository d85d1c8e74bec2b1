//! Warnings, each with what draws it and what does not.

use super::*;
use crate::compile::compile;
use crate::facts::{Inode, Submount};
use crate::model::parse;

fn policy(lines: &str) -> Policy {
    let text = format!("reeve: v1\nname: a\n{lines}");
    parse("p.yaml", &text).unwrap_or_else(|found| panic!("{found}"))
}

fn found_with(policy: &Policy, change: impl Fn(&mut Facts)) -> String {
    let asked: Vec<String> = questions(policy).iter().flat_map(Question::paths).collect();
    let mut facts = Facts::lexical(policy, asked.iter().map(String::as_str));
    change(&mut facts);
    let compiled = compile(policy, &facts).unwrap_or_else(|found| panic!("{found}"));
    lint(policy, &compiled, &facts).to_string()
}

fn found(lines: &str) -> String {
    found_with(&policy(lines), |_| {})
}

fn clean(lines: &str) {
    let found = found(lines);
    assert!(found.is_empty(), "{found}");
}

#[test]
fn every_danger_is_a_question() {
    for danger in dangers() {
        let question = danger.action.parse::<Question>();
        let question = question.unwrap_or_else(|error| panic!("{}: {error}", danger.action));
        assert_eq!(
            question.to_string().split(' ').next(),
            danger.action.split(' ').next()
        );
    }
}

#[test]
fn what_is_as_good_as_root_is_found_below_a_wider_line() {
    let etc = found("files: [{ path: /etc/cron.d, allow: [create] }]\n");
    assert!(
        etc.contains("this allows `create /etc/cron.d/x`: root runs what it says"),
        "{etc}"
    );
    let run = found("files: [{ path: /run, allow: [read, write] }]\n");
    assert!(
        run.contains("`write /run/docker.sock` (and 6 more like it)"),
        "{run}"
    );
    let root = found("files: [{ path: /root, allow: [read] }]\n");
    assert!(
        root.contains("`read /root/.ssh/id_rsa`: keys there"),
        "{root}"
    );
    let module = found("capabilities: { SYS_MODULE: [init_module] }\n");
    assert!(module.contains("loads code into the kernel"), "{module}");
    let init = found("processes: { ptrace: [{ exe: /sbin/init, allow: [attach] }] }\n");
    assert!(init.contains("runs code as the host's init"), "{init}");
    clean("processes: { ptrace: [{ exe: /sbin/init, allow: [read] }] }\n");
    clean("files: [{ path: /run/agent, allow: [read, write] }]\n");
    clean(
        "files:\n\
            \x20 - { path: /etc, allow: [read] }\n\
            \x20 - { path: /etc/shadow, allow: none }\n\
            \x20 - { path: /etc/ssh, allow: none }\n\
            \x20 - { path: /etc/kubernetes, allow: none }\n",
    );
}

#[test]
fn the_dangers_of_each_section_are_found() {
    for (lines, danger) in [
        (
            "files: [{ path: /etc/crontab, allow: [append] }]\n",
            "append /etc/crontab",
        ),
        (
            "files: [{ path: /usr/bin/env, allow: [xattr] }]\n",
            "xattr /usr/bin/env",
        ),
        (
            "devices: [{ char: '4:1', allow: [read], ioctl: [TIOCSTI] }]\n",
            "TIOCSTI char 4:1",
        ),
        ("mounts: [{ allow: [mount_setattr] }]\n", "mount_setattr"),
        ("kernel: { swap: true }\n", "kernel swap"),
        ("kernel: { lockdown: [msr] }\n", "lockdown msr"),
        (
            "kernel: { sysctl: { write: [fs] } }\n",
            "sysctl write fs.suid_dumpable",
        ),
        ("ipc: { keys: [read] }\n", "ipc keys read"),
        (
            "processes: { setns: [{ exe: /sbin/init, types: [mnt] }] }\n",
            "setns mnt /sbin/init",
        ),
        (
            "processes: { ptrace: [{ exe: /sbin/init, allow: [pidfd_getfd] }] }\n",
            "ptrace pidfd_getfd /sbin/init",
        ),
    ] {
        let found = found(lines);
        assert!(found.contains(danger), "{lines}{found}");
    }
    clean("devices: [{ char: '4:1', allow: [read, write] }]\n");
    clean("mounts: [{ allow: [chroot, pivot_root, open_tree] }]\n");
    clean("kernel: { syslog: true, quota: true, io_uring: [sqpoll], lockdown: [mmiotrace] }\n");
    clean("kernel: { sysctl: { read: [fs], write: [vm.dirty_ratio] } }\n");
    clean("ipc: { keys: [search, view], sem: [write], mqueue: [read] }\n");
    clean("processes: { setns: [{ exe: /sbin/init, types: [net] }] }\n");
    clean("processes: { limits: [{ exe: /sbin/init, allow: [nice] }] }\n");
}

#[test]
fn a_line_that_says_nothing_new_is_found() {
    let again = "files:\n  - { path: /a, allow: [read] }\n  - { path: /a/b, allow: [read] }\n";
    let again = found(again);
    assert!(
        again.contains("p.yaml:5:13: warning: `/a/b` gets from line 4"),
        "{again}"
    );
    clean(
        "files:\n\
            \x20 - { path: /a, allow: [read] }\n\
            \x20 - { path: /a/b, allow: none }\n\
            \x20 - { path: /a/b/c, allow: [read] }\n",
    );
    let device =
        "devices:\n  - { block: '9:*', allow: [read] }\n  - { block: '9:1', allow: [read] }\n";
    assert!(found(device).contains("device 9:1 gets from line 4"));
    clean("devices:\n  - { block: '9:*', allow: [read] }\n  - { block: '9:1', allow: [write] }\n");
}

#[test]
fn a_place_that_the_container_may_fill_is_found() {
    let optional = "files:\n\
        \x20 - { path: /srv, allow: [create] }\n\
        \x20 - { path: /srv/x, allow: [read], optional: true }\n";
    // The model tells of it already.
    clean(optional);
    let told = policy(optional).warnings().to_string();
    assert!(
        told.contains("p.yaml:5:13: warning: what may be done in `/srv`"),
        "{told}"
    );
    let moved = "files:\n\
        \x20 - { path: /srv, allow: [create, rename] }\n\
        \x20 - { path: /srv/a/keys, allow: none }\n";
    assert!(found(moved).contains("at `/srv/a`"));
    clean("files:\n  - { path: /srv, allow: [create] }\n  - { path: /srv/x, allow: [read] }\n");
    clean(
        "files:\n\
            \x20 - { path: /srv, allow: [create, rename, delete] }\n\
            \x20 - { path: /srv/x, allow: none }\n",
    );
}

#[test]
fn a_disk_below_a_mounted_file_system_is_found() {
    let lines =
        "files: [{ path: /srv, allow: [read] }]\ndevices:\n  - { block: '8:0', allow: [write] }\n";
    let mounted = |facts: &mut Facts| {
        for found in facts.paths.values_mut() {
            if let Found::At(object) = found {
                let ino = 2;
                let dev = ebpf_common::abi::kernel_dev(8, 1);
                let path = "/srv/data".to_owned();
                let inode = Inode { dev, ino };
                object.submounts.push(Submount {
                    path,
                    inode,
                    generation: 0,
                    magic: 0xef53,
                });
            }
        }
    };
    let warned = found_with(&policy(lines), mounted);
    assert!(
        warned.contains("changes every file around `/srv/data`"),
        "{warned}"
    );
    let other = lines.replace("8:0", "8:16");
    assert!(found_with(&policy(&other), mounted).is_empty());
}
