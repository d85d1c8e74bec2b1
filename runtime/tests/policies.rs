//! `reeve policy` and `reeve audit` as a script sees them: what is on standard output, what on
//! standard error, and exit statuses. Needs no privilege.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is a failure, in its helpers too"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;

/// A directory with files, and a state directory in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("state")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    /// `reeve` in this directory: its status, standard output and standard error.
    fn reeve(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
        command.args(["--root", "state"]).args(args);
        command.current_dir(self.0.path()).stdin(Stdio::null());
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

fn entry(object: &str) -> String {
    let record = json!({
        "time_us": 1, "container": "web", "policy": "p", "pid": 1, "tid": 1, "uid": 0,
        "comm": "cp", "hook": "file_open", "action": "read", "object": object,
        "verdict": "refused", "errno": "EACCES", "reason": "no grant names it",
        "rule": null, "allow": format!("files: - {{ path: {object}, allow: [read] }}"),
    });
    format!("{record}\n")
}

#[test]
fn a_torn_line_of_the_log_is_told_and_costs_no_other() {
    let place = Place::new();
    let torn = [
        entry("/a").as_bytes(),
        b"{\"x\":\"\xc3\n",
        entry("/b").as_bytes(),
    ]
    .concat();
    place
        .file("state/audit.jsonl.1", torn)
        .file("state/audit.jsonl", entry("/c"));
    let wanted = "state/audit.jsonl.1: a line cannot be read and is left out\n";
    for args in [
        &["audit", "--json"][..],
        &["audit", "web"],
        &["policy", "learn", "web"],
    ] {
        let (status, out, err) = place.reeve(args);
        assert_eq!(status, 0, "{err}");
        for path in ["/a", "/b", "/c"] {
            assert!(out.contains(path), "{args:?}: {path}\n{out}");
        }
        assert!(err.ends_with(wanted), "{args:?}: {err}");
    }
    let (status, out, err) = place.reeve(&["policy", "learn", "--from", "state/audit.jsonl.1"]);
    assert_eq!(status, 0, "{err}");
    assert!(
        out.contains("path: /a") && out.contains("path: /b"),
        "{out}"
    );
    assert_eq!(
        err,
        "state/audit.jsonl.1: a line cannot be read and is left out\n"
    );
}

#[test]
fn a_policy_that_is_not_utf_8_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    let text = b"reeve: v1\nname: a\nfiles:\n  - { path: /srv/caf\xe9, allow: none }\n";
    place.file("p.yaml", text).file("log", entry("/a"));
    let line = "files: - { path: /b, allow: [read] }";
    for args in [
        &["policy", "check", "p.yaml"][..],
        &["policy", "add-line", "p.yaml", line],
        &["policy", "learn", "--from", "log", "--into", "p.yaml"],
        &["policy", "show", "p.yaml"],
        &["policy", "test", "p.yaml"],
    ] {
        let (status, out, err) = place.reeve(args);
        assert_eq!(status, 1, "{args:?}: {err}");
        let all = out + &err;
        let told = "p.yaml:4:21: error: byte 0xe9 is not UTF-8";
        assert!(all.contains(told), "{args:?}: {all}");
        assert_eq!(fs::read(place.path("p.yaml")).unwrap(), text);
    }
}

const GOOD: &str = "reeve: v1\nname: a\nkernel: { clock: true }\n";

#[test]
fn a_diff_that_cannot_be_made_is_no_difference() {
    let place = Place::new();
    place
        .file("a.yaml", GOOD)
        .file("b.yaml", "reeve: v1\nname: a\n")
        .file("bad.yaml", "- 1\n");
    for (args, wanted) in [
        (&["a.yaml", "a.yaml"][..], 0),
        (&["a.yaml", "b.yaml"], 1),
        (&["a.yaml", "none.yaml"], 2),
        (&["bad.yaml", "a.yaml"], 2),
        (&["a.yaml", "b.yaml", "--var", "x"], 2),
        (&["a.yaml", "b.yaml", "--nope"], 2),
        (&["a.yaml"], 2),
        (&["a.yaml", "b.yaml", "--help"], 0),
    ] {
        let (status, _, err) = place.reeve(&[&["policy", "diff"], args].concat());
        assert_eq!(status, wanted, "{args:?}: {err}");
    }
    let others = [
        "--log",
        "/nowhere/log",
        "policy",
        "diff",
        "a.yaml",
        "a.yaml",
    ];
    assert_eq!(place.reeve(&others).0, 2);
    assert_eq!(place.reeve(&["policy", "explain", "--nope"]).0, 1);
}

