//! `linux.cgroupsPath`, freezing, changing limits, statistics.

use std::fs;

use serde_json::{Value, json};

use crate::support::bundle::CGROUP;
use crate::support::cgroup::{check, read, shows};
use crate::support::leftovers::cgroups;
use crate::support::{Bundle, Cgroups, Need, command, covers};

#[test]
fn an_absolute_path() {
    covers(&["linux.cgroupsPath: absolute"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.create();
        let text = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
        let wanted = format!("/{CGROUP}/{}", bundle.id);
        let controllers = text.lines().filter(|line| match Cgroups::of_host() {
            Cgroups::Version1 => line.contains(":memory:") || line.contains(":pids:"),
            Cgroups::Version2 => true,
        });
        for line in controllers {
            assert!(line.ends_with(&wanted), "{line}");
        }
        let found = cgroups(&bundle.id);
        assert!(!found.is_empty());
        bundle.call("delete", &["--force"], &[]).succeeded();
        assert!(cgroups(&bundle.id).is_empty());
    });
}

#[test]
fn a_relative_path() {
    covers(&["linux.cgroupsPath: relative"]).run(|| {
        let bundle = Bundle::waiting();
        let path = format!("{CGROUP}/relative/{}", bundle.id);
        let bundle = bundle.set("linux.cgroupsPath", json!(path));
        bundle.create();
        assert!(!cgroups(&bundle.id).is_empty());
        // The same path gives the same place, wherever that is.
        let text = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
        assert!(text.contains(&path), "{text}");
    });
}

#[test]
fn no_path() {
    covers(&["linux.cgroupsPath: absent"]).run(|| {
        let bundle = Bundle::waiting().without("linux.cgroupsPath");
        bundle.create();
        assert!(
            !cgroups(&bundle.id).is_empty(),
            "it is in no cgroup of its own"
        );
        bundle.call("delete", &["--force"], &[]).succeeded();
        assert!(cgroups(&bundle.id).is_empty());
    });
}

#[test]
fn every_process_is_in() {
    covers(&["linux.cgroupsPath: absolute", "linux.resources.pids.limit"]).run(|| {
        let bundle = Bundle::doing(&["block 15", "background sleep 600000", "until 15"]);
        let output = bundle.create();
        bundle.start();
        command::lines(&output, 2);
        let text = read(&bundle, "pids", "cgroup.procs");
        assert_eq!(text.lines().count(), 2, "{text}");
    });
}

/// Whether the container makes progress: a frozen one answers no signal.
#[test]
fn frozen_and_thawed() {
    covers(&["pause", "resume"])
        .known_on(
            Cgroups::Version1,
            "reeve",
            "freezes the group of version 2 if there is one: it can be killed",
        )
        .run(|| {
            let bundle = Bundle::waiting();
            let output = bundle.launch();
            bundle.call("pause", &[], &[]).succeeded();
            assert_eq!(bundle.status(), "paused");
            let frozen = shows(
                ("freezer", "freezer.state", "FROZEN"),
                ("cgroup.freeze", "1"),
            );
            check(&bundle, &frozen);
            bundle.call("kill", &[], &["TERM"]).succeeded();
            assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), 1);
            bundle.call("resume", &[], &[]).succeeded();
            assert!(command::lines(&output, 2).contains("until ok 15"));
            bundle.wait_for("stopped");
        });
}

#[test]
fn a_stopped_container_is_not_frozen() {
    covers(&["pause", "resume"]).run(|| {
        let bundle = Bundle::doing(&["pid"]);
        bundle.create();
        bundle.start();
        bundle.wait_for("stopped");
        bundle.call("pause", &[], &[]).refused();
        bundle.call("resume", &[], &[]).refused();
    });
}

#[test]
fn a_frozen_container_is_deleted_by_force() {
    covers(&["delete --force", "pause"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.launch();
        bundle.call("pause", &[], &[]).succeeded();
        bundle.call("delete", &["--force"], &[]).succeeded();
        bundle.call("state", &[], &[]).refused();
        assert!(cgroups(&bundle.id).is_empty());
    });
}

