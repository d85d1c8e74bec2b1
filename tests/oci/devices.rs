//! `linux.devices`, and which devices the control group lets through.

use serde_json::{Value, json};

use crate::support::{Bundle, Cgroups, covers};

fn device(kind: &str, path: &str, major: u32, minor: u32) -> Value {
    json!({ "type": kind, "path": path, "major": major, "minor": minor })
}

/// What is at a path of a container that has this device and is let to use all.
#[track_caller]
fn found(device: Value) -> Value {
    let path = device["path"].as_str().unwrap().to_owned();
    let outcome = Bundle::new()
        .add("linux.devices", device)
        .attempt_one(&format!("look {path}"));
    serde_json::from_str(outcome.detail()).unwrap_or_else(|_| panic!("{outcome}"))
}

#[test]
fn a_character_device() {
    covers(&[
        "linux.devices[].type: c, u",
        "linux.devices[].path",
        "linux.devices[].major, minor",
    ])
    .run(|| {
        for kind in ["c", "u"] {
            let found = found(device(kind, "/dev/own", 10, 229));
            assert_eq!(found["kind"], "char");
            assert_eq!(
                (&found["major"], &found["minor"]),
                (&json!(10), &json!(229))
            );
        }
    });
}

#[test]
fn a_block_device() {
    covers(&["linux.devices[].type: b"]).run(|| {
        let found = found(device("b", "/dev/disks/one", 7, 300));
        assert_eq!(found["kind"], "block");
        assert_eq!((&found["major"], &found["minor"]), (&json!(7), &json!(300)));
    });
}

#[test]
fn a_pipe() {
    covers(&["linux.devices[].type: p"]).run(|| {
        assert_eq!(
            found(json!({ "type": "p", "path": "/dev/pipe" }))["kind"],
            "fifo"
        );
    });
}

#[test]
fn whose_it_is() {
    covers(&[
        "linux.devices[].fileMode",
        "linux.devices[].uid",
        "linux.devices[].gid",
    ])
    .run(|| {
        let mut device = device("c", "/dev/own", 1, 3);
        device["fileMode"] = json!(0o640);
        device["uid"] = json!(11);
        device["gid"] = json!(22);
        let found = found(device);
        assert_eq!(found["mode"], json!(0o640));
        assert_eq!((&found["uid"], &found["gid"]), (&json!(11), &json!(22)));
    });
}

#[test]
fn a_usual_device_that_is_listed() {
    covers(&[
        "linux.devices[].fileMode",
        "dev: null, zero, full, random, urandom and tty",
    ])
    .known("runc", "1.1.5 makes the usual one instead")
    .run(|| {
        let mut device = device("c", "/dev/null", 1, 3);
        device["fileMode"] = json!(0o600);
        assert_eq!(found(device)["mode"], json!(0o600));
    });
}

#[test]
fn an_unknown_type_is_refused() {
    covers(&["linux.devices: an unknown type is refused"])
        .known("crun", "1.8 takes any letter")
        .run(|| {
            let bundle = Bundle::new().add("linux.devices", device("x", "/dev/own", 1, 3));
            bundle.run_refused();
        });
}

/// A container that may use the usual devices and what `rules` add, and has `/dev/kmsg` (1, 11)
/// and a loop device that does not exist (240, 77), for which there is no driver.
fn ruled(rules: &[Value]) -> Bundle {
    let bundle = Bundle::new()
        .add("linux.devices", device("c", "/dev/kmsg", 1, 11))
        .add("linux.devices", device("b", "/dev/none", 240, 77));
    let capabilities = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
    let all = json!({
        "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
    });
    let mut list = vec![json!({ "allow": false, "access": "rwm" })];
    list.extend(rules.iter().cloned());
    bundle
        .set("process.capabilities", all)
        .set("linux.resources.devices", json!(list))
}

fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> Value {
    json!({ "allow": allow, "type": kind, "major": major, "minor": minor, "access": access })
}

/// What opening the device comes to.
#[track_caller]
fn open(rules: &[Value], mode: &str) -> Option<i32> {
    ruled(rules)
        .attempt_one(&format!("open {mode} /dev/kmsg"))
        .errno()
}

