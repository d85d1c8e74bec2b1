//! Input that is wrong or hostile: one clear error, a status that is not 0, nothing left behind.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::bundle::exists;
use crate::support::leftovers::{alive, nothing_since, of};
use crate::support::{Bundle, Need, covers};

/// `run` with this text as `config.json`, refused without a trace.
#[track_caller]
fn refused(text: impl AsRef<[u8]>) {
    let bundle = Bundle::new();
    bundle.write_text(text);
    let before = of(&bundle);
    let ended = bundle
        .call("run", &["--bundle", &bundle.at("")], &[])
        .refused();
    assert!(
        ended.stderr.len() < 4096,
        "a long message: {}",
        ended.story()
    );
    nothing_since(&bundle, &before);
    let ended = bundle.create_as_is(&[]).refused();
    bundle.call("state", &[], &[]).refused();
    nothing_since(&bundle, &before);
    drop(ended);
}

fn valid() -> String {
    Bundle::new().config.to_string()
}

#[test]
fn what_is_no_json() {
    covers(&["bad: malformed JSON", "bundle: config.json"])
        .known("runc", "1.1.5 has a null pointer for `null`")
        .run(|| {
            for text in [
                "{",
                "[]",
                "null",
                "nonsense",
                "\"text\"",
                "{\"ociVersion\": 1.0.2}",
            ] {
                refused(text);
            }
            let valid = valid();
            refused(&valid[..valid.len() - 1]);
            refused(valid.replace(':', ","));
        });
}

#[test]
fn what_follows_the_json() {
    covers(&["bad: malformed JSON"])
        .known("runc", "1.1.5 stops reading at the end of the object")
        .run(|| refused(format!("{} trailing", valid())));
}

#[test]
fn an_empty_file() {
    covers(&["bad: an empty config.json"]).run(|| {
        refused("");
        refused(" \n");
    });
}

#[test]
fn an_empty_object() {
    covers(&["bad: an empty config.json", "ociVersion"]).run(|| refused("{}"));
}

#[test]
fn no_file() {
    covers(&["bundle: config.json missing"]).run(|| {
        let bundle = Bundle::new();
        let before = of(&bundle);
        bundle.create_as_is(&[]).refused_naming(&["config.json"]);
        nothing_since(&bundle, &before);
    });
}

#[test]
fn no_bundle() {
    covers(&["bad: a missing bundle"]).run(|| {
        let bundle = Bundle::new();
        let before = of(&bundle);
        bundle
            .call("create", &["--bundle", "/no/such/bundle"], &[])
            .refused();
        nothing_since(&bundle, &before);
    });
}

#[test]
fn other_types() {
    covers(&["bad: wrong types"])
        .known("crun", "1.8 takes a text for a list")
        .run(|| {
            let cases = [
                ("process", json!("text")),
                ("process.args", json!("text")),
                ("process.user.uid", json!("0")),
                ("mounts", json!({})),
                ("linux.namespaces", json!("pid")),
                ("root", json!([])),
            ];
            for (key, value) in cases {
                refused(Bundle::new().set(key, value).config.to_string());
            }
        });
}

#[test]
fn versions() {
    covers(&[
        "ociVersion",
        "ociVersion: an unsupported version is refused",
    ])
    .known("runc", "1.1.5 takes any version")
    .known("crun", "1.8 takes any version")
    .run(|| {
        for version in ["2.0.0", "0.1.0", "text", ""] {
            refused(
                Bundle::new()
                    .set("ociVersion", json!(version))
                    .config
                    .to_string(),
            );
        }
    });
}

#[test]
fn versions_that_are_known() {
    covers(&["ociVersion"])
        .known("crun", "1.8 knows versions below 1.1 only")
        .run(|| {
            for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.0"] {
                Bundle::new()
                    .set("ociVersion", json!(version))
                    .run()
                    .succeeded();
            }
        });
}

