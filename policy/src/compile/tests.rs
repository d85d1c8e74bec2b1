//! What the host's facts make of a policy, case by case.

use ebpf_common::abi::{FileRule, file_flags, kernel};
use ebpf_common::{Rights, magic};

use super::*;
use crate::facts::{CoreObject, Disk, Found, Inode, Object, ObjectKind, PathKey, Submount};
use crate::model::parse;

const EXT4: u32 = 0xef53;

fn inode(ino: u64) -> Inode {
    Inode { dev: 8, ino }
}

fn directory(path: &str, ino: u64, magic: u32) -> Object {
    Object {
        generation: 0,
        real: path.to_owned(),
        inode: inode(ino),
        magic,
        kind: ObjectKind::Directory,
        ancestors: vec![inode(2)],
        submounts: Vec::new(),
    }
}

fn policy(lines: &str) -> Policy {
    let text = format!("reeve: v1\nname: a\n{lines}");
    parse("p.yaml", &text).unwrap_or_else(|found| panic!("{found}"))
}

fn facts(objects: &[Object]) -> Facts {
    let paths = objects.iter().map(|object| {
        let key = PathKey::Path(object.real.clone());
        (key, Found::At(object.clone()))
    });
    Facts {
        paths: paths.collect(),
        ..Facts::default()
    }
}

const ONE: &str = "files:\n  - { path: /srv, allow: [read] }\n";

/// The findings of a compilation that must fail.
fn refused(policy: &Policy, facts: &Facts) -> String {
    compile(policy, facts).expect_err("an error").to_string()
}

fn rule_of(compiled: &Compiled, ino: u64) -> Option<FileRule> {
    compiled.tables.files.get(&inode(ino)).copied()
}

#[test]
fn file_systems_whose_objects_cannot_be_told_apart_are_refused() {
    for (magic, word) in [
        (magic::BTRFS, "btrfs"),
        (0xca45_1a4e, "bcachefs"),
        (magic::PROC, "procfs"),
        (magic::BPF_FS, "bpffs"),
    ] {
        let found = refused(&policy(ONE), &facts(&[directory("/srv", 5, magic)]));
        assert!(
            found.starts_with("p.yaml:4:13: error: `/srv` cannot be granted"),
            "{found}"
        );
        assert!(found.contains(word) && found.contains("help: "), "{found}");
    }
    for magic in [EXT4, magic::SYSFS, magic::CGROUP2, magic::OVERLAY] {
        let compiled = compile(&policy(ONE), &facts(&[directory("/srv", 5, magic)]));
        assert!(compiled.is_ok(), "{magic:x}");
    }
}

#[test]
fn a_file_on_overlayfs_is_granted_by_its_directory_only() {
    let file = Object {
        kind: ObjectKind::File,
        ..directory("/srv", 5, magic::OVERLAY)
    };
    let found = refused(&policy(ONE), &facts(&[file]));
    assert!(
        found.contains("help: grant the directory that holds it"),
        "{found}"
    );
}

#[test]
fn reeves_own_state_is_not_granted_however_it_is_named() {
    let core = |path: &str, ino| CoreObject {
        path: path.to_owned(),
        above: Vec::new(),
        inode: inode(ino),
    };
    let srv = directory("/srv", 5, EXT4);
    for core in [
        core("/srv", 9),
        core("/elsewhere", 5),
        core("/elsewhere", 2),
    ] {
        let facts = Facts {
            core: vec![core],
            ..facts(std::slice::from_ref(&srv))
        };
        let found = refused(&policy(ONE), &facts);
        assert!(found.contains("belongs to Reeve itself"), "{found}");
    }
}

#[test]
fn the_core_wins_over_mounts_below_a_grant() {
    let mount = |path: &str, ino| Submount {
        path: path.to_owned(),
        generation: 0,
        inode: inode(ino),
        magic: magic::TMPFS,
    };
    let srv = Object {
        submounts: vec![
            mount("/srv/state", 7),
            mount("/srv/state/a/rootfs", 8),
            mount("/srv/b", 9),
        ],
        ..directory("/srv", 5, EXT4)
    };
    let core = CoreObject {
        path: "/srv/state".to_owned(),
        above: Vec::new(),
        inode: inode(7),
    };
    let facts = Facts {
        core: vec![core],
        ..facts(&[srv])
    };
    let compiled = compile(&policy(ONE), &facts).expect("compiled");
    let state = rule_of(&compiled, 7).expect("a core rule");
    assert_eq!((state.rights, state.rule), (Rights::NONE, NO_RULE));
    assert_eq!(rule_of(&compiled, 8), None);
    assert_eq!(
        rule_of(&compiled, 9).map(|rule| rule.rights),
        Some(Rights::READ)
    );
}

