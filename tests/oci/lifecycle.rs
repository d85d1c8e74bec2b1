//! The life of a container: create, start, kill, delete, and what each refuses.

use std::fs;

use serde_json::json;

use crate::support::bundle::exists;
use crate::support::leftovers::{alive, nothing_since, of};
use crate::support::{Bundle, command, covers};

#[test]
fn a_life_in_order() {
    covers(&[
        "create: the container is made",
        "start: the program runs",
        "kill: the signal reaches the process",
        "delete: everything is removed",
        "state.status: created",
        "state.status: running",
        "state.status: stopped",
    ])
    .run(|| {
        let bundle = Bundle::waiting();
        let before = of(&bundle);
        let output = bundle.create();
        assert_eq!(bundle.status(), "created");
        bundle.start();
        command::lines(&output, 1);
        assert_eq!(bundle.status(), "running");
        bundle.call("kill", &[], &["TERM"]).succeeded();
        bundle.wait_for("stopped");
        bundle.call("delete", &[], &[]).succeeded();
        bundle.call("state", &[], &[]).refused();
        assert!(fs::read_to_string(output).unwrap().contains("until ok 15"));
        nothing_since(&bundle, &before);
    });
}

#[test]
fn the_program_waits_for_start() {
    covers(&["create: the program does not run"]).run(|| {
        let bundle = Bundle::doing(&["create /own/made"]);
        bundle.create();
        assert_eq!(bundle.status(), "created");
        assert!(alive(bundle.pid()));
        assert!(!exists(bundle.rootfs().join("own/made")));
        bundle.start();
        bundle.wait_for("stopped");
        assert!(exists(bundle.rootfs().join("own/made")));
    });
}

#[test]
fn an_id_in_use_is_refused() {
    covers(&["create: an id in use is an error"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.create();
        bundle
            .create_as_is(&[])
            .refused_naming(&[&bundle.id, "exist"]);
        assert_eq!(bundle.status(), "created");
        bundle.run_with(&[]).refused();
        assert!(alive(bundle.pid()), "the first container is gone");
    });
}

#[test]
fn an_id_can_be_used_again() {
    covers(&["delete: the id can be used again"]).run(|| {
        let bundle = Bundle::doing(&["pid"]);
        for _ in 0..2 {
            bundle.create();
            bundle.start();
            bundle.wait_for("stopped");
            bundle.call("delete", &[], &[]).succeeded();
        }
    });
}

#[test]
fn config_is_read_once() {
    covers(&["create: later changes of config.json have no effect"]).run(|| {
        let mut bundle = Bundle::doing(&["see"]).set("hostname", json!("before"));
        let output = bundle.create();
        bundle.change("hostname", json!("after"));
        bundle.change("process.args", json!(["/probe", "pid"]));
        bundle.write();
        bundle.start();
        bundle.wait_for("stopped");
        let text = fs::read_to_string(output).unwrap();
        let seen = crate::support::Seen::in_text(&text).expect("it saw");
        assert_eq!(seen.0["hostname"], "before");
    });
}