#[test]
fn what_is_wrong_is_told_on_standard_error_and_as_json_if_that_is_asked_for() {
    let place = Place::new();
    place
        .file("bad.yaml", "reeve: v1\nname: a\nmood: b\n")
        .file("a.yaml", GOOD);
    place.file(
        "t.yaml",
        "policy: bad.yaml\ncases: [{ action: set-clock, expect: allow }]\n",
    );
    place.file(
        "wrong.yaml",
        "policy: a.yaml\ncases: [{ action: raed /a, expect: allow }]\n",
    );
    for args in [
        &["explain", "bad.yaml", "--action", "set-clock"][..],
        &["diff", "a.yaml", "bad.yaml"],
        &["diff", "bad.yaml", "bad.yaml"],
        &["test", "t.yaml"],
        &["test", "wrong.yaml"],
        &["show", "bad.yaml"],
        &["show", "bad.yaml", "--compiled"],
    ] {
        let args = [&["policy"], args].concat();
        let (status, out, err) = place.reeve(&args);
        assert_ne!(status, 0);
        assert_eq!(out, "", "{args:?}");
        assert!(
            err.contains(".yaml:") && err.contains(": error: "),
            "{args:?}: {err}"
        );
        let (status, out, err) = place.reeve(&[&args[..], &["--json"]].concat());
        assert_ne!(status, 0);
        assert_eq!(out, "", "{args:?}");
        let rows: serde_json::Value = serde_json::from_str(&err).unwrap();
        let rows = rows.as_array().unwrap();
        assert!(!rows.is_empty(), "{args:?}");
        assert!(
            rows.iter()
                .all(|row| row["severity"] == "error" && row["line"].is_u64())
        );
    }
    // What is wrong is what `check` is asked for.
    let (_, out, err) = place.reeve(&["policy", "check", "bad.yaml", "--json"]);
    assert!(out.contains("unknown key `mood`"), "{out}{err}");
    let line = "files: - { path: b, allow: [read] }";
    let (status, out, err) = place.reeve(&["policy", "add-line", "a.yaml", line]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("`b` is not an absolute path"), "{err}");
}

#[test]
fn names_do_not_speak_to_a_terminal() {
    let place = Place::new();
    let name = "a\u{1b}[2J\u{9b}.yaml";
    place.file(name, GOOD).file("bad\u{1b}.yaml", "- 1\n");
    let counted = json!({
        "time_us": 1, "container": "w\u{1b}", "recorded": 1, "suppressed": 1, "lost": 0,
    });
    let one = entry("/a").replace("\"web\"", "\"w\\u001b\"");
    let log = format!("{one}{counted}\n");
    place
        .file("state/audit.jsonl", log + &entry("/b"))
        .file("junk\u{1b}", "junk\n");
    for args in [
        &["policy", "check", name][..],
        &["policy", "check", "bad\u{1b}.yaml"],
        &["policy", "check", "none\u{1b}"],
        &["policy", "show", "bad\u{1b}.yaml"],
        &["policy", "learn"],
        &["policy", "learn", "--from", "state/audit.jsonl"],
        &["policy", "learn", "--from", "junk\u{1b}"],
        &[
            "policy",
            "learn",
            "web",
            "--from",
            "state/audit.jsonl",
            "--into",
            name,
        ],
        &["policy", "add-line", name, "\u{1b}: 1"],
        &["policy", "explain", name, "--action", "\u{1b}"],
        &["audit"],
        &["state", "\u{1b}"],
    ] {
        let (_, out, err) = place.reeve(args);
        let all = out + &err;
        assert!(
            !all.is_empty() && !all.contains(['\u{1b}', '\u{9b}']),
            "{args:?}: {all:?}"
        );
    }
}

#[test]
fn a_named_pipe_keeps_nobody_waiting() {
    let place = Place::new();
    let pipe = |name: &str| {
        let made = Command::new("mkfifo").arg(place.path(name)).status();
        assert!(made.unwrap().success());
    };
    pipe("fifo");
    pipe("state/audit.jsonl.1");
    place
        .file("outer.yaml", "reeve: v1\nname: a\ninclude: [fifo]\n")
        .file("a.yaml", GOOD);
    for args in [
        &["policy", "check", "fifo"][..],
        &["policy", "check", "outer.yaml"],
        &["policy", "test", "fifo"],
        &["policy", "add-line", "fifo", "kernel: { clock: true }"],
        &["policy", "learn", "--from", "fifo"],
        &["policy", "learn", "web"],
        &["audit"],
    ] {
        let (status, out, err) = place.reeve(args);
        assert_eq!(status, 1, "{args:?}");
        let all = out + &err;
        assert!(all.contains("it is no regular file"), "{args:?}: {all}");
    }
    let reeve = env!("CARGO_BIN_EXE_reeve");
    let script = format!("cat a.yaml | {reeve} policy check /proc/self/fd/0");
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", &script]).current_dir(place.0.path());
    assert!(shell.stdout(Stdio::null()).status().unwrap().success());
}
