//! What a configuration may say, and what is refused by name.

mod attributes;
mod seccomp;

use std::path::Path;

use oci_spec::runtime::Capability;
use rustix::thread::CapabilitySet;
use serde_json::{Value, json};

use super::*;

fn base() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs", "readonly": true },
        "process": { "cwd": "/", "args": ["sh"], "env": ["PATH=/bin"],
                     "user": { "uid": 0, "gid": 0 } },
        "linux": { "namespaces": [ { "type": "pid" }, { "type": "mount" }, { "type": "uts" } ] }
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut config = base();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[name] = value;
    config
}

fn check(config: Value) -> Result<Spec, Error> {
    Spec::check(&serde_json::from_value(config).unwrap(), Path::new("/b"))
}

fn message(config: Value) -> String {
    let error = check(config).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn a_small_configuration_is_accepted() {
    let spec = check(base()).unwrap();
    assert_eq!(spec.rootfs, Path::new("/b/rootfs"));
    assert!(spec.readonly_rootfs);
    assert!(spec.namespaces.own(NamespaceKind::Pid));
    assert!(!spec.namespaces.private(NamespaceKind::Network));
    assert_eq!(spec.process.capabilities.bounding, CapabilitySet::empty());
}

#[test]
fn wrong_values_are_named() {
    for (pointer, value, expected) in [
        ("/process/args", json!([]), "`process.args`: missing"),
        (
            "/process/cwd",
            json!("tmp"),
            "`process.cwd`: `tmp` is not an absolute path",
        ),
        (
            "/process/env",
            json!(["A"]),
            "`process.env[0]`: `A` is not of the form NAME=value",
        ),
        (
            "/mounts",
            json!([ { "destination": "/a/../b", "type": "tmpfs" } ]),
            "`mounts[0].destination`: `/a/../b` contains `..`",
        ),
        (
            "/mounts",
            json!([ { "destination": "/a", "source": "/b", "options": ["bind", "size=1"] } ]),
            "`mounts[0].options`: a bind mount takes no file system option `size`",
        ),
        (
            "/linux/sysctl",
            json!({ "kernel.core_pattern": "|/x" }),
            "`linux.sysctl[kernel.core_pattern]`: not a parameter of a namespace",
        ),
        (
            "/linux/sysctl",
            json!({ "net.ipv4.ip_forward": "1" }),
            "`linux.sysctl[net.ipv4.ip_forward]`: needs a new network namespace",
        ),
        (
            "/linux/cgroupsPath",
            json!("system:reeve:x"),
            "`linux.cgroupsPath`: `system` is none of the accepted values",
        ),
        (
            "/linux/namespaces",
            json!([]),
            "`linux.namespaces`: needs a new mount namespace",
        ),
        (
            "/process/capabilities",
            json!({ "effective": ["CAP_SYS_ADMIN"] }),
            "`process.capabilities.effective`: CAP_SYS_ADMIN is not in `permitted`",
        ),
        (
            "/process/rlimits",
            json!([ { "type": "RLIMIT_NOFILE", "soft": 2, "hard": 1 } ]),
            "`process.rlimits[0]`: the soft limit 2 is above the hard limit 1",
        ),
    ] {
        named(pointer, value, expected);
    }
}

#[test]
fn wrong_hooks_and_clocks_are_named() {
    for (pointer, value, expected) in [
        (
            "/hooks",
            json!({ "prestart": [ { "path": "bin/x" } ] }),
            "`hooks.prestart[0].path`: `bin/x` is not an absolute path",
        ),
        (
            "/hooks",
            json!({ "poststop": [ { "path": "/bin/x", "timeout": 0 } ] }),
            "`hooks.poststop[0].timeout`: 0 is out of range",
        ),
        (
            "/linux/timeOffsets",
            json!({ "boottime": { "secs": 5 } }),
            "`linux.timeOffsets[boottime]`: needs a new time namespace",
        ),
    ] {
        named(pointer, value, expected);
    }
}

fn named(pointer: &str, value: Value, expected: &str) {
    let text = message(with(pointer, value));
    assert_eq!(text, format!("config.json: {expected}"));
}

#[test]
fn mount_options_are_sorted_by_what_they_change() {
    let spec = check(with(
        "/mounts",
        json!([
            { "destination": "/t", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "ro", "rw", "sync"] },
            { "destination": "/h", "source": "host", "options": ["rbind", "rro", "rslave"] },
        ]),
    ))
    .unwrap();
    let tmpfs = &spec.mounts[0];
    assert_eq!(tmpfs.attrs.set, attr::NOSUID | attr::STRICTATIME);
    assert_eq!(tmpfs.attrs.clear & attr::RDONLY, attr::RDONLY);
    let MountKind::New { options, .. } = &tmpfs.kind else {
        panic!("not a new file system")
    };
    assert_eq!(options[0], ("mode".to_owned(), Some("755".to_owned())));
    assert_eq!(options[1], ("sync".to_owned(), None));
    let bind = &spec.mounts[1];
    assert_eq!(bind.recursive_attrs.set, attr::RDONLY);
    assert_eq!(bind.propagation, [(libc::MS_SLAVE, true)]);
    assert_eq!(
        bind.kind,
        MountKind::Bind {
            source: "/b/host".into(),
            recursive: true,
            link: SourceLink::Follow,
        }
    );
}

#[test]
fn every_capability_of_the_specification_has_its_number() {
    let last = CapabilitySet::CHECKPOINT_RESTORE.bits().trailing_zeros();
    for number in 0..=last {
        let set = CapabilitySet::from_bits_retain(1 << number);
        let (name, _) = set.iter_names().next().unwrap();
        let raw: Capability = serde_json::from_value(json!(format!("CAP_{name}"))).unwrap();
        assert_eq!(
            CapabilitySet::from_name(&raw.to_string()),
            Some(set),
            "{name}"
        );
    }
}

#[test]
fn ids_are_one_path_component() {
    for good in ["a", "0", "web-1.2_x+y", "-x"] {
        assert!(good.parse::<ContainerId>().is_ok(), "{good}");
    }
    for bad in [
        "",
        ".",
        "..",
        ".a",
        "a/b",
        "a b",
        "ä",
        "a\n",
        &"x".repeat(256),
    ] {
        assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
    }
}