#[test]
fn two_paths_to_one_object_must_agree() {
    let lines = |rights: &str| format!("{ONE}  - {{ path: /link, allow: [{rights}] }}\n");
    let objects = [directory("/srv", 5, EXT4), directory("/link", 5, EXT4)];
    let found = refused(&policy(&lines("write")), &facts(&objects));
    assert!(
        found.contains("`/link` and `/srv` (line 4) are one object"),
        "{found}"
    );
    let compiled = compile(&policy(&lines("read")), &facts(&objects)).expect("compiled");
    assert_eq!(compiled.warnings.iter().count(), 1);
}

#[test]
fn a_file_system_mounted_under_two_grants_gets_what_both_give() {
    let mount = |path: &str, ino| Submount {
        path: path.to_owned(),
        generation: 0,
        inode: inode(ino),
        magic: EXT4,
    };
    let srv = Object {
        submounts: vec![mount("/srv/m", 7), mount("/srv/b", 8)],
        ..directory("/srv", 5, EXT4)
    };
    let var = Object {
        submounts: vec![mount("/var/m", 7)],
        ..directory("/var", 6, EXT4)
    };
    let lines = format!("{ONE}  - {{ path: /var, allow: [read, write] }}\n");
    let compiled = compile(&policy(&lines), &facts(&[srv, var])).expect("compiled");
    assert_eq!(
        rule_of(&compiled, 7).map(|rule| rule.rights),
        Some(Rights::READ)
    );
    assert_eq!(
        rule_of(&compiled, 8).map(|rule| rule.rights),
        Some(Rights::READ)
    );
    assert_eq!(compiled.warnings.iter().count(), 1);
}

#[test]
fn a_grant_does_not_reach_into_what_shows_the_kernel_or_btrfs() {
    let kinds = [
        magic::PROC,
        magic::SYSFS,
        magic::CGROUP,
        magic::CGROUP2,
        magic::BPF_FS,
        magic::TRACEFS,
        magic::DEBUGFS,
        magic::SECURITYFS,
        magic::BTRFS,
    ];
    let mounts = (10..).zip(kinds).map(|(ino, magic)| Submount {
        path: format!("/srv/{ino}"),
        generation: 0,
        inode: inode(ino),
        magic,
    });
    let srv = Object {
        submounts: mounts.collect(),
        ..directory("/srv", 5, EXT4)
    };
    let compiled = compile(&policy(ONE), &facts(&[srv])).expect("compiled");
    assert_eq!(compiled.tables.files.len(), 1);
    let warnings = compiled.warnings.to_string();
    assert!(
        warnings.contains("`/srv/18`, whose inode numbers repeat"),
        "{warnings}"
    );
}

#[test]
fn what_is_the_containers_own_is_in_the_tables() {
    let facts = Facts {
        own: vec![inode(20)],
        own_supers: vec![(30, magic::OVERLAY)],
        upper: vec![inode(21)],
        lower: vec![inode(22)],
        private_pid: true,
        private_ipc: true,
        ..facts(&[directory("/srv", 5, EXT4)])
    };
    let compiled = compile(&policy(ONE), &facts).expect("compiled");
    let counted = file_flags::COUNTED;
    let flags = |ino| rule_of(&compiled, ino).map(|rule| (rule.rights, rule.flags & !counted));
    assert_eq!(flags(20), Some((Rights::ALL, file_flags::OWN)));
    assert_eq!(flags(21), Some((Rights::ALL, file_flags::BACKING)));
    assert_eq!(
        flags(22),
        Some((Rights::READ | Rights::EXECUTE, file_flags::BACKING))
    );
    let rule = SuperRule {
        kind: super_kind::RUNTIME,
        magic: magic::OVERLAY,
        address: 0,
        rights: Rights::ALL,
        rule: NO_RULE,
    };
    assert_eq!(compiled.tables.supers.get(&30), Some(&rule));
    let both = kernel::PRIVATE_PID | kernel::PRIVATE_IPC | kernel::OVERLAY_ROOT;
    assert_eq!(compiled.tables.header.kernel, both);
}

#[test]
fn a_layer_of_the_containers_root_is_not_granted() {
    let facts = Facts {
        lower: vec![inode(5)],
        ..facts(&[directory("/srv", 5, EXT4)])
    };
    let found = refused(&policy(ONE), &facts);
    assert!(
        found.contains("a layer of the container's own root"),
        "{found}"
    );
}

#[test]
fn a_device_node_is_pointed_to_its_section() {
    let kind = ObjectKind::Device {
        class: device_class::BLOCK,
        major: 8,
        minor: 1,
    };
    let node = Object {
        kind,
        ..directory("/srv", 5, EXT4)
    };
    let compiled = compile(&policy(ONE), &facts(&[node])).expect("compiled");
    let warnings = compiled.warnings.to_string();
    let help = "help: under `devices`: - { block: \"8:1\", allow: [read] }";
    assert!(warnings.contains(help), "{warnings}");
}

