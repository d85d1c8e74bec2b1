//! `mounts` and `root`: what is where.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::bundle::exists;
use crate::support::{Bundle, Cgroups, Need, Seen, covers};

#[test]
fn the_usual_file_systems() {
    covers(&[
        "mounts[].destination",
        "mounts[].type",
        "mounts: proc, sysfs, tmpfs, devpts, mqueue",
    ])
    .run(|| {
        let seen = Bundle::new().see();
        let wanted = [
            ("/proc", "proc"),
            ("/dev", "tmpfs"),
            ("/dev/pts", "devpts"),
            ("/dev/shm", "tmpfs"),
            ("/dev/mqueue", "mqueue"),
            ("/sys", "sysfs"),
        ];
        for (point, kind) in wanted {
            assert_eq!(seen.mount(point).kind, kind, "{point}");
        }
        assert!(seen.mount("/sys").has("ro"));
        assert!(seen.mount("/dev").super_has("size=65536k"));
    });
}

#[test]
fn a_missing_destination_is_made() {
    covers(&["mounts[].destination: made if missing"]).run(|| {
        let bundle = Bundle::doing(&["see"]).mount("/own/a/b/c", "tmpfs", "tmpfs", &[]);
        let seen = Seen::of(&bundle.run().succeeded());
        assert_eq!(seen.mount("/own/a/b/c").kind, "tmpfs");
        assert!(bundle.rootfs().join("own/a/b/c").is_dir());
    });
}

#[test]
fn a_link_stays_in_the_root() {
    covers(&["mounts[].destination: a symbolic link stays in the root"]).run(|| {
        let bundle = Bundle::doing(&["see"]);
        let outside = bundle.directory.join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, bundle.rootfs().join("link")).unwrap();
        let bundle = bundle.mount("/link/deep", "tmpfs", "tmpfs", &[]);
        let ended = bundle.run();
        assert!(!exists(outside.join("deep")), "{}", ended.story());
        if ended.status.success() {
            let within = outside.join("deep");
            Seen::of(&ended).mount(within.to_str().unwrap());
        }
    });
}

#[test]
fn dots_stay_in_the_root() {
    covers(&["mounts[].destination: `..` stays in the root"]).run(|| {
        let bundle = Bundle::doing(&["see"]);
        let bundle = bundle.mount("/own/../../../../escaped", "tmpfs", "tmpfs", &[]);
        let ended = bundle.run();
        assert!(!exists("/escaped") && !exists(bundle.directory.join("escaped")));
        if ended.status.success() {
            assert_eq!(Seen::of(&ended).mount("/escaped").kind, "tmpfs");
        }
    });
}

#[test]
fn a_bind_mount_of_a_directory_beside_the_config() {
    covers(&[
        "mounts[].source: relative to the bundle",
        "mounts[].options: bind",
    ])
    .run(|| {
        let bundle = Bundle::doing(&["text /own/data/file"]);
        bundle.file("data/file", "content");
        let bundle = bundle.mount("/own/data", "bind", "data", &["bind"]);
        bundle.write();
        let mut run = bundle.command("run", &["--bundle", &bundle.at("")], &[]);
        let ended = crate::support::command::run(run.current_dir("/"), &bundle.directory);
        assert_eq!(ended.succeeded().outcomes()[0].detail(), "\"content\"");
    });
}

#[test]
fn a_bind_mount_of_a_file() {
    covers(&["mounts: a bind of a file"]).run(|| {
        let bundle = Bundle::doing(&["text /own/new/file", "write /own/new/file changed"]);
        let file = bundle.file("file", "content");
        let source = file.to_str().unwrap();
        let bundle = bundle.mount("/own/new/file", "none", source, &["bind", "rw"]);
        let ended = bundle.run().succeeded();
        assert_eq!(ended.outcomes()[0].detail(), "\"content\"");
        assert_eq!(fs::read_to_string(&file).unwrap(), "changed");
    });
}

#[test]
fn a_missing_source_is_an_error() {
    covers(&["mounts[].source: missing is an error"]).run(|| {
        let bundle = Bundle::new().mount("/own", "bind", "/no/such/source", &["bind"]);
        bundle.run_refused().refused_naming(&["/no/such/source"]);
    });
}

