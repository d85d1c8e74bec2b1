//! `maskedPaths`, `readonlyPaths`, `rootfsPropagation`, `sysctl`.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Bundle, Seen, command, covers};

#[test]
fn a_masked_file() {
    covers(&["linux.maskedPaths: files"]).run(|| {
        let bundle = Bundle::new();
        bundle.file("rootfs/own/secret", "content");
        let bundle = bundle.set("linux.maskedPaths", json!(["/own/secret", "/proc/version"]));
        let outcomes = bundle.attempt(&["text /own/secret", "text /proc/version"]);
        assert_eq!(outcomes[0].detail(), "\"\"");
        assert_eq!(outcomes[1].detail(), "\"\"");
    });
}

#[test]
fn a_masked_directory() {
    covers(&["linux.maskedPaths: directories"]).run(|| {
        let bundle = Bundle::new();
        bundle.file("rootfs/own/dir/secret", "content");
        let bundle = bundle.set("linux.maskedPaths", json!(["/own/dir", "/proc/sys/kernel"]));
        let outcomes = bundle.attempt(&[
            "look /own/dir",
            "create /own/dir/new",
            "list /proc/sys/kernel",
        ]);
        let look: Value = serde_json::from_str(outcomes[0].detail()).unwrap();
        assert_eq!(look["entries"], 0);
        assert_eq!(outcomes[1].errno(), Some(libc::EROFS));
        assert_eq!(outcomes[2].detail().trim(), "0");
    });
}

#[test]
fn masked_paths_that_are_not_there() {
    covers(&["linux.maskedPaths: a missing path is passed over"]).run(|| {
        let paths = json!(["/no/such/path", "/own/none", "/etc/x/y"]);
        Bundle::new()
            .set("linux.maskedPaths", paths)
            .run()
            .succeeded();
    });
}

#[test]
fn read_only_paths() {
    covers(&["linux.readonlyPaths"]).run(|| {
        let bundle = Bundle::new();
        let file = bundle.file("rootfs/own/dir/file", "content");
        let paths = json!(["/own/dir", "/proc/sys"]);
        let outcomes = bundle.set("linux.readonlyPaths", paths).attempt(&[
            "text /own/dir/file",
            "open w /own/dir/file",
            "create /own/dir/new",
            "create /own/new",
            "open w /proc/sys/kernel/domainname",
            "see",
        ]);
        assert_eq!(outcomes[0].detail(), "\"content\"");
        for denied in [1, 2, 4] {
            assert_eq!(outcomes[denied].errno(), Some(libc::EROFS), "{denied}");
        }
        assert!(outcomes[3].is_done());
        assert!(!file.exists(), "the bundle is gone with the attempt");
        let seen: Value = serde_json::from_str(outcomes[5].detail()).unwrap();
        // What its mount was like stays.
        let mount = Seen(seen).mount("/proc/sys");
        assert!(mount.has("ro"), "{mount:?}");
    });
}

#[test]
fn a_read_only_path_keeps_other_options() {
    covers(&["linux.readonlyPaths"])
        .known("crun", "1.8 loses them")
        .run(|| {
            let options = ["nosuid", "noexec", "nodev"];
            let bundle = Bundle::new().mount("/own", "tmpfs", "tmpfs", &options);
            let mount = bundle
                .set("linux.readonlyPaths", json!(["/own"]))
                .see()
                .mount("/own");
            for option in ["ro", "nosuid", "noexec", "nodev"] {
                assert!(mount.has(option), "{option}: {mount:?}");
            }
        });
}

#[test]
fn read_only_paths_that_are_not_there() {
    covers(&["linux.readonlyPaths: a missing path is passed over"]).run(|| {
        Bundle::new()
            .set("linux.readonlyPaths", json!(["/no/such/path"]))
            .run()
            .succeeded();
    });
}