#[test]
fn what_is_not_allowed_is_refused() {
    covers(&["linux.resources.devices[].allow"]).run(|| {
        assert_eq!(open(&[], "r"), Some(libc::EPERM));
        assert_eq!(open(&[rule(true, "c", 1, 11, "rwm")], "r"), Some(0));
    });
}

#[test]
fn reading_and_writing_apart() {
    covers(&["linux.resources.devices[].access"]).run(|| {
        let read = [rule(true, "c", 1, 11, "r")];
        assert_eq!(open(&read, "r"), Some(0));
        assert_eq!(open(&read, "w"), Some(libc::EPERM));
        let write = [rule(true, "c", 1, 11, "w")];
        assert_eq!(open(&write, "r"), Some(libc::EPERM));
        assert_eq!(open(&write, "w"), Some(0));
    });
}

#[test]
fn making_nodes() {
    covers(&["linux.resources.devices[].access"]).run(|| {
        let mknod = |rules: &[Value]| {
            let bundle = ruled(rules);
            let outcome = bundle.attempt_one("mknod /own/node char:1:11");
            outcome.errno()
        };
        assert_eq!(mknod(&[rule(true, "c", 1, 11, "m")]), Some(0));
    });
}

#[test]
fn all_of_a_number() {
    covers(&["linux.resources.devices[].major, minor"])
        .known_on(
            Cgroups::Version1,
            "crun",
            "1.8 takes a number that is absent for 0",
        )
        .run(|| {
            assert_eq!(open(&[rule(true, "c", 1, -1, "r")], "r"), Some(0));
            assert_eq!(open(&[rule(true, "c", 2, -1, "r")], "r"), Some(libc::EPERM));
            let without = json!({ "allow": true, "type": "c", "major": 1, "access": "r" });
            assert_eq!(open(&[without], "r"), Some(0));
        });
}

#[test]
fn of_a_type_only() {
    covers(&["linux.resources.devices[].type"]).run(|| {
        assert_eq!(
            open(&[rule(true, "b", 1, 11, "rwm")], "r"),
            Some(libc::EPERM)
        );
        // The device is let through, and is not there.
        let block = ruled(&[rule(true, "b", 240, 77, "r")]).attempt_one("open r /dev/none");
        assert_eq!(block.errno(), Some(libc::ENXIO));
        assert_eq!(
            ruled(&[]).attempt_one("open r /dev/none").errno(),
            Some(libc::EPERM)
        );
    });
}

#[test]
fn of_all_types() {
    covers(&["linux.resources.devices[].type"]).run(|| {
        let all = json!({ "allow": true, "type": "a", "access": "rwm" });
        assert_eq!(open(&[all], "r"), Some(0));
    });
}

#[test]
fn a_later_rule_goes_first() {
    covers(&["linux.resources.devices: in the order listed"]).run(|| {
        let allow = rule(true, "c", 1, 11, "rwm");
        let deny = rule(false, "c", 1, 11, "rwm");
        assert_eq!(open(&[allow.clone(), deny.clone()], "r"), Some(libc::EPERM));
        assert_eq!(open(&[deny, allow], "r"), Some(0));
    });
}

#[test]
fn a_refusal_within_what_is_allowed() {
    covers(&["linux.resources.devices: in the order listed"])
        .known(
            "runc",
            "1.1.5 cannot express it in version 1 and gives an error",
        )
        .known_on(
            Cgroups::Version1,
            "crun",
            "version 1 cannot express it, and 1.8 lets the device through",
        )
        .known_on(
            Cgroups::Version1,
            "reeve",
            "version 1 cannot express it, and the error says so",
        )
        .run(|| {
            let rules = [
                rule(true, "c", 1, -1, "rwm"),
                rule(false, "c", 1, 11, "rwm"),
            ];
            assert_eq!(open(&rules, "r"), Some(libc::EPERM));
        });
}

#[test]
fn the_usual_devices_are_let_through() {
    covers(&["linux.resources.devices[].allow"]).run(|| {
        let actions = [
            "open rw /dev/null",
            "open r /dev/zero",
            "open r /dev/urandom",
            "open rw /dev/full",
            "open rw /dev/ptmx",
        ];
        for outcome in ruled(&[]).attempt(&actions) {
            assert!(outcome.is_done(), "{outcome}");
        }
    });
}