#[test]
fn a_key_that_nobody_knows() {
    covers(&["an unknown property is ignored"]).run(|| {
        let bundle = Bundle::new().set("org.example", json!({ "a": [1, 2] }));
        bundle
            .set("process.noSuchKey", json!(true))
            .run()
            .succeeded();
    });
}

#[test]
fn a_hundred_megabytes() {
    covers(&["bad: a config.json of 100 MB"])
        .known(
            "runc",
            "1.1.5 reads files of any size, and runs what they say",
        )
        .known(
            "crun",
            "1.8 reads files of any size, and runs what they say",
        )
        .run(|| {
            let text = valid();
            let padding = " ".repeat(100 << 20);
            refused(format!("{}{padding}}}", &text[..text.len() - 1]));
        });
}

#[test]
fn deep_nesting() {
    covers(&["bad: deep nesting"])
        .known(
            "crun",
            "1.8 passes over keys that it does not know at any depth",
        )
        .run(|| {
            let depth = 200_000;
            let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let text = valid();
            refused(format!("{},\"x\":{nested}}}", &text[..text.len() - 1]));
        });
}

#[test]
fn bytes_that_end_strings() {
    covers(&["bad: NUL bytes"])
        .known("crun", "1.8 takes what is before the byte")
        .run(|| {
            let cases = [
                ("process.args", json!(["/probe\0x", "pid"])),
                ("process.cwd", json!("/\0own")),
                ("process.env", json!(["A=\0b"])),
                ("root.path", json!("rootfs\0x")),
            ];
            for (key, value) in cases {
                refused(Bundle::new().set(key, value).config.to_string());
            }
            refused("\0\0\0\0");
        });
}

#[test]
fn numbers_out_of_range() {
    covers(&["bad: numbers out of range"]).run(|| {
        let huge: Value = serde_json::from_str("99999999999999999999999").unwrap();
        let cases = [
            ("process.user.uid", json!(4_294_967_296_u64)),
            ("process.user.uid", json!(-1)),
            ("process.user.gid", huge.clone()),
            ("process.user.uid", json!(1.5)),
            ("linux.resources.pids", json!({ "limit": huge })),
        ];
        for (key, value) in cases {
            refused(Bundle::new().set(key, value).config.to_string());
        }
    });
}

#[track_caller]
fn refused_id(id: &str) {
    let bundle = Bundle::new();
    bundle.write();
    let before = of(&bundle);
    let mut create = bundle.runtime();
    create.args(["create", "--bundle", &bundle.at(""), "--", id]);
    let ended = crate::support::command::run(&mut create, &bundle.directory);
    assert!(!ended.status.success(), "{id:?}: {}", ended.story());
    nothing_since(&bundle, &before);
}

#[test]
fn names_of_other_characters() {
    covers(&["bad: an id with other characters"])
        .known("crun", "1.8 takes ids with blanks and line ends")
        .run(|| {
            for id in ["a/b", "../x", "..", ".", "a b", "ä", "a\nb", "x;y", "/"] {
                refused_id(id);
            }
        });
}

#[test]
fn names_that_lead_elsewhere() {
    covers(&["bad: an id with other characters"]).run(|| {
        for id in ["a/b", "../x", "..", ".", "/"] {
            refused_id(id);
        }
    });
}

#[test]
fn an_empty_name() {
    covers(&["bad: an empty id"]).run(|| refused_id(""));
}

#[test]
fn a_long_name() {
    covers(&["bad: an id that is too long"]).run(|| {
        refused_id(&"x".repeat(1025));
        refused_id(&"x".repeat(100_000));
    });
}

#[test]
fn no_root() {
    covers(&["bad: a missing root file system", "root.path: missing"]).run(|| {
        for path in ["nosuch", "/no/such/root"] {
            Bundle::new()
                .set("root.path", json!(path))
                .run_refused()
                .refused_naming(&["nosuch", "/no/such/root"]);
        }
        Bundle::new().without("root").run_refused();
    });
}