#[test]
fn limits_change_by_options() {
    covers(&["update: options"])
        .needs(Need::Controller("memory"))
        .run(|| {
            let bundle = Bundle::waiting();
            bundle.launch();
            let flags = [
                "--memory",
                "67108864",
                "--cpu-share",
                "262144",
                "--pids-limit",
                "33",
            ];
            bundle.call("update", &flags, &[]).succeeded();
            let memory = ("memory", "memory.limit_in_bytes", "67108864");
            check(&bundle, &shows(memory, ("memory.max", "67108864")));
            check(
                &bundle,
                &shows(("cpu", "cpu.shares", "262144"), ("cpu.weight", "10000")),
            );
            check(
                &bundle,
                &shows(("pids", "pids.max", "33"), ("pids.max", "33")),
            );
            let flags = ["--cpu-quota", "30000", "--cpu-period", "60000"];
            bundle.call("update", &flags, &[]).succeeded();
            check(
                &bundle,
                &shows(
                    ("cpu", "cpu.cfs_quota_us", "30000"),
                    ("cpu.max", "30000 60000"),
                ),
            );
            // What is not named stays.
            check(
                &bundle,
                &shows(("pids", "pids.max", "33"), ("pids.max", "33")),
            );
        });
}

#[test]
fn limits_change_by_a_file() {
    covers(&["update --resources"])
        .needs(Need::Controller("memory"))
        .run(|| {
            let bundle = Bundle::waiting();
            bundle.launch();
            let resources = json!({
                "memory": { "limit": 67_108_864, "reservation": 33_554_432 },
                "pids": { "limit": 44 },
            });
            bundle.file("resources.json", &resources.to_string());
            let path = bundle.at("resources.json");
            bundle
                .call("update", &["--resources", &path], &[])
                .succeeded();
            let memory = ("memory", "memory.limit_in_bytes", "67108864");
            check(&bundle, &shows(memory, ("memory.max", "67108864")));
            check(
                &bundle,
                &shows(("pids", "pids.max", "44"), ("pids.max", "44")),
            );
        });
}

#[test]
fn limits_change_by_standard_input() {
    covers(&["update --resources"])
        .known_on(
            Cgroups::Version2,
            "crun",
            "1.8 opens `/dev/stdin`, which the test machine has not",
        )
        .run(|| {
            let bundle = Bundle::waiting();
            bundle.launch();
            let path = bundle.file("resources.json", r#"{ "pids": { "limit": 45 } }"#);
            let mut update = bundle.command("update", &["--resources", "-"], &[]);
            update.stdin(fs::File::open(path).unwrap());
            command::run(&mut update, &bundle.directory).succeeded();
            check(
                &bundle,
                &shows(("pids", "pids.max", "45"), ("pids.max", "45")),
            );
        });
}

#[test]
fn limits_that_are_wrong() {
    covers(&["update --resources"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.launch();
        bundle.file("resources.json", "{ \"memory\": ");
        let path = bundle.at("resources.json");
        bundle
            .call("update", &["--resources", &path], &[])
            .refused();
        bundle
            .call("update", &["--resources", "/no/such/file"], &[])
            .refused();
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn statistics() {
    covers(&["events --stats"])
        .known("crun", "1.8 has no such command")
        .run(|| {
            let bundle = Bundle::waiting().set("linux.resources.pids", json!({ "limit": 66 }));
            bundle.launch();
            let ended = bundle.call("events", &["--stats"], &[]).succeeded();
            let event: Value = serde_json::from_str(&ended.stdout).expect("JSON");
            assert_eq!(event["type"], "stats");
            assert_eq!(event["id"], json!(bundle.id));
            let data = &event["data"];
            assert!(
                data["cpu"]["usage"]["total"]
                    .as_u64()
                    .is_some_and(|time| time > 0),
                "{event}"
            );
            assert!(
                data["memory"]["usage"]["usage"]
                    .as_u64()
                    .is_some_and(|use_| use_ > 0)
            );
            assert_eq!(data["pids"]["current"], 1);
            assert_eq!(data["pids"]["limit"], 66);
        });
}