#[test]
fn a_second_start_is_refused() {
    covers(&["start: only a created container"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.launch();
        bundle.call("start", &[], &[]).refused();
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn a_stopped_container_does_not_start() {
    covers(&["start: only a created container"]).run(|| {
        let bundle = Bundle::doing(&["pid"]);
        bundle.create();
        bundle.start();
        bundle.wait_for("stopped");
        bundle.call("start", &[], &[]).refused();
        assert_eq!(bundle.status(), "stopped");
    });
}

#[test]
fn a_running_container_is_not_deleted() {
    covers(&["delete: only a stopped container"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.launch();
        bundle.call("delete", &[], &[]).refused();
        assert_eq!(bundle.status(), "running");
        assert!(alive(bundle.pid()));
    });
}

#[test]
fn force_deletes_a_running_container() {
    covers(&["delete --force"]).run(|| {
        let bundle = Bundle::waiting();
        let before = of(&bundle);
        bundle.launch();
        let pid = bundle.pid();
        bundle.call("delete", &["--force"], &[]).succeeded();
        assert!(!alive(pid));
        bundle.call("state", &[], &[]).refused();
        nothing_since(&bundle, &before);
    });
}

#[test]
fn force_deletes_a_created_container() {
    covers(&["delete --force"]).run(|| {
        let bundle = Bundle::doing(&["create /own/made"]);
        let before = of(&bundle);
        bundle.create();
        let pid = bundle.pid();
        bundle.call("delete", &["--force"], &[]).succeeded();
        assert!(!alive(pid));
        nothing_since(&bundle, &before);
        assert!(!exists(bundle.rootfs().join("own/made")), "the program ran");
    });
}

#[test]
fn force_takes_an_id_that_does_not_exist() {
    covers(&["delete --force: an id that does not exist is no error"]).run(|| {
        Bundle::new().call("delete", &["--force"], &[]).succeeded();
    });
}

#[test]
fn an_unknown_id_is_refused_by_every_command() {
    covers(&[
        "state: an id that does not exist is an error",
        "start: an id that does not exist is an error",
        "kill: an id that does not exist is an error",
        "delete: an id that does not exist is an error",
    ])
    .run(|| {
        let bundle = Bundle::new();
        let before = of(&bundle);
        for name in ["state", "start", "delete", "pause", "resume"] {
            bundle.call(name, &[], &[]).refused();
        }
        bundle.call("kill", &[], &["KILL"]).refused();
        bundle.call("exec", &[], &["/probe", "pid"]).refused();
        bundle.call("ps", &[], &[]).refused();
        nothing_since(&bundle, &before);
    });
}

#[test]
fn a_stopped_container_is_not_killed() {
    covers(&["kill: only a created or running container"]).run(|| {
        let bundle = Bundle::doing(&["pid"]);
        bundle.create();
        bundle.start();
        bundle.wait_for("stopped");
        bundle.call("kill", &[], &["TERM"]).refused();
    });
}

#[test]
fn a_created_container_is_killed() {
    covers(&["kill: only a created or running container"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.create();
        bundle.call("kill", &[], &["KILL"]).succeeded();
        bundle.wait_for("stopped");
        bundle.call("delete", &[], &[]).succeeded();
    });
}

#[test]
fn signals_have_names_and_numbers() {
    covers(&["kill: by name and by number"]).run(|| {
        for signal in ["TERM", "SIGTERM", "15"] {
            let bundle = Bundle::waiting();
            let output = bundle.launch();
            bundle.call("kill", &[], &[signal]).succeeded();
            let text = command::lines(&output, 2);
            assert!(text.contains("until ok 15"), "{signal}: {text}");
        }
    });
}

#[test]
fn real_time_signals_have_numbers() {
    covers(&["kill: by name and by number"]).run(|| {
        let bundle = Bundle::doing(&["block 40", "until 40"]);
        let output = bundle.launch();
        bundle.call("kill", &[], &["40"]).succeeded();
        assert!(command::lines(&output, 2).contains("until ok 40"));
    });
}

#[test]
fn an_unknown_signal_is_refused() {
    covers(&["kill: by name and by number"])
        .known("crun", "1.8 sends signal 0 instead")
        .run(|| {
            let bundle = Bundle::waiting();
            bundle.launch();
            bundle.call("kill", &[], &["NOSUCH"]).refused();
            assert_eq!(bundle.status(), "running");
        });
}

#[test]
fn the_signal_without_a_name_is_term() {
    covers(&["kill: SIGTERM without a signal"]).run(|| {
        let bundle = Bundle::waiting();
        let output = bundle.launch();
        bundle.call("kill", &[], &[]).succeeded();
        assert!(command::lines(&output, 2).contains("until ok 15"));
    });
}

#[test]
fn all_processes_are_killed() {
    covers(&["kill --all"]).run(|| {
        let actions = ["block 15", "background sleep 600000", "until 15"];
        let bundle = Bundle::doing(&actions).without_namespace("pid");
        let output = bundle.create();
        bundle.start();
        let text = command::lines(&output, 2);
        let child = text
            .lines()
            .find_map(|line| line.strip_prefix("background ok "));
        let child: u32 = child.expect("a child").parse().unwrap();
        assert!(alive(child));
        bundle.call("kill", &["--all"], &["KILL"]).succeeded();
        command::wait_until("the child's end", || (!alive(child)).then_some(()));
        bundle.wait_for("stopped");
    });
}

#[test]
fn delete_keeps_what_is_not_its_own() {
    covers(&["delete: what the runtime did not make stays"]).run(|| {
        let bundle = Bundle::doing(&["write /data/file new"]);
        let file = bundle.file("data/file", "old");
        let bundle = bundle.add(
            "mounts",
            json!({ "destination": "/data", "source": "data", "options": ["bind"] }),
        );
        bundle.create();
        bundle.start();
        bundle.wait_for("stopped");
        bundle.call("delete", &[], &[]).succeeded();
        assert_eq!(fs::read_to_string(file).unwrap(), "new");
        assert!(exists(bundle.directory.join("config.json")));
        assert!(exists(bundle.rootfs().join("probe")));
    });
}
