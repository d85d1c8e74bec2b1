//! Bad input to whole commands: one clear error that names a key or a call, exit status 1, and
//! nothing left behind.
//!
//! Needs root.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

#[allow(dead_code, reason = "the rest of it is for the tests of escapes")]
mod common;

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use common::Scene;

/// Prints what could be left behind: of the state, the mounts, the processes and the cgroups.
const LEFT: &str = r#"
left() {
    ls -A $DIR/state 2> /dev/null
    wc -l < /proc/self/mountinfo
    for p in /proc/[0-9]*; do
        case "$(cat $p/comm 2> /dev/null)" in reeve* | sleep) echo $p ;; esac
    done
    find /sys/fs/cgroup -name "*$ID*" 2> /dev/null
}
"#;

/// Runs a command that has to fail, between two looks at what there is.
fn failed(scene: &Scene, command: &str) -> Output {
    scene.bare_script(&format!(
        "{LEFT} left > $DIR/before; {command}; status=$?
         left > $DIR/after; diff $DIR/before $DIR/after >&2 || exit 99; exit $status"
    ))
}

/// One error on standard error, with all of `words`.
fn one_error(what: &str, output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {error}");
    assert!(output.stdout.is_empty(), "{what}: {output:?}");
    assert_eq!(error.matches("error: ").count(), 1, "{what}: {error}");
    assert!(error.starts_with("error: "), "{what}: {error}");
    assert!(
        error.lines().count() <= 4 && error.len() < 1000,
        "{what}: {error}"
    );
    for word in words {
        assert!(error.contains(word), "{what}, without `{word}`: {error}");
    }
}

const RUN: &str = "$R run -b $B $ID < /dev/null";

#[test]
fn a_text_that_is_no_configuration() {
    let deep = |open: &str| open.repeat(100_000).into_bytes();
    let cases: [(&str, Vec<u8>, &[&str]); 12] = [
        ("empty", Vec::new(), &["config.json", "EOF"]),
        ("a word", b"hello".to_vec(), &["config.json", "line 1"]),
        (
            "cut off",
            br#"{"ociVersion": "1.0.0", "root": {"#.to_vec(),
            &["config.json", "EOF"],
        ),
        ("null", b"null".to_vec(), &["config.json"]),
        ("a list", b"[]".to_vec(), &["config.json"]),
        ("no keys", b"{}".to_vec(), &["`root`", "missing"]),
        ("lists in lists", deep("["), &["config.json", "line 1"]),
        (
            "objects in objects",
            deep("{\"a\":"),
            &["config.json", "line 1"],
        ),
        ("deep in a key", deep("{\"root\":["), &["config.json"]),
        ("NUL bytes", vec![0; 4096], &["config.json"]),
        (
            "not UTF-8",
            b"{\"ociVersion\": \"\xff\xfe\"}".to_vec(),
            &["config.json"],
        ),
        (
            "a key twice",
            br#"{"ociVersion": "1.0.0", "ociVersion": "1.0.0"}"#.to_vec(),
            &["config.json", "duplicate field `ociVersion`"],
        ),
    ];
    for (what, text, words) in cases {
        let scene = Scene::with_cgroups();
        fs::write(scene.path("bundle/config.json"), text).unwrap();
        one_error(what, &failed(&scene, RUN), words);
    }
}

#[test]
fn a_configuration_without_end() {
    let scene = Scene::with_cgroups();
    // Of spaces, so that it would be a configuration if it were read.
    let mut text = vec![b' '; 100 << 20];
    let config = scene.config.to_string();
    text.splice(
        ..,
        [vec![b' '; (100 << 20) - config.len()], config.into_bytes()].concat(),
    );
    fs::write(scene.path("bundle/config.json"), text).unwrap();
    // Neither is there room for it.
    let output = failed(&scene, &format!("(ulimit -v 100000; exec {RUN})"));
    one_error("100 MiB", &output, &["config.json", "too large"]);
    fs::remove_file(scene.path("bundle/config.json")).unwrap();
    let output = failed(&scene, &format!("ln -s /dev/zero $B/config.json; {RUN}"));
    one_error("without end", &output, &["config.json", "too large"]);
}

