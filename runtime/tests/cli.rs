//! The command line as an engine or a script sees it: options, output, errors and exit statuses.
//!
//! Needs no privilege: containers are state files whose first process is a child of the test.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is a failure, in its helpers too"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

fn reeve(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_str(stdout(output)).unwrap()
}

/// A state directory with one container, `web`, whose first process is `sleep`.
struct Host {
    dir: TempDir,
    process: Child,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new("sleep").arg("600").spawn().unwrap();
        let host = Self { dir, process };
        let bundle = host.path("bundle");
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        let config = json!({
            "ociVersion": "1.1.0",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sleep"], "user": {"uid": 0, "gid": 0}},
            "annotations": {"org.example.key": "value"},
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        let group = host.path("group");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("cgroup.procs"), format!("{}\n", host.pid())).unwrap();
        let state = json!({
            "version": 1, "id": "web", "creator": null, "bundle": bundle, "policy": null,
            "rootfs": bundle.join("rootfs"), "created_ms": 1_795_356_073_120_u64,
            "oci_version": "1.1.0", "annotations": config["annotations"],
            "process": {"pid": host.pid(), "start_ticks": start_ticks(host.pid())},
            "cgroups": {"v2": null, "v1": [group], "roots": []},
        });
        fs::create_dir_all(host.path("root/web")).unwrap();
        fs::write(host.path("root/web/state.json"), state.to_string()).unwrap();
        for dir in ["bundle", "root/web"] {
            let path = host.path(dir).join("config.json");
            fs::write(path, config.to_string()).unwrap();
        }
        host
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn reeve(&self, args: &[&str]) -> Output {
        let root = self.path("root");
        reeve(&[&["--root", root.to_str().unwrap()], args].concat())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended in the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(19).unwrap().parse().unwrap()
}

#[test]
fn the_version_is_what_engines_parse() {
    for option in ["--version", "-v", "-V", "-version"] {
        let output = reeve(&[option]);
        assert!(output.status.success());
        let version = env!("CARGO_PKG_VERSION");
        let lines: Vec<&str> = stdout(&output).trim_end().lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], format!("reeve version {version}"));
        assert!(lines[1].starts_with("commit: "), "{lines:?}");
        assert!(lines[2].starts_with("spec: 1."), "{lines:?}");
    }
}

#[test]
fn every_command_explains_itself() {
    let help = reeve(&["--help"]);
    let bare = reeve(&[]);
    assert_eq!(stdout(&help), stdout(&bare));
    assert!(help.status.success() && bare.status.success());
    let commands = stdout(&help).lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase());
        (plain && !name.is_empty() && name != "reeve").then_some(name)
    });
    let commands: Vec<&str> = commands.collect();
    assert!(commands.len() >= 12, "{commands:?}");
    for command in commands {
        for args in [[command, "--help"], ["help", command]] {
            let output = reeve(&args);
            assert!(output.status.success(), "{args:?}: {}", stderr(&output));
            assert!(stdout(&output).contains("Examples:"), "{args:?}");
        }
    }
}

#[test]
fn wrong_usage_exits_with_1_and_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    for args in [
        &["nonsuch"][..],
        &["list", "--nonsuch"],
        &["state"],
        &["kill", "a", "NONE"],
    ] {
        let log = format!("--log={}", log.display());
        let options = [log.as_str(), "--log-format=json"];
        let output = reeve(&[&options, args].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr(&output).starts_with("error: "), "{args:?}");
    }
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().count(), 4);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "error");
        assert!(!line["msg"].as_str().unwrap().is_empty());
    }
}