#[test]
fn an_executable_is_a_file() {
    let lines = "processes: { signal: [ { exe: /srv, signals: [TERM] } ] }\n";
    let found = refused(&policy(lines), &facts(&[directory("/srv", 5, EXT4)]));
    assert!(
        found.contains("`/srv` is not an executable file"),
        "{found}"
    );
}

#[test]
fn a_module_is_its_file_and_what_it_needs() {
    let lines = "kernel: { modules: [nbd, ext4] }\n";
    let file = |path: &str, ino| Object {
        kind: ObjectKind::File,
        ..directory(path, ino, EXT4)
    };
    let mut facts = Facts::default();
    let files = vec![
        file("/lib/modules/nbd.ko", 5),
        file("/lib/modules/dep.ko", 6),
    ];
    let key = |name: &str| PathKey::Module(name.to_owned());
    facts.paths.insert(key("nbd"), Found::Module(files));
    facts.paths.insert(key("ext4"), Found::BuiltIn);
    let compiled = compile(&policy(lines), &facts).expect("compiled");
    let rules: Vec<_> = compiled.tables.modules.iter().collect();
    assert_eq!(rules.len(), 2);
    assert!(rules.iter().all(|(_, rule)| rule.rule == 0));
    assert!(
        compiled
            .warnings
            .to_string()
            .contains("built into this kernel")
    );
}

#[test]
fn what_lies_above_the_core_stays_and_keeps_its_rights() {
    let core = CoreObject {
        path: "/srv/lib/reeve".to_owned(),
        above: vec![inode(7), inode(5), inode(2)],
        inode: inode(9),
    };
    let facts = Facts {
        core: vec![core],
        ..facts(&[directory("/srv", 5, EXT4)])
    };
    let lines = "files:\n  - { path: /srv, allow: [read, rename] }\n";
    let compiled = compile(&policy(lines), &facts).expect("compiled");
    let pinned = |ino| {
        let rule = rule_of(&compiled, ino)?;
        Some((rule.rights, rule.flags & file_flags::PINNED != 0))
    };
    let granted = Rights::READ | Rights::RENAME;
    assert_eq!(pinned(5), Some((granted, true)));
    assert_eq!(pinned(7), Some((granted, true)));
    assert_eq!(pinned(2), None, "nothing is granted there");
}

#[test]
fn rules_note_what_they_were_made_for() {
    let made = Object {
        generation: 77,
        inode: Inode {
            dev: 8 << 20,
            ino: 5,
        },
        ..directory("/srv", 5, EXT4)
    };
    let compiled = compile(&policy(ONE), &facts(&[made])).expect("compiled");
    let rule = compiled.tables.files.values().next().expect("a rule");
    assert_eq!((rule.generation, rule.flags), (77, 0), "on a device");
    let compiled = compile(&policy(ONE), &facts(&[directory("/srv", 5, magic::TMPFS)]));
    let rule = rule_of(&compiled.expect("compiled"), 5).expect("a rule");
    assert_eq!(rule.flags, file_flags::COUNTED, "without a device");
}

#[test]
fn commands_are_those_of_their_line() {
    let lines = "files:\n  - { path: /srv, allow: [read], ioctl: [FICLONE, 0x1234] }\n\
        devices:\n  - { char: 10:200, allow: [read], ioctl: [TUNSETIFF] }\n";
    let compiled = compile(&policy(lines), &facts(&[directory("/srv", 5, EXT4)]));
    let compiled = compiled.expect("compiled");
    let named: Vec<_> = compiled.tables.ioctls.iter().copied().collect();
    assert_eq!(named, [(0, 0x1234), (0, 0x4004_9409), (1, 0x4004_54ca)]);
    let rule = rule_of(&compiled, 5).expect("a rule");
    assert!(rule.flags & file_flags::IOCTLS != 0);
    let text = &compiled.grants[0].text;
    assert_eq!(
        text,
        "{ path: /srv, allow: [read], ioctl: [FICLONE, 0x1234] }"
    );
}

#[test]
fn a_disk_below_a_file_system_is_warned_of() {
    let disk = |minor| Disk {
        major: 8,
        minor,
        mounted_at: "/home".to_owned(),
    };
    let facts = Facts {
        disks: vec![disk(1)],
        ..Facts::default()
    };
    for (line, warned) in [("8:1", true), ("8:*", true), ("8:2", false)] {
        let lines = format!("devices:\n  - {{ block: \"{line}\", allow: [read] }}\n");
        let compiled = compile(&policy(&lines), &facts).expect("compiled");
        let text = compiled.warnings.to_string();
        assert_eq!(text.contains("`/home`"), warned, "{line}: {text}");
    }
}
