//! Look-ups on the file system of the machine that runs the tests, without privileges.

use super::*;

fn lookup(path: &str) -> Found {
    Resolver::new().expect("mountinfo").path(path).expect(path)
}

fn at(path: &str) -> Object {
    match lookup(path) {
        Found::At(object) => object,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn the_root_has_no_ancestor_and_every_mount_below() {
    let root = at("/");
    assert_eq!(root.real, "/");
    assert_eq!(root.kind, ObjectKind::Directory);
    assert!(root.ancestors.is_empty());
    assert!(root.submounts.iter().any(|mount| mount.path == "/proc"));
}

#[test]
fn links_are_followed_and_the_real_path_told() {
    let folder = tempfile::tempdir().expect("tempdir");
    let real = folder.path().canonicalize().expect("canonicalize");
    let (file, link) = (real.join("file"), real.join("link"));
    fs::write(&file, "x").expect("write");
    std::os::unix::fs::symlink(&file, &link).expect("symlink");
    let (file, link) = (file.display().to_string(), link.display().to_string());
    assert_eq!(at(&link), at(&file));
    assert_eq!(at(&link).real, file);
    let parent = at(&real.display().to_string());
    assert_eq!(at(&file).ancestors.first(), Some(&parent.inode));
    assert_eq!(
        at(&file).ancestors.get(1..),
        Some(parent.ancestors.as_slice())
    );
    assert_eq!(lookup(&format!("{file}/below")), Found::Missing);
    assert_eq!(lookup(&format!("{file}-not")), Found::Missing);
}

#[test]
fn a_device_node_is_told_by_its_number() {
    let kind = ObjectKind::Device {
        class: device_class::CHAR,
        major: 1,
        minor: 3,
    };
    assert_eq!(at("/dev/null").kind, kind);
}

#[test]
fn magic_links_are_not_followed() {
    let found = Resolver::new()
        .expect("mountinfo")
        .path("/proc/self/root/etc");
    assert!(matches!(found, Err(Error::MagicLink { .. })), "{found:?}");
}

#[test]
fn a_policy_gets_an_answer_for_everything_it_names() {
    let text = "reeve: v1\nname: a\nfiles:\n  - { path: /, allow: [read] }\n  \
                - { path: /no/such, allow: [read], optional: true }\n\
                kernel: { modules: [no-such-module] }\n";
    let policy = policy::parse("p.yaml", text).expect("a policy");
    let facts = facts(&policy).expect("facts");
    assert_eq!(facts.paths.len(), 3);
    let module = PathKey::Module("no_such_module".to_owned());
    assert_eq!(facts.paths.get(&module), Some(&Found::Missing));
}
