//! `mounts[].options`, one by one.

use reeve_tests::oci::mountinfo::Mount;

use crate::support::{Bundle, covers};

/// A tmpfs with these options.
#[track_caller]
fn tmpfs(options: &[&str]) -> Mount {
    Bundle::new()
        .mount("/own", "tmpfs", "tmpfs", options)
        .see()
        .mount("/own")
}

/// A bind mount of a directory of the host with these options.
#[track_caller]
fn bind(options: &[&str]) -> Mount {
    let bundle = Bundle::new();
    bundle.file("data/file", "x");
    let options = [&["bind"], options].concat();
    bundle
        .mount("/own", "bind", "data", &options)
        .see()
        .mount("/own")
}

/// `/own` and `/own/sub` of a recursive bind of two mounts in one another.
#[track_caller]
fn recursive(options: &[&str]) -> (Mount, Mount) {
    let options = [&["rbind"], options].concat();
    let seen = Bundle::new().mount("/own", "bind", "/dev", &options).see();
    (seen.mount("/own"), seen.mount("/own/pts"))
}

/// Both kinds of mounts have `set` with the option, and not with the opposite one.
#[track_caller]
fn switch(option: &str, opposite: &str, set: &str) {
    for mount in [tmpfs(&[option]), bind(&[option])] {
        assert!(mount.has(set), "{option}: {mount:?}");
    }
    for mount in [tmpfs(&[opposite]), bind(&[opposite])] {
        assert!(!mount.has(set), "{opposite}: {mount:?}");
    }
}

#[test]
fn of_two_opposites_the_last_holds() {
    covers(&["mounts[].options: rw", "mounts[].options: exec"])
        .known("crun", "1.8 sets an option that is taken back")
        .run(|| {
            let mount = bind(&["ro", "noexec", "nosuid", "exec", "rw", "suid"]);
            for option in ["ro", "noexec", "nosuid"] {
                assert!(!mount.has(option), "{option}: {mount:?}");
            }
        });
}

#[test]
fn of_two_opposites_the_last_holds_with_all_below() {
    covers(&["mounts[].options: rrw", "mounts[].options: rexec"])
        .known("crun", "1.8 sets an option that is taken back")
        .known("runc", "1.1.5 sets an option that is taken back")
        .run(|| {
            let (top, below) = recursive(&["rro", "rnoexec", "rexec", "rrw"]);
            for option in ["ro", "noexec"] {
                assert!(
                    !top.has(option) && !below.has(option),
                    "{option}: {top:?} {below:?}"
                );
            }
        });
}

#[test]
fn read_only() {
    covers(&["mounts[].options: ro", "mounts[].options: rw"]).run(|| switch("ro", "rw", "ro"));
}

#[test]
fn no_set_user_id() {
    covers(&["mounts[].options: nosuid", "mounts[].options: suid"])
        .run(|| switch("nosuid", "suid", "nosuid"));
}

#[test]
fn no_devices() {
    covers(&["mounts[].options: nodev", "mounts[].options: dev"])
        .run(|| switch("nodev", "dev", "nodev"));
}

#[test]
fn no_programs() {
    covers(&["mounts[].options: noexec", "mounts[].options: exec"])
        .run(|| switch("noexec", "exec", "noexec"));
}

#[test]
fn no_times_of_access() {
    covers(&["mounts[].options: noatime", "mounts[].options: atime"])
        .run(|| switch("noatime", "atime", "noatime"));
}

#[test]
fn no_times_of_access_for_directories() {
    covers(&["mounts[].options: nodiratime", "mounts[].options: diratime"])
        .run(|| switch("nodiratime", "diratime", "nodiratime"));
}

#[test]
fn relative_times_of_access() {
    covers(&["mounts[].options: relatime"]).run(|| {
        assert!(tmpfs(&["relatime"]).has("relatime"));
        assert!(bind(&["relatime"]).has("relatime"));
    });
}

#[test]
fn strict_times_of_access() {
    covers(&[
        "mounts[].options: strictatime",
        "mounts[].options: nostrictatime",
    ])
    .run(|| {
        let mount = tmpfs(&["strictatime"]);
        assert!(!mount.has("relatime") && !mount.has("noatime"), "{mount:?}");
        assert!(tmpfs(&["nostrictatime"]).has("relatime"));
    });
}