#[test]
fn an_unknown_type_is_an_error() {
    covers(&["mounts[].type: an unknown one is an error"]).run(|| {
        Bundle::new()
            .mount("/own", "no-such-fs", "none", &[])
            .run_refused();
    });
}

#[test]
fn later_ones_lie_over_earlier_ones() {
    covers(&["mounts: in the order listed"]).run(|| {
        let bundle = Bundle::new().mount("/own", "tmpfs", "first", &[]);
        let bundle = bundle.mount("/own/sub", "tmpfs", "second", &[]);
        let seen = bundle.mount("/own/sub", "tmpfs", "third", &[]).see();
        let sources: Vec<String> = seen
            .mounts()
            .into_iter()
            .filter(|mount| mount.kind == "tmpfs")
            .map(|mount| mount.source)
            .collect();
        let last: Vec<&String> = sources.iter().rev().take(3).rev().collect();
        assert_eq!(last, ["first", "second", "third"]);
        assert_eq!(seen.mount("/own/sub").source, "third");
    });
}

#[test]
fn options_of_the_file_system() {
    covers(&["mounts[].options: of the file system"]).run(|| {
        let options = ["size=1m", "uid=5", "gid=6", "nr_inodes=100"];
        let bundle = Bundle::doing(&["see", "look /own"]);
        let bundle = bundle.mount("/own", "tmpfs", "tmpfs", &options);
        let ended = bundle.run().succeeded();
        let mount = Seen::of(&ended).mount("/own");
        assert!(
            mount.super_has("size=1024k") && mount.super_has("nr_inodes=100"),
            "{mount:?}"
        );
        let look: Value = serde_json::from_str(ended.outcomes()[1].detail()).unwrap();
        assert_eq!((&look["uid"], &look["gid"]), (&json!(5), &json!(6)));
        let bundle = Bundle::new().mount("/own", "tmpfs", "tmpfs", &["no-such-option=1"]);
        bundle.run_refused();
    });
}

#[test]
fn the_mode_of_a_tmpfs() {
    covers(&["mounts[].options: of the file system"])
        .known("runc", "1.1.5 gives it the mode of the directory below")
        .run(|| {
            let bundle = Bundle::new().mount("/own", "tmpfs", "tmpfs", &["mode=0711"]);
            let outcome = bundle.attempt_one("look /own");
            let look: Value = serde_json::from_str(outcome.detail()).unwrap();
            assert_eq!(look["mode"], json!(0o711));
        });
}

#[test]
fn a_tmpfs_with_what_was_there() {
    covers(&["mounts[].options: tmpcopyup"]).run(|| {
        let bundle = Bundle::doing(&["text /own/dir/file", "write /own/dir/file new"]);
        let file = bundle.file("rootfs/own/dir/file", "content");
        let bundle = bundle.mount("/own", "tmpfs", "tmpfs", &["tmpcopyup"]);
        let ended = bundle.run().succeeded();
        assert_eq!(ended.outcomes()[0].detail(), "\"content\"");
        assert!(ended.outcomes()[1].is_done());
        assert_eq!(fs::read_to_string(file).unwrap(), "content");
    });
}

#[test]
fn control_groups() {
    covers(&["mounts: cgroup"])
        .known_on(Cgroups::Version1, "crun", "1.8 mounts them writable")
        .run(|| {
            let options = ["nosuid", "noexec", "nodev", "relatime", "ro"];
            let bundle = Bundle::doing(&["see", "list /sys/fs/cgroup", "mkdir /sys/fs/cgroup/new"]);
            let bundle = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &options);
            let ended = bundle.namespace("cgroup", None).run().succeeded();
            let seen = Seen::of(&ended);
            match Cgroups::of_host() {
                Cgroups::Version2 => assert_eq!(seen.mount("/sys/fs/cgroup").kind, "cgroup2"),
                Cgroups::Version1 => assert_eq!(seen.mount("/sys/fs/cgroup/memory").kind, "cgroup"),
            }
            assert!(!ended.outcomes()[2].is_done(), "it is writable");
        });
}

#[test]
fn the_root_by_a_relative_path() {
    covers(&["root.path"]).run(|| {
        let bundle = Bundle::doing(&["look /probe", "look /config.json"]);
        let outcomes = bundle.attempt(&["look /probe", "look /config.json"]);
        assert!(outcomes[0].is_done());
        assert_eq!(outcomes[1].errno(), Some(libc::ENOENT));
    });
}

