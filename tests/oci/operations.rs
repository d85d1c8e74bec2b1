//! State, and the commands that tell of containers or of the runtime.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Bundle, command, covers};

#[test]
fn the_state_of_a_created_container() {
    covers(&[
        "state.ociVersion",
        "state.id",
        "state.pid",
        "state.bundle",
        "state.annotations",
    ])
    .run(|| {
        let annotations = json!({ "org.example.a": "1", "org.example.b": "two words" });
        let bundle = Bundle::waiting().set("annotations", annotations);
        bundle.create();
        let state = bundle.state();
        let version = state["ociVersion"].as_str().expect("a version");
        assert!(version.starts_with("1."), "{version}");
        assert_eq!(state["id"], json!(bundle.id));
        let directory = fs::canonicalize(&bundle.directory).unwrap();
        let told = state["bundle"].as_str().expect("a bundle");
        assert_eq!(fs::canonicalize(told).unwrap(), directory);
        assert_eq!(state["annotations"]["org.example.a"], "1");
        assert_eq!(state["annotations"]["org.example.b"], "two words");
        let environment = fs::read(format!("/proc/{}/root/probe", bundle.pid()));
        assert!(environment.is_ok(), "the pid is not the container's");
    });
}

#[test]
fn the_state_of_a_stopped_container() {
    covers(&["state.status: stopped"]).run(|| {
        let bundle = Bundle::doing(&["pid"]);
        bundle.create();
        bundle.start();
        bundle.wait_for("stopped");
        let state = bundle.state();
        assert_eq!(state["id"], json!(bundle.id));
        assert_eq!(state["pid"].as_u64().unwrap_or(0), 0, "{state}");
    });
}

#[test]
fn annotations_need_keys() {
    covers(&["annotations: empty key is refused"])
        .known("runc", "takes any key")
        .known("crun", "takes any key")
        .run(|| {
            let bundle = Bundle::new().set("annotations", json!({ "": "value" }));
            bundle.run_refused().refused_naming(&["annotation"]);
        });
}

#[test]
fn annotations_pass_through() {
    covers(&["annotations"]).run(|| {
        let bundle = Bundle::waiting().set("annotations", json!({ "key": "ü \"quoted\"" }));
        bundle.create();
        assert_eq!(bundle.state()["annotations"]["key"], "ü \"quoted\"");
    });
}

#[test]
fn list_shows_containers() {
    covers(&["list"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.launch();
        let ended = command::run(bundle.runtime().arg("list"), &bundle.directory).succeeded();
        let mut lines = ended.stdout.lines();
        let header = lines.next().expect("a header");
        assert!(
            header.starts_with("ID") || header.starts_with("NAME"),
            "{header}"
        );
        for word in ["PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] {
            assert!(header.contains(word), "{header}");
        }
        let line = lines.next().expect("a line");
        assert!(
            line.contains(&bundle.id) && line.contains("running"),
            "{line}"
        );
        assert!(line.contains(&bundle.pid().to_string()), "{line}");
        assert_eq!(lines.next(), None);
    });
}

#[test]
fn list_as_json() {
    covers(&["list --format json"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.launch();
        let mut list = bundle.runtime();
        let ended = command::run(list.args(["list", "--format", "json"]), &bundle.directory);
        let list: Value = serde_json::from_str(&ended.succeeded().stdout).expect("JSON");
        let list = list.as_array().expect("a list");
        assert_eq!(list.len(), 1);
        assert_eq!(list[0]["id"], json!(bundle.id));
        assert_eq!(list[0]["status"], "running");
        assert_eq!(list[0]["pid"], json!(bundle.pid()));
        assert!(list[0]["created"].is_string(), "{}", list[0]);
    });
}

#[test]
fn list_of_names() {
    covers(&["list --quiet"]).run(|| {
        let bundle = Bundle::waiting();
        let list = || {
            let mut list = bundle.runtime();
            command::run(list.args(["list", "--quiet"]), &bundle.directory)
                .succeeded()
                .stdout
        };
        assert_eq!(list(), "");
        bundle.create();
        assert_eq!(list().trim_end(), bundle.id);
    });
}

#[test]
fn ps_shows_processes() {
    covers(&["ps"])
        .known("crun", "1.8 shows process ids only")
        .run(|| {
            let bundle = Bundle::waiting();
            bundle.launch();
            let ended = bundle.call("ps", &[], &[]).succeeded();
            assert!(ended.stdout.contains("PID"), "{}", ended.story());
            assert!(
                ended.stdout.contains(&bundle.pid().to_string()),
                "{}",
                ended.story()
            );
            assert!(ended.stdout.contains("/probe"), "{}", ended.story());
        });
}

#[test]
fn ps_as_json() {
    covers(&["ps --format json"]).run(|| {
        let actions = ["block 15", "background sleep 600000", "until 15"];
        let bundle = Bundle::doing(&actions);
        let output = bundle.create();
        bundle.start();
        command::lines(&output, 2);
        let ended = bundle.call("ps", &["--format", "json"], &[]).succeeded();
        let list: Vec<u32> = serde_json::from_str(&ended.stdout).expect("a list of numbers");
        assert_eq!(list.len(), 2);
        assert!(list.contains(&bundle.pid()));
    });
}

