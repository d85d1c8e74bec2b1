//! Entries of `mounts` as the configuration has them.

use oci_spec::runtime::Linux;
use serde_json::{Value, json};

use super::*;
use crate::spec::IdMapping;

fn namespaces(user: bool) -> Namespaces {
    let mut linux = json!({ "namespaces": [ { "type": "mount" } ] });
    if user {
        linux["namespaces"] = json!([ { "type": "mount" }, { "type": "user" } ]);
        for key in ["uidMappings", "gidMappings"] {
            linux[key] = json!([ { "containerID": 0, "hostID": 100_000, "size": 10 } ]);
        }
    }
    let linux: Linux = serde_json::from_value(linux).unwrap();
    Namespaces::check(&linux).unwrap()
}

fn checked(mounts: Value, user: bool) -> Result<Vec<Mount>, Error> {
    let raw: Vec<RawMount> = serde_json::from_value(mounts).unwrap();
    check_all(&raw, Path::new("/b"), &namespaces(user))
}

fn one(mount: Value) -> Result<Mount, Error> {
    Ok(checked(json!([mount]), false)?.remove(0))
}

fn message(error: &Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

#[test]
fn what_is_mounted() {
    let bind = |link| MountKind::Bind {
        source: "/b/x".into(),
        recursive: false,
        link,
    };
    for (mount, kind) in [
        (
            json!({ "type": "bind", "source": "x" }),
            bind(SourceLink::Follow),
        ),
        (
            json!({ "type": "none", "source": "x", "options": ["bind", "src-nofollow"] }),
            bind(SourceLink::Bind),
        ),
        (
            json!({ "source": "x", "options": ["bind", "copy-symlink", "async"] }),
            bind(SourceLink::Copy),
        ),
        (
            json!({ "type": "cgroup2", "source": "cgroup" }),
            MountKind::Cgroup,
        ),
        (
            json!({ "type": "none", "options": ["remount", "bind", "ro"] }),
            MountKind::Remount {
                options: Vec::new(),
            },
        ),
        (
            json!({ "type": "tmpfs", "options": ["tmpcopyup", "sync", "size=1m"] }),
            MountKind::New {
                fs_type: "tmpfs".to_owned(),
                source: None,
                options: vec![
                    ("sync".to_owned(), None),
                    ("size".to_owned(), Some("1m".to_owned())),
                ],
                copy_up: true,
            },
        ),
    ] {
        let mut mount = mount;
        mount["destination"] = json!("/x");
        assert_eq!(one(mount).unwrap().kind, kind);
    }
}

#[test]
fn what_cannot_be_meant_is_named() {
    for (mount, expected) in [
        (json!({ "type": "none" }), "`mounts[0].type`: missing"),
        (
            json!({ "options": ["rbind"] }),
            "`mounts[0].source`: missing",
        ),
        (
            json!({ "destination": "/./", "type": "tmpfs" }),
            "`mounts[0].destination`: the root file system cannot be mounted over",
        ),
        (
            json!({ "type": "proc", "options": ["tmpcopyup"] }),
            "`mounts[0].options`: `tmpcopyup` has no meaning for a mount of this type",
        ),
        (
            json!({ "type": "tmpfs", "options": ["copy-symlink"] }),
            "`mounts[0].options`: `copy-symlink` has no meaning for a mount of this type",
        ),
        (
            json!({ "type": "cgroup", "options": ["nsdelegate"] }),
            "`mounts[0].options`: a cgroup mount takes no file system option `nsdelegate`",
        ),
        (
            json!({ "source": "x", "options": ["bind", "idmap"] }),
            "`mounts[0].options`: needs a new user namespace",
        ),
        (
            json!({ "source": "x", "options": ["bind", "idmap=nonsense"] }),
            "`mounts[0].options`: `nonsense` is none of the accepted values",
        ),
        (
            json!({ "source": "x", "options": ["bind"],
                    "uidMappings": [ { "containerID": 0, "hostID": 1, "size": 1 } ] }),
            "`mounts[0].gidMappings`: missing",
        ),
        (
            json!({ "type": "a\0b" }),
            "`mounts[0].type`: contains a NUL byte",
        ),
        (
            json!({ "type": "xfs", "options": ["remount", "size=1"] }),
            "`mounts[0].options`: a remount of what is not a new file system of this \
             configuration takes no file system option `size`",
        ),
    ] {
        let mut mount = mount;
        if mount.get("destination").is_none() {
            mount["destination"] = json!("/x");
        }
        let text = message(&one(mount).unwrap_err());
        assert_eq!(text, format!("config.json: {expected}"));
    }
}

#[test]
fn a_remount_changes_only_a_super_block_of_the_containers_own() {
    let tmpfs = json!({ "destination": "/x", "type": "tmpfs" });
    let remount = json!({ "destination": "/x", "options": ["remount", "size=1"] });
    let bind = json!({ "destination": "/x", "source": "/y", "options": ["bind"] });
    let sysfs = json!({ "destination": "/x", "type": "sysfs" });
    checked(json!([tmpfs, remount, remount]), false).unwrap();
    for mounts in [
        json!([bind, remount]),
        json!([tmpfs, bind, remount]),
        json!([sysfs, remount]),
        json!([remount, tmpfs]),
    ] {
        checked(mounts, false).unwrap_err();
    }
    let attributes = json!({ "destination": "/x", "options": ["remount", "ro", "nosuid"] });
    checked(json!([bind, attributes]), false).unwrap();
}

#[test]
fn an_id_mapping_is_that_of_the_mount_or_of_the_container() {
    let mount = |options: Value| json!({ "destination": "/x", "source": "y", "options": options });
    let found = checked(json!([mount(json!(["rbind", "ridmap"]))]), true).unwrap();
    let range = |container, host, size| IdMapping {
        container,
        host,
        size,
    };
    let expected = Idmap {
        from: IdmapFrom::Ranges {
            uids: vec![range(0, 100_000, 10)],
            gids: vec![range(0, 100_000, 10)],
        },
        recursive: true,
    };
    assert_eq!(found[0].idmap, Some(expected));

    let mut own = mount(json!(["bind"]));
    own["uidMappings"] = json!([ { "containerID": 5, "hostID": 6, "size": 1 } ]);
    own["gidMappings"] = json!([ { "containerID": 7, "hostID": 8, "size": 1 } ]);
    let idmap = one(own).unwrap().idmap.unwrap();
    let expected = IdmapFrom::Ranges {
        uids: vec![range(5, 6, 1)],
        gids: vec![range(7, 8, 1)],
    };
    assert_eq!((idmap.from, idmap.recursive), (expected, false));
    assert!(one(mount(json!(["bind"]))).unwrap().idmap.is_none());
}

#[test]
fn what_is_filled_later_becomes_read_only_later() {
    let late = |mount: Value| one(mount).unwrap().is_readonly_late();
    assert!(late(
        json!({ "destination": "/x", "type": "tmpfs", "options": ["ro"] })
    ));
    assert!(late(
        json!({ "destination": "/dev", "type": "devtmpfs", "options": ["ro"] })
    ));
    assert!(!late(json!({ "destination": "/x", "type": "tmpfs" })));
    assert!(!late(
        json!({ "destination": "/sys", "type": "sysfs", "options": ["ro"] })
    ));
    assert!(!late(
        json!({ "destination": "/dev", "source": "/dev", "options": ["bind", "ro"] })
    ));
}