#[test]
fn no_relative_times_of_access() {
    covers(&["mounts[].options: norelatime"]).run(|| {
        // Relative times are the kernel's default; the option takes back an earlier `relatime`.
        assert_eq!(tmpfs(&["norelatime"]).point, "/own");
    });
}

#[test]
fn no_symbolic_links() {
    covers(&[
        "mounts[].options: nosymfollow",
        "mounts[].options: symfollow",
    ])
    .known("crun", "1.8 knows no such option")
    .run(|| switch("nosymfollow", "symfollow", "nosymfollow"));
}

/// A file system of its own has `set` with the option, and not with the opposite one.
#[track_caller]
fn of_super_block(option: &str, opposite: &str, set: &str) {
    let mount = tmpfs(&[option]);
    assert!(mount.super_has(set), "{option}: {mount:?}");
    let mount = tmpfs(&[opposite]);
    assert!(!mount.super_has(set), "{opposite}: {mount:?}");
}

#[test]
fn writes_at_once() {
    covers(&["mounts[].options: sync", "mounts[].options: async"])
        .run(|| of_super_block("sync", "async", "sync"));
}

#[test]
fn directories_at_once() {
    covers(&["mounts[].options: dirsync"])
        .run(|| assert!(tmpfs(&["dirsync"]).super_has("dirsync")));
}

#[test]
fn lazy_times() {
    covers(&["mounts[].options: lazytime", "mounts[].options: nolazytime"])
        .run(|| of_super_block("lazytime", "nolazytime", "lazytime"));
}

/// The option is taken, and no file system gets it as its own.
#[track_caller]
fn taken(option: &str) {
    let mount = tmpfs(&[option]);
    assert!(
        mount.has("rw") && !mount.super_has(option),
        "{option}: {mount:?}"
    );
}

#[test]
fn the_defaults() {
    covers(&["mounts[].options: defaults"])
        .known(
            "runc",
            "1.1.5 hands it to the file system, which refuses it",
        )
        .run(|| taken("defaults"));
}

#[test]
fn silent_and_loud() {
    covers(&["mounts[].options: silent", "mounts[].options: loud"])
        .known(
            "crun",
            "1.8 hands `loud` to the file system, which refuses it",
        )
        .run(|| ["silent", "loud"].into_iter().for_each(taken));
}

#[test]
fn versions_of_inodes() {
    covers(&["mounts[].options: iversion", "mounts[].options: noiversion"])
        .known(
            "crun",
            "1.8 hands `noiversion` to the file system, which refuses it",
        )
        .run(|| ["iversion", "noiversion"].into_iter().for_each(taken));
}

#[test]
fn a_mount_changed_again() {
    covers(&["mounts[].options: remount"]).run(|| {
        let bundle = Bundle::new().mount("/own", "tmpfs", "tmpfs", &["rw"]);
        let bundle = bundle.mount("/own", "tmpfs", "tmpfs", &["remount", "ro"]);
        let seen = bundle.see();
        assert!(seen.mount("/own").has("ro") || seen.mount("/own").super_has("ro"));
        let count = seen
            .mounts()
            .iter()
            .filter(|mount| mount.point == "/own")
            .count();
        assert_eq!(count, 1);
    });
}

#[test]
fn a_shared_mount() {
    covers(&["mounts[].options: shared", "mounts[].options: rshared"])
        .known("crun", "1.8 makes it private again with the whole root")
        .run(|| {
            assert!(tmpfs(&["shared"]).propagates("shared"));
            let (top, below) = recursive(&["rshared"]);
            assert!(top.propagates("shared") && below.propagates("shared"));
        });
}

#[test]
fn an_unbindable_mount() {
    covers(&[
        "mounts[].options: unbindable",
        "mounts[].options: runbindable",
    ])
    .known("crun", "1.8 makes it private again with the whole root")
    .run(|| {
        assert!(tmpfs(&["unbindable"]).propagates("unbindable"));
        let (top, below) = recursive(&["runbindable"]);
        assert!(top.propagates("unbindable") && below.propagates("unbindable"));
    });
}

