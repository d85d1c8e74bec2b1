//! `hooks`: who is called when, with what, and what a failure does.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bundle::{exists, host_probe};
use crate::support::leftovers::{alive, nothing_since, of};
use crate::support::seen::own_namespace;
use crate::support::{Bundle, command, covers};

/// Those that run on the host's side, in their order.
const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that notes its call in the file `log`.
fn noting(kind: &str, log: &str, label: &str) -> Value {
    // The one in the container has the container's files.
    let (path, log) = match kind {
        "startContainer" => ("/probe".to_owned(), "/own/log".to_owned()),
        _ => (host_probe(), log.to_owned()),
    };
    json!({ "path": path, "args": ["probe", "record", log, label], "env": ["HOOK=yes"] })
}

/// A container whose hooks of all kinds note their calls in `rootfs/own/log`.
fn noted() -> Bundle {
    let mut bundle = Bundle::waiting().set("annotations", json!({ "mark": "42" }));
    let log = bundle.at("rootfs/own/log");
    for kind in KINDS {
        bundle = bundle.add(&format!("hooks.{kind}"), noting(kind, &log, kind));
    }
    bundle
}

fn notes(path: impl AsRef<Path>) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a note"))
        .collect()
}

fn labels(bundle: &Bundle) -> Vec<String> {
    let notes = notes(bundle.rootfs().join("own/log"));
    notes
        .iter()
        .map(|note| note["label"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_kind_at_its_time() {
    covers(&[
        "hooks.prestart",
        "hooks.createRuntime",
        "hooks.createContainer",
        "hooks.startContainer",
        "hooks.poststop",
    ])
    .run(|| {
        let bundle = noted().without("hooks.poststart");
        let output = bundle.create();
        assert_eq!(labels(&bundle), KINDS[..3]);
        bundle.start();
        command::lines(&output, 1);
        assert_eq!(labels(&bundle), KINDS[..4]);
        bundle.call("kill", &[], &["TERM"]).succeeded();
        bundle.wait_for("stopped");
        assert_eq!(labels(&bundle), KINDS[..4]);
        bundle.call("delete", &[], &[]).succeeded();
        assert_eq!(
            labels(&bundle),
            [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststop"
            ]
        );
    });
}

#[test]
fn poststart_after_the_start() {
    covers(&["hooks.poststart"])
        .known("runc", "1.1.5 calls it when the container is created")
        .run(|| {
            let bundle = noted();
            bundle.create();
            assert_eq!(labels(&bundle), KINDS[..3]);
            bundle.start();
            assert!(labels(&bundle).contains(&"poststart".to_owned()));
        });
}

#[test]
fn poststart_after_what_is_slow_in_the_container() {
    covers(&["hooks.poststart", "hooks: in the order listed"])
        .known("runc", "1.1.5 calls it when the container is created")
        .known("crun", "1.8 does not wait for the hooks in the container")
        .run(|| {
            let slow = json!({ "path": "/probe", "args": ["probe", "sleep", "300"] });
            let mut bundle = noted().actions(&["pid"]);
            bundle.change(
                "hooks.startContainer",
                json!([slow, noting("startContainer", "", "startContainer")]),
            );
            bundle.run().succeeded();
            assert_eq!(labels(&bundle), KINDS);
        });
}

#[test]
fn every_kind_with_run() {
    covers(&["hooks: in the order listed", "hooks.poststop"]).run(|| {
        let bundle = noted().actions(&["pid"]);
        bundle.run().succeeded();
        let mut labels = labels(&bundle);
        assert_eq!(labels.last().map(String::as_str), Some("poststop"));
        labels.sort_unstable();
        let mut wanted = KINDS;
        wanted.sort_unstable();
        assert_eq!(labels, wanted);
    });
}

#[test]
fn several_of_a_kind_in_their_order() {
    covers(&["hooks: in the order listed"]).run(|| {
        let mut bundle = Bundle::new();
        let log = bundle.at("rootfs/own/log");
        for kind in KINDS {
            for number in 0..3 {
                let hook = noting(kind, &log, &format!("{kind} {number}"));
                bundle = bundle.add(&format!("hooks.{kind}"), hook);
            }
        }
        bundle.run().succeeded();
        let labels = labels(&bundle);
        for kind in KINDS {
            let of_kind: Vec<&String> = labels
                .iter()
                .filter(|label| label.starts_with(&format!("{kind} ")))
                .collect();
            let wanted: Vec<String> = (0..3).map(|number| format!("{kind} {number}")).collect();
            assert_eq!(of_kind, wanted.iter().collect::<Vec<_>>());
        }
    });
}

#[test]
fn the_state_comes_on_standard_input() {
    covers(&["hooks: the state on standard input"])
        .known("runc", "1.1.5 calls poststart before the start")
        .known("crun", "1.8 tells hooks in the container the pid 0")
        .run(|| {
            let bundle = noted();
            bundle.launch();
            let pid = bundle.pid();
            bundle.call("delete", &["--force"], &[]).succeeded();
            for note in notes(bundle.rootfs().join("own/log")) {
                let label = note["label"].as_str().unwrap();
                let input = note["input"].as_str().unwrap();
                let state: Value = serde_json::from_str(input).expect(label);
                assert_eq!(state["id"], json!(bundle.id), "{label}");
                assert!(state["ociVersion"].is_string(), "{label}");
                assert_eq!(state["annotations"]["mark"], "42", "{label}");
                let told = fs::canonicalize(state["bundle"].as_str().unwrap()).unwrap();
                assert_eq!(
                    told,
                    fs::canonicalize(&bundle.directory).unwrap(),
                    "{label}"
                );
                // As who gets it sees the process.
                let wanted = match label {
                    "createContainer" | "startContainer" => 1,
                    _ => pid,
                };
                if label != "poststop" {
                    assert_eq!(state["pid"], json!(wanted), "{label}");
                }
                let status = state["status"].as_str().unwrap();
                let allowed: &[&str] = match label {
                    "prestart" | "createRuntime" | "createContainer" => &["creating", "created"],
                    "startContainer" => &["created", "starting", "running"],
                    "poststart" => &["running"],
                    _ => &["stopped"],
                };
                assert!(allowed.contains(&status), "{label}: {status}");
            }
        });
}

#[test]
fn in_the_namespaces_of_their_kind() {
    covers(&["hooks: in their namespaces"]).run(|| {
        let bundle = noted();
        bundle.launch();
        let container = |name: &str| {
            let link = fs::read_link(format!("/proc/{}/ns/{name}", bundle.pid())).unwrap();
            link.to_str().unwrap().to_owned()
        };
        let (mount, uts) = (container("mnt"), container("uts"));
        bundle.call("delete", &["--force"], &[]).succeeded();
        for note in notes(bundle.rootfs().join("own/log")) {
            let label = note["label"].as_str().unwrap();
            let inside = matches!(label, "createContainer" | "startContainer");
            let wanted = if inside {
                mount.clone()
            } else {
                own_namespace("mnt")
            };
            assert_eq!(note["mount_namespace"], json!(wanted), "{label}");
            let wanted = if inside {
                uts.clone()
            } else {
                own_namespace("uts")
            };
            assert_eq!(note["uts_namespace"], json!(wanted), "{label}");
        }
    });
}

#[test]
fn arguments_and_environment() {
    covers(&["hooks[].path", "hooks[].args", "hooks[].env"]).run(|| {
        let bundle = Bundle::new();
        let log = bundle.at("log");
        let args = json!(["any name", "record", log, "a label"]);
        let hook = json!({ "path": host_probe(), "args": args, "env": ["A=1", "B=x y"] });
        let bundle = bundle.add("hooks.createRuntime", hook);
        bundle.run().succeeded();
        let notes = notes(&log);
        assert_eq!(notes[0]["args"], args);
        assert_eq!(notes[0]["env"], json!(["A=1", "B=x y"]));
    });
}

#[test]
fn without_an_environment_it_is_empty() {
    covers(&["hooks[].env"])
        .known("runc", "1.1.5 hands on its own environment")
        .known("crun", "1.8 hands on its own environment")
        .run(|| {
            let bundle = Bundle::new();
            let log = bundle.at("log");
            let args = json!(["probe", "record", log, "label"]);
            let hook = json!({ "path": host_probe(), "args": args });
            let bundle = bundle.add("hooks.createRuntime", hook);
            bundle.run().succeeded();
            assert_eq!(notes(&log)[0]["env"], json!([]));
        });
}

/// Fails after it was told the state: a runtime may be ended by a pipe that nobody reads.
const ENDING: [&str; 7] = ["probe", "script", "--", "answer", "--", "exit", "3"];

fn failing() -> Value {
    json!({ "path": host_probe(), "args": ENDING })
}

#[test]
fn a_failure_ends_the_creation() {
    covers(&["hooks: a failure before start ends the creation"]).run(|| {
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let bundle = Bundle::doing(&["create /own/ran"]);
            let bundle = bundle.add(&format!("hooks.{kind}"), failing());
            let before = of(&bundle);
            bundle.create_with(&[]).refused_naming(&["hook"]);
            bundle.call("state", &[], &[]).refused();
            nothing_since(&bundle, &before);
            assert!(!exists(bundle.rootfs().join("own/ran")));
        }
    });
}

#[test]
fn the_rest_is_not_called_after_a_failure() {
    covers(&["hooks: a failure before start ends the creation"]).run(|| {
        let bundle = Bundle::new();
        let log = bundle.at("log");
        let bundle = bundle.add("hooks.createRuntime", failing());
        let bundle = bundle.add(
            "hooks.createRuntime",
            noting("createRuntime", &log, "second"),
        );
        bundle
            .add("hooks.poststart", noting("poststart", &log, "third"))
            .run()
            .refused();
        assert!(notes(&log).is_empty());
    });
}

#[test]
fn a_failure_in_the_container_ends_the_start() {
    covers(&["hooks: a failure of startContainer ends the start"]).run(|| {
        let hook = json!({ "path": "/probe", "args": ENDING });
        let bundle = Bundle::doing(&["create /own/ran"]).add("hooks.startContainer", hook);
        let ended = bundle.run();
        assert!(!ended.status.success(), "{}", ended.story());
        assert!(!exists(bundle.rootfs().join("own/ran")), "the program ran");
    });
}

#[test]
fn a_failure_after_the_start_ends_the_container() {
    covers(&["hooks: a failure of poststart ends the container"])
        .known("runc", "1.1.5 calls it when the container is created")
        .known(
            "crun",
            "1.8 passes over it, as the specification had it before 1.3",
        )
        .run(|| {
            let bundle = Bundle::waiting().add("hooks.poststart", failing());
            bundle.create();
            let pid = bundle.pid();
            bundle.call("start", &[], &[]).refused();
            command::wait_until("its end", || (!alive(pid)).then_some(()));
        });
}

#[test]
fn a_failure_after_the_end_is_passed_over() {
    covers(&["hooks: a failure of poststop is passed over"])
        .known("runc", "1.1.5 leaves out the hooks after it")
        .run(|| {
            let bundle = Bundle::new();
            let log = bundle.at("log");
            let bundle = bundle.add("hooks.poststop", failing());
            let bundle = bundle.add("hooks.poststop", noting("poststop", &log, "second"));
            let before = of(&bundle);
            bundle.create();
            bundle.start();
            bundle.wait_for("stopped");
            bundle.call("delete", &[], &[]).succeeded();
            assert_eq!(notes(&log).len(), 1, "the second is called all the same");
            fs::remove_file(&log).unwrap();
            nothing_since(&bundle, &before);
        });
}

#[test]
fn a_missing_program_is_a_failure() {
    covers(&["hooks[].path"]).run(|| {
        let hook = json!({ "path": "/no/such/hook" });
        Bundle::new().add("hooks.createRuntime", hook).run_refused();
    });
}

#[test]
fn a_relative_path_is_refused() {
    covers(&["hooks[].path: a relative path is refused"])
        .known("crun", "1.8 takes it")
        .known("runc", "1.1.5 takes it")
        .run(|| {
            let bundle = Bundle::new();
            bundle.file("rootfs/own/hook", "#!/bin/sh\n");
            let path = bundle.directory.join("hook");
            fs::copy(host_probe(), path).unwrap();
            let hook = json!({ "path": "./hook", "args": ["hook", "answer"] });
            bundle.add("hooks.poststop", hook).run_refused();
        });
}

#[test]
fn a_hook_that_takes_too_long() {
    covers(&["hooks[].timeout"]).run(|| {
        let args = json!(["probe", "sleep", "600000"]);
        let hook = json!({ "path": host_probe(), "args": args, "timeout": 1 });
        let bundle = Bundle::doing(&["create /own/ran"]).add("hooks.createRuntime", hook);
        bundle.run_refused();
        assert!(!exists(bundle.rootfs().join("own/ran")));
    });
}

#[test]
fn a_time_limit_that_is_not_reached() {
    covers(&["hooks[].timeout"]).run(|| {
        let hook = json!({ "path": host_probe(), "args": ["probe", "answer"], "timeout": 30 });
        Bundle::new()
            .add("hooks.createRuntime", hook)
            .run()
            .succeeded();
    });
}

#[test]
fn a_time_limit_that_is_not_positive() {
    covers(&["hooks[].timeout: not positive is refused"])
        .known("crun", "1.8 takes it as none")
        .run(|| {
            for timeout in [0, -1] {
                let args = json!(["probe", "answer"]);
                let hook = json!({ "path": host_probe(), "args": args, "timeout": timeout });
                let bundle = Bundle::new().add("hooks.createRuntime", hook);
                bundle.run_refused().refused_naming(&["hooks", "timeout"]);
            }
        });
}