/// A key, what it is set to, and words of the error.
type Case = (&'static str, Value, &'static [&'static str]);

fn wrong_values() -> Vec<Case> {
    vec![
        ("/process/args", json!("sh"), &["config.json", "line 1"]),
        (
            "/process/args",
            json!(["a\u{0}b"]),
            &["`process.args", "NUL"],
        ),
        (
            "/process/env",
            json!(["A\u{0}=b"]),
            &["`process.env", "NUL"],
        ),
        ("/process/cwd", json!("tmp"), &["`process.cwd`", "absolute"]),
        (
            "/process/cwd",
            json!("/a/../../b"),
            &["`process.cwd`", "`..`"],
        ),
        ("/process/cwd", json!("/a\u{0}b"), &["`process.cwd`", "NUL"]),
        (
            "/process/user/uid",
            json!(4_294_967_295_u32),
            &["`process.user.uid`"],
        ),
        (
            "/process/user/gid",
            json!(4_294_967_295_u32),
            &["`process.user.gid`"],
        ),
        (
            "/process/user/additionalGids",
            json!([4_294_967_295_u32]),
            &["additionalGids"],
        ),
        (
            "/process/user/uid",
            json!(4_294_967_296_u64),
            &["config.json", "u32"],
        ),
        ("/process/user/uid", json!(-1), &["config.json", "u32"]),
        (
            "/process/capabilities/bounding",
            json!(["CAP_ALL"]),
            &["config.json", "CAP_ALL"],
        ),
    ]
}

/// As [`wrong_values`], of other parts of the configuration.
fn wrong_values_around_the_process() -> Vec<Case> {
    vec![
        ("/root", json!({ "path": "missing" }), &["`root.path`"]),
        (
            "/root",
            json!({ "path": "config.json" }),
            &["`root.path`", "not a directory"],
        ),
        ("/root", json!({ "path": "" }), &["`root.path`"]),
        (
            "/root",
            json!({ "path": "root\u{0}fs" }),
            &["`root.path`", "NUL"],
        ),
        ("/root", Value::Null, &["`root`", "missing"]),
        ("/linux", Value::Null, &["`linux`", "missing"]),
        (
            "/linux/namespaces",
            json!([{ "type": "moon" }]),
            &["config.json", "moon"],
        ),
        (
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "mount" }]),
            &["`linux.namespaces[1]", "twice"],
        ),
        (
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "uts", "path": "ns/uts" }]),
            &["`linux.namespaces[1].path`", "absolute"],
        ),
        (
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "uts", "path": "/proc/self/ns/net" }]),
            &["setns"],
        ),
        (
            "/linux/maskedPaths",
            json!(["../x"]),
            &["`linux.maskedPaths[0]`", "absolute"],
        ),
        (
            "/linux/cgroupsPath",
            json!("/../x"),
            &["`linux.cgroupsPath`", "`..`"],
        ),
        ("/hostname", json!("x".repeat(65)), &["hostname"]),
        ("/hostname", json!("a\u{0}b"), &["hostname"]),
        (
            "/annotations",
            json!({ "a": 1 }),
            &["config.json", "line 1"],
        ),
    ]
}

#[test]
fn values_that_are_wrong() {
    for (pointer, value, words) in wrong_values()
        .into_iter()
        .chain(wrong_values_around_the_process())
    {
        let mut scene = Scene::with_cgroups();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let what = format!("{pointer}: {value}");
        let what: String = what.chars().take(100).collect();
        scene.shell("true");
        scene.config.pointer_mut(parent).unwrap()[name] = value;
        scene.save();
        one_error(&what, &failed(&scene, RUN), words);
    }
}

#[test]
fn mounts_that_are_wrong() {
    let cases: [(Value, &[&str]); 8] = [
        (
            json!({ "destination": "../x", "type": "tmpfs" }),
            &["destination`", "absolute"],
        ),
        (
            json!({ "destination": "/a/../../x", "type": "tmpfs" }),
            &["destination`", "`..`"],
        ),
        (
            json!({ "destination": "/", "type": "tmpfs" }),
            &["destination`"],
        ),
        (
            json!({ "destination": "/a\u{0}b", "type": "tmpfs" }),
            &["destination`", "NUL"],
        ),
        (
            json!({ "destination": "/a", "type": "no\u{0}ne" }),
            &["type`", "NUL"],
        ),
        (
            json!({ "destination": "/a", "type": "nonsuch" }),
            &["nonsuch", "ENODEV"],
        ),
        (
            json!({ "destination": "/a", "source": "gone", "options": ["bind"] }),
            &["ENOENT"],
        ),
        (
            json!({ "destination": "/a", "source": "/usr", "options": ["bind", "size=1"] }),
            &["options`", "`size`"],
        ),
    ];
    for (mount, words) in cases {
        let mut scene = Scene::with_cgroups();
        let what = mount.to_string();
        scene.shell("true");
        scene.mount(mount);
        scene.save();
        one_error(&what, &failed(&scene, RUN), words);
    }
}

/// The same place twice is no error: the later mount lies over the earlier one.
#[test]
fn a_mount_over_another() {
    let mut scene = Scene::new();
    for size in ["size=1m", "size=2m"] {
        scene.mount(
            json!({ "destination": "/twice", "type": "tmpfs", "source": "x",
                            "options": [size] }),
        );
    }
    scene.shell(
        "grep -c ' /twice ' /proc/self/mountinfo; df -k /twice | tail -n 1 | tr -s ' ' '\n' \
                 | head -n 2 | tail -n 1",
    );
    assert_eq!(scene.said(RUN), "2\n2048\n");
}