#[test]
fn a_private_mount() {
    covers(&[
        "mounts[].options: private",
        "mounts[].options: rprivate",
        "mounts[].options: slave",
        "mounts[].options: rslave",
    ])
    .run(|| {
        for option in ["private", "slave"] {
            assert!(!tmpfs(&[option]).propagates("shared"), "{option}");
        }
        for option in ["rprivate", "rslave"] {
            let (top, below) = recursive(&[option]);
            assert!(
                !top.propagates("shared") && !below.propagates("shared"),
                "{option}"
            );
        }
    });
}

#[test]
fn a_bind_mount_keeps_what_the_source_forbids() {
    covers(&["mounts[].options: bind", "mounts[].options: ro"]).run(|| {
        let seen = Bundle::new()
            .mount("/own", "bind", "/dev/pts", &["bind", "ro"])
            .see();
        let mount = seen.mount("/own");
        assert!(mount.has("ro"), "{mount:?}");
        assert!(
            !mount.super_has("ro"),
            "the host's file system was changed: {mount:?}"
        );
    });
}

/// The recursive option sets `set` on both mounts; its opposite takes it from both.
#[track_caller]
fn recursive_switch(option: &str, opposite: &str, set: &str) {
    let (top, below) = recursive(&[option]);
    assert!(
        top.has(set) && below.has(set),
        "{option}: {top:?} {below:?}"
    );
    let mount = tmpfs(&[opposite]);
    assert!(!mount.has(set), "{opposite}: {mount:?}");
}

#[test]
fn read_only_with_all_below() {
    covers(&["mounts[].options: rro", "mounts[].options: rrw"])
        .run(|| recursive_switch("rro", "rrw", "ro"));
}

#[test]
fn no_set_user_id_with_all_below() {
    covers(&["mounts[].options: rnosuid", "mounts[].options: rsuid"])
        .run(|| recursive_switch("rnosuid", "rsuid", "nosuid"));
}

#[test]
fn no_devices_with_all_below() {
    covers(&["mounts[].options: rnodev", "mounts[].options: rdev"])
        .run(|| recursive_switch("rnodev", "rdev", "nodev"));
}

#[test]
fn no_programs_with_all_below() {
    covers(&["mounts[].options: rnoexec", "mounts[].options: rexec"])
        .run(|| recursive_switch("rnoexec", "rexec", "noexec"));
}

#[test]
fn no_times_of_access_with_all_below() {
    covers(&["mounts[].options: rnoatime", "mounts[].options: ratime"])
        .known("crun", "1.8 asks the kernel for what it refuses")
        .run(|| recursive_switch("rnoatime", "ratime", "noatime"));
}

#[test]
fn no_times_of_access_for_directories_with_all_below() {
    covers(&[
        "mounts[].options: rnodiratime",
        "mounts[].options: rdiratime",
    ])
    .known("crun", "1.8 asks the kernel for what it refuses")
    .run(|| recursive_switch("rnodiratime", "rdiratime", "nodiratime"));
}

#[test]
fn kinds_of_times_of_access_with_all_below() {
    covers(&[
        "mounts[].options: rrelatime",
        "mounts[].options: rnorelatime",
        "mounts[].options: rstrictatime",
        "mounts[].options: rnostrictatime",
    ])
    .known("runc", "1.1.5 asks the kernel for what it refuses")
    .known("crun", "1.8 asks the kernel for what it refuses")
    .run(|| {
        let (top, below) = recursive(&["rrelatime"]);
        assert!(top.has("relatime") && below.has("relatime"));
        let (top, below) = recursive(&["rstrictatime"]);
        assert!(!top.has("relatime") && !below.has("relatime"));
        for option in ["rnorelatime", "rnostrictatime"] {
            assert_eq!(recursive(&[option]).0.point, "/own");
        }
    });
}

#[test]
fn no_symbolic_links_with_all_below() {
    covers(&[
        "mounts[].options: rnosymfollow",
        "mounts[].options: rsymfollow",
    ])
    .known("crun", "1.8 does not know the option")
    .run(|| recursive_switch("rnosymfollow", "rsymfollow", "nosymfollow"));
}