#[test]
fn a_root_that_is_a_file() {
    covers(&["bad: a root file system that is a file"]).run(|| {
        let bundle = Bundle::new().set("root.path", json!("file"));
        bundle.file("file", "x");
        bundle.run_refused();
    });
}

#[test]
fn a_root_that_is_a_link() {
    covers(&["bad: a root file system that leads out by a symbolic link"]).run(|| {
        let bundle = Bundle::new()
            .set("root.path", json!("link"))
            .actions(&["create /own/new"]);
        symlink("/", bundle.directory.join("link")).unwrap();
        // The host has no such program: nothing runs, and the host is as it was.
        bundle.run_refused();
        assert!(!exists("/own"));
    });
}

#[test]
fn mounts_that_lead_out() {
    covers(&["bad: a mount that leads out by a symbolic link"]).run(|| {
        let bundle = Bundle::doing(&["create /link/new"]);
        let outside = bundle.directory.join("outside");
        fs::create_dir(&outside).unwrap();
        symlink("../outside", bundle.rootfs().join("link")).unwrap();
        symlink(&outside, bundle.rootfs().join("absolute")).unwrap();
        let bundle = bundle.mount("/link", "tmpfs", "tmpfs", &[]);
        let bundle = bundle.mount("/absolute/sub/dir", "tmpfs", "tmpfs", &[]);
        bundle.run();
        assert_eq!(
            fs::read_dir(&outside).unwrap().count(),
            0,
            "something was made outside"
        );
    });
}

#[test]
fn process_information_over_a_link() {
    covers(&["bad: proc over a symbolic link"]).run(|| {
        let bundle = Bundle::new();
        fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
        symlink("own", bundle.rootfs().join("proc")).unwrap();
        bundle.run_refused();
    });
}

#[test]
fn a_directory_outside_the_root() {
    covers(&["bad: a working directory outside the root"]).run(|| {
        for number in 3..20 {
            let bundle = Bundle::doing(&["see"]);
            let ended = bundle
                .set("process.cwd", json!(format!("/proc/self/fd/{number}")))
                .run();
            assert!(!ended.status.success(), "{number}: {}", ended.story());
        }
    });
}

#[test]
fn a_caller_that_is_killed() {
    covers(&["bad: a killed caller"]).run(|| {
        let bundle = Bundle::waiting();
        let mut started = bundle.run_begun(&[]);
        started.lines(1);
        let pid = bundle.pid();
        started.child.kill().unwrap();
        started.child.wait().unwrap();
        // The container goes on or ends; either way its id is known and can be deleted.
        bundle.status();
        bundle.call("delete", &["--force"], &[]).succeeded();
        crate::support::command::wait_until("its end", || (!alive(pid)).then_some(()));
        bundle.call("state", &[], &[]).refused();
    });
}

#[test]
fn too_little_memory() {
    covers(&["bad: no memory in the cgroup"])
        .needs(Need::Controller("memory"))
        .run(|| {
            let memory = json!({ "limit": 4096, "swap": 4096 });
            let bundle = Bundle::new().set("linux.resources.memory", memory);
            let before = of(&bundle);
            let ended = bundle.run();
            assert!(!ended.status.success(), "{}", ended.story());
            nothing_since(&bundle, &before);
        });
}

#[test]
fn no_room_for_the_state() {
    covers(&[
        "bad: a full disk",
        "create: what cannot be applied is an error",
        "an error leaves the environment as it was",
    ])
    .run(|| {
        let bundle = Bundle::waiting();
        let before = of(&bundle);
        bundle.write();
        let script = "mount -t tmpfs -o size=4k none \"$1\" && echo full > \"$1/x\"; \
                shift; exec \"$@\"";
        let create = bundle.command("create", &["--bundle", &bundle.at("")], &[]);
        let mut unshare = std::process::Command::new("unshare");
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
            .arg(&bundle.root)
            .arg(create.get_program())
            .args(create.get_args());
        unshare.stdin(std::process::Stdio::null());
        crate::support::command::run(&mut unshare, &bundle.directory).refused();
        nothing_since(&bundle, &before);
    });
}
