//! User namespaces and their mappings.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::seen::own_namespace;
use crate::support::{Bundle, Seen, covers};

const FIRST: u32 = 100_000;

fn mapping() -> Value {
    json!([{ "containerID": 0, "hostID": FIRST, "size": 65536 }])
}

/// Gives a tree to the container's root.
fn give(path: &Path) {
    // The programs are shared by all roots and stay whose they are.
    if path.is_file() {
        return;
    }
    lchown(path, Some(FIRST), Some(FIRST)).unwrap();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give(&entry.path());
    }
}

fn mapped() -> Bundle {
    let mut bundle = Bundle::new()
        .namespace("user", None)
        .set("linux.uidMappings", mapping())
        .set("linux.gidMappings", mapping());
    give(&bundle.rootfs());
    bundle.change("linux.resources", json!({}));
    bundle
}

#[test]
fn a_new_one() {
    covers(&[
        "linux.namespaces[].type: user",
        "linux.uidMappings[]",
        "linux.gidMappings[]",
    ])
    .run(|| {
        let seen = mapped().see();
        assert_ne!(seen.namespace("user"), own_namespace("user"));
        for name in ["uid_map", "gid_map"] {
            let words: Vec<&str> = seen.file(name).split_whitespace().collect();
            assert_eq!(words, ["0", "100000", "65536"], "{name}");
        }
        assert_eq!(seen.ids("Uid"), [0; 4]);
        assert_eq!(seen.ids("Gid"), [0; 4]);
    });
}

#[test]
fn files_have_the_mapped_owner() {
    covers(&["linux.uidMappings[]", "linux.gidMappings[]"]).run(|| {
        use std::os::unix::fs::MetadataExt as _;
        let bundle = mapped().actions(&["create /own/file"]);
        let user = json!({ "uid": 7, "gid": 8 });
        let bundle = bundle.set("process.user", user);
        lchown(
            bundle.rootfs().join("own"),
            Some(FIRST + 7),
            Some(FIRST + 8),
        )
        .unwrap();
        bundle.run().succeeded();
        let found = fs::metadata(bundle.rootfs().join("own/file")).unwrap();
        assert_eq!((found.uid(), found.gid()), (FIRST + 7, FIRST + 8));
    });
}

#[test]
fn several_mappings() {
    covers(&["linux.uidMappings[]", "linux.gidMappings[]"]).run(|| {
        let list = json!([
            { "containerID": 0, "hostID": FIRST, "size": 10 },
            { "containerID": 10, "hostID": 300_000, "size": 5 },
            { "containerID": 15, "hostID": 200_000, "size": 100 },
        ]);
        let bundle = mapped().set("linux.uidMappings", list.clone());
        let seen = bundle.set("linux.gidMappings", list).see();
        let lines: Vec<Vec<&str>> = seen
            .file("uid_map")
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines,
            [
                ["0", "100000", "10"],
                ["10", "300000", "5"],
                ["15", "200000", "100"]
            ]
        );
    });
}

#[test]
fn devices_are_the_hosts() {
    covers(&["linux.devices: in a user namespace"]).run(|| {
        let outcomes = mapped().attempt(&["look /dev/null", "open rw /dev/null", "see"]);
        let look: Value = serde_json::from_str(outcomes[0].detail()).unwrap();
        assert_eq!(
            (&look["kind"], &look["major"], &look["minor"]),
            (&json!("char"), &json!(1), &json!(3))
        );
        assert!(outcomes[1].is_done());
    });
}

#[test]
fn capabilities_are_the_namespaces() {
    covers(&[
        "linux.namespaces[].type: user",
        "process.capabilities.effective",
    ])
    .run(|| {
        let list = json!(["CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_CHOWN"]);
        let all = json!({ "bounding": list, "effective": list, "permitted": list });
        let bundle = mapped().set("process.capabilities", all);
        let outcomes = bundle.attempt(&["sethostname inside", "settime", "chown /own 3 3"]);
        assert!(outcomes[0].is_done(), "{}", outcomes[0]);
        assert_eq!(outcomes[1].errno(), Some(libc::EPERM));
        assert!(outcomes[2].is_done(), "{}", outcomes[2]);
    });
}

#[test]
fn the_namespace_of_another() {
    covers(&["linux.namespaces[].path: user"])
        .known("runc", "1.1.5 asks for mappings all the same")
        .run(|| {
            let holder = mapped().actions(&["block 15", "until 15"]);
            holder.launch();
            let path = format!("/proc/{}/ns/user", holder.pid());
            let link = fs::read_link(&path).unwrap();
            let bundle = mapped()
                .without("linux.uidMappings")
                .without("linux.gidMappings");
            let ended = bundle
                .namespace("user", Some(&path))
                .actions(&["see"])
                .run();
            let seen = Seen::of(&ended.succeeded());
            assert_eq!(seen.namespace("user"), link.to_str().unwrap());
            assert_eq!(seen.ids("Uid"), [0; 4]);
        });
}

#[test]
fn mappings_are_needed() {
    covers(&["linux.uidMappings[]"])
        .known("crun", "1.8 makes up a mapping")
        .run(|| {
            let bundle = mapped()
                .without("linux.uidMappings")
                .without("linux.gidMappings");
            bundle.run_refused();
        });
}

#[test]
fn a_user_outside_the_mapping_is_an_error() {
    covers(&["linux.uidMappings[]", "process.user.uid"]).run(|| {
        mapped()
            .set("process.user.uid", json!(70_000))
            .run_refused();
    });
}