#[test]
fn the_root_by_an_absolute_path() {
    covers(&["root.path: absolute"]).run(|| {
        let other = Bundle::new();
        other.file("rootfs/own/mark", "other");
        let root = json!(other.rootfs());
        let outcome = Bundle::new()
            .set("root.path", root)
            .attempt_one("text /own/mark");
        assert_eq!(outcome.detail(), "\"other\"");
    });
}

#[test]
fn a_root_that_is_read_only() {
    covers(&["root.readonly"]).run(|| {
        let actions = ["create /own/new", "create /dev/shm/new", "see"];
        let outcomes = Bundle::new()
            .set("root.readonly", json!(true))
            .attempt(&actions);
        assert_eq!(outcomes[0].errno(), Some(libc::EROFS));
        assert!(outcomes[1].is_done(), "{}", outcomes[1]);
        let outcomes = Bundle::new()
            .set("root.readonly", json!(false))
            .attempt(&actions);
        assert!(outcomes[0].is_done());
    });
}

#[test]
fn mounts_below_a_read_only_root_are_made() {
    covers(&["root.readonly", "mounts[].destination: made if missing"]).run(|| {
        let bundle = Bundle::new().set("root.readonly", json!(true));
        let outcomes = bundle
            .mount("/own/made", "tmpfs", "tmpfs", &[])
            .attempt(&["create /own/made/file", "create /own/file"]);
        assert!(outcomes[0].is_done());
        assert_eq!(outcomes[1].errno(), Some(libc::EROFS));
    });
}

#[test]
fn nothing_of_the_host_is_left() {
    covers(&["root.path", "linux.namespaces[].type: mount"]).run(|| {
        let seen = Bundle::new().see();
        let points: Vec<String> = seen.mounts().into_iter().map(|mount| mount.point).collect();
        let known = [
            "/",
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/shm",
            "/dev/mqueue",
            "/sys",
        ];
        assert_eq!(points, known);
    });
}

/// A mount with mapped ids: what 0 owns on disk shows as 1000 in the container, or the reverse.
fn mapped(options: &[&str], mappings: bool) -> Bundle {
    let bundle = Bundle::doing(&["look /own/data/file"]);
    bundle.file("data/file", "x");
    let mut mount = json!({
        "destination": "/own/data", "type": "bind", "source": bundle.at("data"),
        "options": options,
    });
    if mappings {
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 65536 }]);
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map;
    }
    bundle.add("mounts", mount)
}

fn owner(bundle: &Bundle) -> Value {
    let ended = bundle.run().succeeded();
    let outcome = ended.outcomes().remove(0);
    let look: Value =
        serde_json::from_str(outcome.detail()).unwrap_or_else(|_| panic!("{outcome}"));
    look["uid"].clone()
}

#[test]
fn a_mount_with_mapped_owners() {
    covers(&["mounts[].uidMappings", "mounts[].gidMappings"])
        .known("runc", "1.1.5 knows no mapped mounts")
        .run(|| assert_eq!(owner(&mapped(&["bind"], true)), 1000));
}

#[test]
fn a_mount_with_mapped_owners_by_option() {
    covers(&["mounts[].options: idmap"])
        .known("runc", "1.1.5 knows no mapped mounts")
        .run(|| assert_eq!(owner(&mapped(&["bind", "idmap"], true)), 1000));
}

#[test]
fn a_recursive_mount_with_mapped_owners() {
    covers(&["mounts[].options: ridmap"])
        .known("runc", "1.1.5 knows no mapped mounts")
        .run(|| assert_eq!(owner(&mapped(&["rbind", "ridmap"], true)), 1000));
}

#[test]
fn a_bind_mount_brings_what_is_mounted_below_on_request() {
    covers(&["mounts[].options: bind", "mounts[].options: rbind"])
        .needs(Need::File("/proc"))
        .run(|| {
            let below = |option: &str| {
                let bundle = Bundle::new().mount("/own/dev", "bind", "/dev", &[option]);
                bundle
                    .see()
                    .mounts()
                    .iter()
                    .any(|mount| mount.point == "/own/dev/pts")
            };
            assert!(below("rbind"));
            assert!(!below("bind"));
        });
}
