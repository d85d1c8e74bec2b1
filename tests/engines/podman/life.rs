//! What Podman does to a container that runs.

use std::fs;

use super::{Container, podman};

/// Catches the signals that come, by number.
const CATCHING: &str = "trap 'echo hup' HUP; trap 'echo term; exit 5' TERM; echo ready; \
    sleep 1000 & while :; do wait; done";

#[test]
fn kill_and_stop() {
    let box_ = Container::start(&[], CATCHING);
    box_.wait_for_log("ready");
    box_.podman(&["kill", "--signal=HUP"], &[]).ok();
    box_.wait_for_log("hup");
    box_.podman(&["stop"], &[]).ok();
    box_.podman(&["logs"], &[])
        .ok()
        .prints(&["ready", "hup", "term"]);
    assert_eq!(
        box_.inspect("{{.State.Status}} {{.State.ExitCode}}"),
        "exited 5"
    );
    // Once more, and the end that cannot be caught.
    box_.podman(&["start"], &[]).ok();
    box_.podman(&["kill"], &[]).ok();
    box_.podman(&["wait"], &[]).ok().prints(&["137"]);
}

/// A process that does not care for SIGTERM is killed after the grace period.
#[test]
fn stop_the_stubborn() {
    let box_ = Container::start(&[], "trap '' TERM; sleep 1000 & wait");
    box_.podman(&["stop", "--time=1"], &[]).ok();
    box_.podman(&["wait"], &[]).ok().prints(&["137"]);
    let id = box_.inspect("{{.Id}}");
    box_.podman(&["rm"], &[]).ok();
    crate::machine::nothing_left(&id);
}

#[test]
fn pause_and_unpause() {
    let box_ = Container::shared();
    let events = box_.cgroup().join("cgroup.events");
    let frozen = |expected: &str| {
        let text = fs::read_to_string(&events).expect("cgroup.events");
        assert!(text.contains(expected), "not `{expected}`: {text}");
    };
    box_.podman(&["pause"], &[]).ok();
    assert_eq!(box_.inspect("{{.State.Status}}"), "paused");
    frozen("frozen 1");
    box_.exec(&[], &["true"]).fails();
    box_.podman(&["unpause"], &[]).ok();
    assert_eq!(box_.inspect("{{.State.Status}}"), "running");
    frozen("frozen 0");
    box_.exec(&[], &["true"]).ok();
}

#[test]
fn restart() {
    let box_ = Container::waiting(&[]);
    let first = box_.inspect("{{.State.Pid}}");
    box_.podman(&["restart", "--time=0"], &[]).ok();
    assert_ne!(first, box_.inspect("{{.State.Pid}}"));
    assert_eq!(box_.inspect("{{.State.Status}}"), "running");
}

/// What Podman finds out with the cgroup and the namespaces of the container.
#[test]
fn stats_and_top() {
    let box_ = Container::shared();
    let template = "{{.MemUsage}} {{.PIDs}}";
    box_.podman(&["stats", "--no-stream", "--format", template], &[])
        .ok()
        .mentions("67.11MB");
    box_.podman(&["top"], &["user", "pid", "capeff"])
        .ok()
        .mentions("root")
        .mentions("CHOWN");
    let filter = format!("--filter=name={}", box_.name);
    podman(&["ps", "--format={{.Status}}", &filter])
        .ok()
        .mentions("Up");
}

/// Limits of a container that runs.
#[test]
fn update() {
    let box_ = Container::waiting(&["--memory=64m"]);
    let options = ["update", "--memory=48m", "--cpus=0.5", "--cpuset-cpus=1"];
    box_.podman(&options, &[]).ok();
    let cgroup = box_.cgroup();
    let read = |file: &str| fs::read_to_string(cgroup.join(file)).expect("a file of the cgroup");
    assert_eq!(read("memory.max").trim(), (48 << 20).to_string());
    assert_eq!(read("cpu.max").trim(), "50000 100000");
    assert_eq!(read("cpuset.cpus").trim(), "1");
    // What was not named stays.
    assert_eq!(read("pids.max").trim(), "2048");
}

#[test]
fn healthcheck() {
    let box_ = Container::shared();
    box_.podman(&["healthcheck", "run"], &[])
        .exits(1)
        .mentions("unhealthy");
    box_.exec(&[], &["touch", "/tmp/well"]).ok();
    box_.podman(&["healthcheck", "run"], &[]).ok();
}

/// Without CRIU there is a word about it, and the container goes on.
#[test]
fn checkpoint_without_criu() {
    let box_ = Container::shared();
    box_.podman(&["container", "checkpoint"], &[])
        .fails()
        .complains(&["criu"]);
    assert_eq!(box_.inspect("{{.State.Status}}"), "running");
}