#[test]
fn spec_makes_a_usable_config() {
    covers(&["spec"]).run(|| {
        let bundle = Bundle::new();
        let mut spec = bundle.runtime();
        command::run(spec.arg("spec"), &bundle.directory).succeeded();
        let text = fs::read_to_string(bundle.directory.join("config.json")).expect("config.json");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(config["root"]["path"], "rootfs");
        assert_eq!(config["process"]["args"], json!(["sh"]));
        config["process"]["args"] = json!(["/probe", "pid"]);
        config["process"]["terminal"] = json!(false);
        bundle.write_text(config.to_string());
        let ended = bundle.call("run", &[], &[]).succeeded();
        assert_eq!(ended.stdout, "pid ok 1\n");
    });
}

#[test]
fn spec_into_a_bundle_and_never_over_a_file() {
    covers(&["spec --bundle"]).run(|| {
        let bundle = Bundle::new();
        let place = bundle.directory.join("other");
        fs::create_dir(&place).unwrap();
        let spec = || {
            let mut spec = bundle.runtime();
            spec.arg("spec").arg("--bundle").arg(&place);
            command::run(&mut spec, &bundle.directory)
        };
        spec().succeeded();
        fs::write(place.join("config.json"), "mine").unwrap();
        spec().refused();
        assert_eq!(
            fs::read_to_string(place.join("config.json")).unwrap(),
            "mine"
        );
    });
}

#[test]
fn spec_for_who_is_not_root() {
    covers(&["spec --rootless"])
        .known("crun", "1.8 keeps the network namespace")
        .run(|| {
            let bundle = Bundle::new();
            let mut spec = bundle.runtime();
            command::run(spec.args(["spec", "--rootless"]), &bundle.directory).succeeded();
            let text =
                fs::read_to_string(bundle.directory.join("config.json")).expect("config.json");
            let config: Value = serde_json::from_str(&text).expect("JSON");
            let namespaces = config["linux"]["namespaces"]
                .as_array()
                .expect("namespaces");
            assert!(
                namespaces
                    .iter()
                    .any(|namespace| namespace["type"] == "user")
            );
            assert!(
                namespaces
                    .iter()
                    .all(|namespace| namespace["type"] != "network")
            );
            assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
            assert!(config["linux"]["gidMappings"].is_array());
        });
}

#[test]
fn features_tell_what_is_known() {
    covers(&["features"])
        .known("runc", "1.1.5 was built without the command in Debian")
        .known("crun", "1.8 has no such command")
        .run(|| {
            let bundle = Bundle::new();
            let mut features = bundle.runtime();
            let ended = command::run(features.arg("features"), &bundle.directory).succeeded();
            let known: Value = serde_json::from_str(&ended.stdout).expect("JSON");
            assert!(known["ociVersionMin"].is_string());
            assert!(known["ociVersionMax"].as_str().unwrap() >= "1.2.0");
            let has = |list: &Value, name: &str| list.as_array().unwrap().contains(&json!(name));
            for hook in [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
            ] {
                assert!(has(&known["hooks"], hook), "{hook}");
            }
            for option in ["ro", "rro", "rbind", "noatime", "idmap"] {
                assert!(has(&known["mountOptions"], option), "{option}");
            }
            let linux = &known["linux"];
            for kind in ["pid", "user", "cgroup", "time"] {
                assert!(has(&linux["namespaces"], kind), "{kind}");
            }
            assert!(has(&linux["capabilities"], "CAP_SYS_ADMIN"));
            assert_eq!(linux["cgroup"]["v2"], true);
            assert_eq!(linux["seccomp"]["enabled"], true);
            assert!(has(&linux["seccomp"]["actions"], "SCMP_ACT_NOTIFY"));
            assert!(has(&linux["seccomp"]["operators"], "SCMP_CMP_MASKED_EQ"));
        });
}

#[test]
fn version_is_told() {
    covers(&["--version"]).run(|| {
        let bundle = Bundle::new();
        let ended = command::run(bundle.runtime().arg("--version"), &bundle.directory).succeeded();
        assert!(ended.stdout.contains(char::is_numeric), "{}", ended.story());
    });
}

#[test]
fn errors_go_to_the_log() {
    covers(&["--log", "--log-format"]).run(|| {
        let bundle = Bundle::new();
        let log = bundle.at("log");
        let mut state = bundle.runtime();
        state.args([
            "--log",
            &log,
            "--log-format",
            "json",
            "state",
            "no-such-container",
        ]);
        let ended = command::run(&mut state, &bundle.directory);
        assert!(!ended.status.success());
        let text = fs::read_to_string(&log).expect("a log");
        let line = text.lines().last().expect("a line in the log");
        let entry: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(entry["level"], "error", "{line}");
        assert!(
            entry["msg"].as_str().is_some_and(|text| !text.is_empty()),
            "{line}"
        );
    });
}

#[test]
fn state_directories_are_apart() {
    covers(&["--root"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.create();
        let other = bundle.directory.join("other");
        let mut state = command::runtime(&other);
        state.arg("state").arg(&bundle.id);
        command::run(&mut state, &bundle.directory).refused();
        assert_eq!(bundle.status(), "created");
    });
}

#[test]
fn an_unknown_option_is_refused() {
    covers(&["bad: options that do not exist"]).run(|| {
        let bundle = Bundle::new();
        bundle.call("create", &["--no-such-option"], &[]).refused();
        bundle.call("no-such-command", &[], &[]).refused();
    });
}