#[test]
fn parameters_of_the_kernel() {
    covers(&["linux.sysctl"]).run(|| {
        let parameters = json!({
            "net.ipv4.ip_forward": "1",
            "kernel.msgmax": "4096",
            "fs.mqueue.msg_max": "7",
        });
        let outcomes = Bundle::new().set("linux.sysctl", parameters).attempt(&[
            "text /proc/sys/net/ipv4/ip_forward",
            "text /proc/sys/kernel/msgmax",
            "text /proc/sys/fs/mqueue/msg_max",
        ]);
        let values: Vec<&str> = outcomes.iter().map(|outcome| outcome.detail()).collect();
        assert_eq!(values, ["\"1\\n\"", "\"4096\\n\"", "\"7\\n\""]);
    });
}

#[test]
fn parameters_of_the_host_are_refused() {
    covers(&["linux.sysctl: one outside the namespaces is refused"]).run(|| {
        let current = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap();
        let parameters = json!({ "vm.overcommit_memory": current.trim() });
        Bundle::new()
            .set("linux.sysctl", parameters)
            .run_refused()
            .refused_naming(&["vm.overcommit"]);
        let parameters = json!({ "net.ipv4.ip_forward": "1" });
        let bundle = Bundle::new().without_namespace("network");
        let mut bundle = bundle.set("linux.sysctl", parameters);
        if let Some(mounts) = bundle.config["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["type"] != "sysfs");
        }
        bundle
            .run_refused()
            .refused_naming(&["net.ipv4.ip_forward"]);
    });
}

#[test]
fn a_parameter_that_does_not_exist_is_an_error() {
    covers(&["linux.sysctl"]).run(|| {
        let parameters = json!({ "net.no.such": "1" });
        Bundle::new().set("linux.sysctl", parameters).run_refused();
    });
}

/// Runs the shell's words where what is below the bundle is a shared mount of its own.
fn in_shared_mount(bundle: &Bundle) -> command::Ended {
    bundle.write();
    let run = bundle.command("run", &["--bundle", &bundle.at("")], &[]);
    let mut unshare = Command::new("unshare");
    let script = "mount --bind \"$1\" \"$1\" && mount --make-shared \"$1\" && shift && exec \"$@\"";
    unshare.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    unshare
        .arg(&bundle.directory)
        .arg(run.get_program())
        .args(run.get_args());
    unshare.stdin(std::process::Stdio::null());
    command::run(&mut unshare, &bundle.directory)
}

#[track_caller]
fn root_with(propagation: &str) -> reeve_tests::oci::mountinfo::Mount {
    let bundle = Bundle::doing(&["see"]).set("linux.rootfsPropagation", json!(propagation));
    Seen::of(&in_shared_mount(&bundle).succeeded()).mount("/")
}

#[test]
fn a_private_root() {
    covers(&["linux.rootfsPropagation: private"]).run(|| {
        for name in ["private", "rprivate"] {
            let mount = root_with(name);
            assert!(mount.propagation.is_empty(), "{name}: {mount:?}");
        }
    });
}

#[test]
fn a_shared_root() {
    covers(&["linux.rootfsPropagation: shared"])
        .known("runc", "1.1.5 sets it on the mount above only")
        .run(|| {
            let mount = root_with("shared");
            assert!(mount.propagates("shared"), "{mount:?}");
        });
}

#[test]
fn a_root_that_follows() {
    covers(&["linux.rootfsPropagation: slave"]).run(|| {
        for name in ["slave", "rslave"] {
            let mount = root_with(name);
            assert!(!mount.propagates("shared"), "{name}: {mount:?}");
        }
    });
}

#[test]
fn an_unbindable_root() {
    covers(&["linux.rootfsPropagation: unbindable"])
        .known("runc", "1.1.5 sets it on the mount above only")
        .run(|| {
            let mount = root_with("unbindable");
            assert!(mount.propagates("unbindable"), "{mount:?}");
        });
}

#[test]
fn an_unknown_propagation_is_refused() {
    covers(&["linux.rootfsPropagation: an unknown value is refused"])
        .known("crun", "1.8 passes over it")
        .run(|| {
            let bundle = Bundle::new().set("linux.rootfsPropagation", json!("sideways"));
            bundle
                .run_refused()
                .refused_naming(&["rootfsPropagation", "sideways"]);
        });
}