#[test]
fn bundles_and_roots_that_are_wrong() {
    let cases: [(&str, &str, &[&str]); 9] = [
        (
            "no bundle",
            "$R run -b $DIR/gone $ID",
            &["gone/config.json", "No such file"],
        ),
        (
            "a file",
            "$R run -b $B/config.json $ID",
            &["config.json", "Not a directory"],
        ),
        (
            "no configuration",
            "$R run -b $DIR $ID",
            &["config.json", "No such file"],
        ),
        (
            "no root",
            "rmdir $B/rootfs; $R run -b $B $ID",
            &["`root.path`", "rootfs"],
        ),
        (
            "a state that is a file",
            "$REEVE --root $MARK run -b $B $ID",
            &["mkdir(", "marker"],
        ),
        (
            "a state below a file",
            "$REEVE --root $MARK/below run -b $B $ID",
            &["mkdir(", "Not a directory"],
        ),
        (
            "a state in procfs",
            "$REEVE --root /proc/state run -b $B $ID",
            &["mkdir(", "/proc/state"],
        ),
        (
            "a state that is read-only",
            "mkdir $DIR/ro; mount -t tmpfs -o ro x $DIR/ro; $REEVE --root $DIR/ro run -b $B $ID
             s=$?; umount $DIR/ro; (exit $s)",
            &["mkdir(", "Read-only file system"],
        ),
        (
            "a disk that is full",
            "mkdir $DIR/full; mount -t tmpfs -o size=4k x $DIR/full
             $REEVE --root $DIR/full run -b $B $ID; s=$?
             ls -A $DIR/full | grep . && echo left; umount $DIR/full; (exit $s)",
            &["write(", "No space left"],
        ),
    ];
    for (what, command, words) in cases {
        let mut scene = Scene::with_cgroups();
        scene.shell("true");
        scene.save();
        one_error(
            what,
            &failed(&scene, &format!("{{ {command}; }} < /dev/null")),
            words,
        );
    }
}

#[test]
fn a_name_that_is_taken() {
    let mut scene = Scene::with_cgroups();
    scene.shell("sleep 100");
    let output = scene.script(&format!(
        "{LEFT} $R run -d -b $B $ID < /dev/null || exit
         until left | grep -q ^/proc/; do sleep 0.05; done; left > $DIR/before
         for command in run create 'run -d'; do
             $R $command -b $B $ID < /dev/null 2>> $DIR/errors; echo $?
         done
         left > $DIR/after; diff $DIR/before $DIR/after; $R kill $ID KILL
         until $R state $ID | grep -q stopped; do sleep 0.05; done
         $R run -b $B $ID < /dev/null 2>> $DIR/errors; echo $?; $R delete $ID; cat $DIR/errors"
    ));
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    let taken = format!("error: container `{}` already exists", scene.name());
    assert!(
        found.starts_with(&format!("1\n1\n1\n1\n{taken}\n")),
        "{output:?}"
    );
    assert_eq!(found.matches(&taken).count(), 4, "{found}");
    assert_eq!(found.matches("it has stopped").count(), 1, "{found}");
}

/// Memory for one page: the kernel ends the first process, or refuses it what it asks for.
#[test]
fn memory_that_does_not_suffice() {
    const WORDS: &[&str] = &["memory"];
    let mut scene = Scene::with_cgroups();
    scene.shell("echo it runs");
    scene.config["linux"]["resources"] = json!({ "memory": { "limit": 4096, "swap": 4096 } });
    scene.save();
    let mut output = failed(&scene, RUN);
    if String::from_utf8_lossy(&output.stderr).contains("swap") {
        scene.config["linux"]["resources"] = json!({ "memory": { "limit": 4096 } });
        scene.save();
        output = failed(&scene, RUN);
    }
    // In version 1 a process brings what it has already: it may come as far as its program, which
    // is killed then like any other that takes too much.
    if output.status.code() != Some(128 + 9) {
        one_error("4 KiB", &output, WORDS);
    }
}

/// `reeve` is killed anywhere on its way; what it leaves is removed by `delete --force`.
#[test]
fn a_runtime_that_is_killed() {
    let mut scene = Scene::with_cgroups();
    scene.shell("sleep 100");
    let output = scene.script(&format!(
        "{LEFT} $R run -d -b $B $ID < /dev/null && $R delete --force $ID; left > $DIR/before
         for n in $(seq 0 24); do
             $R run -b $B $ID < /dev/null & reeve=$!
             sleep 0.$(printf %03d $((n * 4))); kill -9 $reeve; wait $reeve
             $R delete --force $ID || echo \"not deleted: $n\"
             for try in $(seq 0 100); do
                 left > $DIR/after; diff $DIR/before $DIR/after > $DIR/differ && break
                 sleep 0.1
             done
             [ -s $DIR/differ ] && echo \"left: $n\" && cat $DIR/differ
         done"
    ));
    assert!(output.stdout.is_empty(), "{output:?}");
}