/// containerd takes the `msg` of the last error; people read standard error all the same.
#[test]
fn an_error_is_in_the_log_and_on_standard_error() {
    let host = Host::new();
    let log = host.path("log");
    let log = log.to_str().unwrap();
    let output = host.reeve(&["--log", log, "--log-format", "json", "state", "nope"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("container `nope` does not exist"));
    assert!(stderr(&output).contains("\nhelp: "));
    let line: Value = serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
    assert!(line["msg"].as_str().unwrap().contains("does not exist"));
    let time = line["time"].as_str().unwrap();
    assert_eq!((time.len(), &time[10..11], &time[19..]), (20, "T", "Z"));

    let output = host.reeve(&["--log-format", "json", "state", "nope"]);
    assert!(stderr(&output).starts_with("{\"level\":\"error\""));

    fs::remove_file(log).unwrap();
    host.reeve(&["--log", log, "state", "nope"]);
    let text = fs::read_to_string(log).unwrap();
    assert!(text.starts_with("time=\"20"), "{text}");
    assert!(text.contains(" level=error msg=\"container"), "{text}");

    let output = host.reeve(&["--log", "/nonexistent/log", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/log"));
}

#[test]
fn state_and_list_show_a_container() {
    let host = Host::new();
    let state = json_of(&host.reeve(&["state", "web"]));
    let bundle = host.path("bundle");
    let expected = json!({
        "ociVersion": "1.1.0",
        "id": "web",
        "pid": host.pid(),
        "status": "running",
        "bundle": bundle,
        "rootfs": bundle.join("rootfs"),
        "created": "2026-11-22T14:01:13.12Z",
        "annotations": {"org.example.key": "value"},
        "owner": state["owner"],
        "policy": null,
    });
    assert_eq!(state, expected);
    for args in [["--format", "json"], ["-f", "json"], ["--json", "--debug"]] {
        let list = json_of(&host.reeve(&[&["list"][..], &args].concat()));
        assert_eq!(list, json!([expected]));
    }
    assert_eq!(stdout(&host.reeve(&["list", "--quiet"])), "web\n");
    let table = host.reeve(&["list"]);
    let table: Vec<&str> = stdout(&table).lines().collect();
    let heading: Vec<&str> = table[0].split_whitespace().collect();
    let names = [
        "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", "POLICY",
    ];
    assert_eq!(heading, names);
    assert!(table[1].starts_with("web         "), "{table:?}");
    assert_eq!(table.len(), 2);
}

#[test]
fn a_root_without_containers() {
    let none = ["--root", "/nonexistent/reeve", "list"];
    assert_eq!(stdout(&reeve(&[&none[..], &["-q"]].concat())), "");
    assert_eq!(
        json_of(&reeve(&[&none[..], &["-f", "json"]].concat())),
        json!([])
    );
    assert_eq!(stdout(&reeve(&none)).lines().count(), 1);
}

#[test]
fn kill_sends_by_name_and_number() {
    for (signal, number) in [("USR1", 10), ("SIGTERM", 15), ("9", 9)] {
        let mut host = Host::new();
        assert!(host.reeve(&["kill", "web", "0"]).status.success());
        assert!(host.reeve(&["kill", "web", signal]).status.success());
        assert_eq!(host.process.wait().unwrap().signal(), Some(number));
        let output = host.reeve(&["kill", "web", signal]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("container not running"));
        // Engines clean up with it when the first process has ended.
        assert!(host.reeve(&["kill", "--all", "web", "9"]).status.success());
        assert_eq!(json_of(&host.reeve(&["state", "web"]))["status"], "stopped");
        assert_eq!(json_of(&host.reeve(&["state", "web"]))["pid"], 0);
    }
}

#[test]
fn ps_shows_the_processes_of_the_groups() {
    let host = Host::new();
    let pids = json_of(&host.reeve(&["ps", "--format", "json", "web"]));
    assert_eq!(pids, json!([host.pid()]));
    if Command::new("ps").arg("-ef").output().is_err() {
        // `reeve` says so, too.
        let output = host.reeve(&["ps", "web"]);
        assert!(stderr(&output).contains("install"), "{}", stderr(&output));
        return;
    }
    for options in [&[][..], &["-o", "pid,args", "-e"], &["aux"]] {
        let output = host.reeve(&[&["ps", "web"], options].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let lines: Vec<&str> = stdout(&output).lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("PID") && lines[1].contains("sleep 600"));
    }
    let output = host.reeve(&["ps", "web", "-eo", "args"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no column `PID`"));
}

#[test]
fn spec_writes_a_configuration_once() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().to_str().unwrap();
    assert!(reeve(&["spec", "--bundle", bundle]).status.success());
    let text = fs::read_to_string(dir.path().join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["mounts"].as_array().unwrap().len(), 7);
    let again = reeve(&["spec", "-b", bundle]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already exists"));
    let rootless = tempfile::tempdir().unwrap();
    let bundle = rootless.path().to_str().unwrap();
    assert!(
        reeve(&["spec", "--rootless", "-b", bundle])
            .status
            .success()
    );
    let text = fs::read_to_string(rootless.path().join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(config["linux"]["uidMappings"][0]["hostID"], uid);
}

#[test]
fn features_are_a_document_of_the_specification() {
    let features = json_of(&reeve(&["features"]));
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(
        features["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .contains(&json!("pid"))
    );
    assert!(
        features["mountOptions"]
            .as_array()
            .unwrap()
            .contains(&json!("rro"))
    );
}

fn stand_in_for_criu(path: &Path, log: &Path, status: u8) {
    let mut file = fs::File::create(path).unwrap();
    let text = format!(
        "#!/bin/sh\necho \"$@\" > '{}'\nexit {status}\n",
        log.display()
    );
    file.write_all(text.as_bytes()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_checkpoint_is_made_by_criu() {
    let host = Host::new();
    let (criu, log, image) = (host.path("criu"), host.path("log"), host.path("image"));
    let image = image.to_str().unwrap();
    let checkpoint = |more: &[&str]| {
        let options = [
            "--criu",
            criu.to_str().unwrap(),
            "checkpoint",
            "--image-path",
            image,
        ];
        host.reeve(&[&options[..], more, &["web"]].concat())
    };
    let output = checkpoint(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("CRIU, which makes checkpoints, is not"),
        "{}",
        stderr(&output)
    );

    stand_in_for_criu(&criu, &log, 1);
    let output = checkpoint(&["--leave-running"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("criu dump failed"),
        "{}",
        stderr(&output)
    );

    stand_in_for_criu(&criu, &log, 0);
    let output = checkpoint(&["--leave-running", "--tcp-established"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let line = fs::read_to_string(&log).unwrap();
    let pid = host.pid();
    assert!(
        line.starts_with(&format!("dump --images-dir {image} ")),
        "{line}"
    );
    assert!(line.contains(&format!("--tree {pid} ")), "{line}");
    assert!(line.contains("--tcp-established"), "{line}");
    let descriptors = fs::read_to_string(host.path("image/descriptors.json")).unwrap();
    let descriptors: Vec<String> = serde_json::from_str(&descriptors).unwrap();
    assert_eq!(descriptors.len(), 3);
    assert_eq!(stdout(&host.reeve(&["list", "-q"])), "web\n");
}

#[test]
fn what_is_no_checkpoint_is_not_restored() {
    let host = Host::new();
    let bundle = host.path("bundle");
    let restore = [
        "restore",
        "--image-path",
        "/nonexistent",
        "-b",
        bundle.to_str().unwrap(),
    ];
    let output = host.reeve(&[&restore[..], &["new"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&host.reeve(&["list", "-q"])), "web\n");
}
